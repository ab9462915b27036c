from collections import Counter
from typing import Any

import pytest

from worker.errors import SupabaseUnavailable
from worker.supabase.backfill import LESSONS_PER_CALL, ROWS_PER_CALL, BackfillStore

Json = dict[str, Any]


class Database:
    """A database with one answer for each function; records the calls."""

    def __init__(self, answers: Json) -> None:
        self._answers = answers
        self.calls: list[tuple[str, Json]] = []

    async def call(self, function: str, params: Json) -> Any:
        """Answer a call of the store."""
        self.calls.append((function, params))
        return self._answers[function]


async def test_each_method_calls_one_function() -> None:
    """With the parameters that sql/ names, and the answer in the worker's types."""
    failure = {"lesson_id": "l1", "reason": "asset_errored", "message": None}
    candidates = {"lesson_ids": ["l1", "l3"], "walked": 3, "next": "l3"}
    database = Database(
        {
            "worker_backfill_begin": {"backfill": "2026-01-01", "is_resumed": True},
            "worker_backfill_candidates": candidates,
            "worker_backfill_progress": {
                "counts": {"published": 2, "unanswered": 1},
                "next": None,
            },
            "worker_backfill_failures": {"failures": [failure], "next": "l9"},
            "worker_backfill_end": None,
        }
    )
    store = BackfillStore(database.call)
    assert await store.begin() == ("2026-01-01", True)
    assert await store.candidates(None) == (["l1", "l3"], 3, "l3")
    progress = await store.progress("2026-01-01")
    assert progress == Counter(published=2, unanswered=1)
    assert progress["waiting"] == 0
    assert await store.failures("2026-01-01", "l0") == ([failure], "l9")
    await store.end("2026-01-01")
    run = {"backfill": "2026-01-01"}
    assert database.calls == [
        ("worker_backfill_begin", {}),
        ("worker_backfill_candidates", {"after": None, "walk": LESSONS_PER_CALL}),
        ("worker_backfill_progress", run | {"after": None, "walk": ROWS_PER_CALL}),
        ("worker_backfill_failures", run | {"after": "l0", "walk": ROWS_PER_CALL}),
        ("worker_backfill_end", run),
    ]


async def test_the_progress_is_added_up_from_steps() -> None:
    """Each step begins where the one before ended."""
    steps = iter(
        [
            {"counts": {"published": 2, "waiting": 1}, "next": "l3"},
            {"counts": {"published": 1}, "next": "l4"},
            {"counts": {}, "next": None},
        ]
    )
    after: list[str | None] = []

    async def call(_: str, params: Json) -> Any:
        after.append(params["after"])
        return next(steps)

    progress = await BackfillStore(call).progress("2026-01-01")
    assert progress == Counter(published=3, waiting=1)
    assert after == [None, "l3", "l4"]


@pytest.mark.parametrize("answer", [None, [], {}])
async def test_an_answer_of_another_form_is_an_error_of_supabase(answer: Any) -> None:
    """It is no programming error, which would stop the worker."""
    names = ("begin", "candidates", "progress", "failures")
    answers = {f"worker_backfill_{name}": answer for name in names}
    store = BackfillStore(Database(answers).call)
    run = "2026-01-01"
    for call in (
        *(store.begin(), store.candidates(None)),
        *(store.progress(run), store.failures(run, None)),
    ):
        with pytest.raises(SupabaseUnavailable):
            await call
