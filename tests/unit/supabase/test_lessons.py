from typing import Any

import pytest

from worker.errors import StatementTimeout, SupabaseUnavailable
from worker.lesson import Adoption
from worker.model import Outcome
from worker.supabase.lessons import ADOPTIONS_PER_CALL, RETRIES_PER_CALL, LessonStore

Json = dict[str, Any]


async def test_any_number_of_lessons_is_retried_by_id() -> None:
    """In batches; the lessons that each retried are returned."""
    calls: list[list[str]] = []

    async def call(function: str, params: dict[str, Any]) -> list[str]:
        assert (function, params["at_most"]) == ("worker_retry", RETRIES_PER_CALL)
        batch: list[str] = params["lesson_ids"]
        calls.append(batch)
        return batch[1:]

    ids = [f"l{n}" for n in range(2 * RETRIES_PER_CALL + 1)]
    retried = await LessonStore(call).retry(ids, None, None, ("ines", None))
    assert [len(batch) for batch in calls] == [RETRIES_PER_CALL, RETRIES_PER_CALL, 1]
    assert [id_ for batch in calls for id_ in batch] == ids
    assert retried == [id_ for batch in calls for id_ in batch[1:]]


async def test_any_number_of_lessons_is_adopted_in_their_order() -> None:
    """A hundred a call, each with the same options."""
    calls: list[tuple[list[str], Json]] = []

    async def call(function: str, params: Json) -> list[Json]:
        assert function == "worker_adopt"
        items = params.pop("adoptions")
        calls.append(([item["lesson_id"] for item in items], params))
        return [{**item, "outcome": "adopted"} for item in items]

    ids = [f"l{n}" for n in range(2 * ADOPTIONS_PER_CALL + 1)]
    items = [{"lesson_id": id_} for id_ in ids]
    adoptions = await LessonStore(call).adopt(items, dry_run=True, backfill="run 1", lease=20.0)
    assert adoptions == [Adoption(Outcome("adopted", lesson_id=id_)) for id_ in ids]
    assert [len(batch) for batch, _ in calls] == [ADOPTIONS_PER_CALL, ADOPTIONS_PER_CALL, 1]
    assert [id_ for batch, _ in calls for id_ in batch] == ids
    options = {"dry_run": True, "backfill": "run 1", "lease_seconds": 20.0}
    assert [params for _, params in calls] == [options] * 3


async def test_lessons_that_take_too_long_together_are_adopted_in_halves() -> None:
    """One that takes too long alone, by a trigger of the app, is refused, and no other is lost."""
    calls: list[int] = []

    async def call(_: str, params: Json) -> list[Json]:
        ids = [item["lesson_id"] for item in params["adoptions"]]
        calls.append(len(ids))
        if "l5" in ids:
            raise StatementTimeout("57014", "x")
        return [{"lesson_id": id_, "outcome": "adopted"} for id_ in ids]

    ids = [f"l{n}" for n in range(8)]
    adoptions = await LessonStore(call).adopt([{"lesson_id": id_} for id_ in ids])
    assert calls == [8, 4, 4, 2, 1, 1, 2]
    assert [adoption.lesson_id for adoption in adoptions] == ids
    names = {adoption.lesson_id: adoption.outcome.name for adoption in adoptions}
    assert names == dict.fromkeys(ids, "adopted") | {"l5": "refused"}
    assert adoptions[5].outcome.sqlstate == "57014"


async def test_an_adoption_is_written_and_due_at_once_unless_asked_otherwise() -> None:
    """It belongs to no backfill. Without lessons nothing is called."""
    calls: list[Json] = []

    async def call(_: str, params: Json) -> list[Json]:
        calls.append(params)
        return []

    assert await LessonStore(call).adopt([{"lesson_id": "l1"}]) == []
    assert await LessonStore(call).adopt([]) == []
    (params,) = calls
    assert params == {
        "adoptions": [{"lesson_id": "l1"}],
        "dry_run": False,
        "backfill": None,
        "lease_seconds": None,
    }


@pytest.mark.parametrize(
    "response",
    [None, {}, [1], [{"lesson_id": "l1"}], [{"outcome": "adopted", "claim": {"id": "t1"}}]],
)
async def test_an_answer_of_another_form_is_an_error_of_supabase(response: Any) -> None:
    """It is no programming error, which would stop the worker."""

    async def call(*_: Any) -> Any:
        return response

    with pytest.raises(SupabaseUnavailable) as error:
        await LessonStore(call).adopt([{"lesson_id": "l1"}])
    assert error.value.reason == "unreadable"
