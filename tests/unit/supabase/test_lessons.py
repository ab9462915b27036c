"""How many lessons go into one call."""

from typing import Any

from worker.supabase.lessons import ADOPT_AT_ONCE, RETRY_AT_ONCE, Books


async def test_any_number_of_lessons_is_retried_by_name() -> None:
    """In calls of as many as one may hold; what each retried is told."""
    calls: list[list[str]] = []

    async def call(function: str, params: dict[str, Any]) -> list[str]:
        assert (function, params["at_most"]) == ("worker_retry", RETRY_AT_ONCE)
        ids: list[str] = params["lesson_ids"]
        calls.append(ids)
        return ids[1:]

    names = [f"l{n}" for n in range(2 * RETRY_AT_ONCE + 1)]
    told = await Books(call).retry(names, None, None, ("ines", None))
    assert [len(ids) for ids in calls] == [RETRY_AT_ONCE, RETRY_AT_ONCE, 1]
    assert [name for ids in calls for name in ids] == names
    assert told == [name for ids in calls for name in ids[1:]]


async def test_any_number_of_lessons_is_adopted_in_their_order() -> None:
    """A hundred a call, each with the same lease; without one the rows are due at once."""
    calls: list[tuple[int, float | None]] = []

    async def call(function: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        assert function == "worker_adopt"
        calls.append((len(params["adoptions"]), params["lease_seconds"]))
        items: list[dict[str, Any]] = params["adoptions"]
        return items

    items = [{"lesson_id": f"l{n}"} for n in range(2 * ADOPT_AT_ONCE + 1)]
    assert await Books(call).adopt(items, 20.0) == items
    assert await Books(call).adopt(items[:1]) == items[:1]
    assert await Books(call).adopt([]) == []
    assert calls == [(ADOPT_AT_ONCE, 20.0), (ADOPT_AT_ONCE, 20.0), (1, 20.0), (1, None)]
