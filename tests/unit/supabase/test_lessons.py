from typing import Any

from worker.supabase.lessons import ADOPTIONS_PER_CALL, RETRIES_PER_CALL, LessonStore


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
    """A hundred a call, each with the same lease; without a lease the rows are due at once."""
    calls: list[tuple[int, float | None]] = []

    async def call(function: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        assert function == "worker_adopt"
        calls.append((len(params["adoptions"]), params["lease_seconds"]))
        return [{**item, "outcome": "adopted"} for item in params["adoptions"]]

    items = [{"lesson_id": f"l{n}"} for n in range(2 * ADOPTIONS_PER_CALL + 1)]
    adopted = [{**item, "outcome": "adopted"} for item in items]
    assert await LessonStore(call).adopt(items, 20.0) == adopted
    assert await LessonStore(call).adopt(items[:1]) == adopted[:1]
    assert await LessonStore(call).adopt([]) == []
    assert calls == [(ADOPTIONS_PER_CALL, 20.0), (ADOPTIONS_PER_CALL, 20.0), (1, 20.0), (1, None)]
