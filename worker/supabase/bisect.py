"""Settle in calls that the database has time for: whole, by halves, and the slow ones alone."""

from collections.abc import Awaitable, Callable
from typing import Any

from worker.errors import StatementTimeout, SupabaseUnavailable
from worker.model import Outcome
from worker.supabase.serialize import expect, read, timed_out

MOST_REMEMBERED = 1000

Item = dict[str, Any]


class Halving:
    """Settles items in one call, or in its halves where the database cuts it off (57014).

    One that is cut off alone is refused, so that its row backs off, and is settled alone from then
    on: to find it among a hundred takes seven calls that are cut off.
    """

    def __init__(self, call: Callable[[str, dict[str, Any]], Awaitable[Any]]) -> None:
        self._call = call
        self._slow: set[tuple[str | None, str | None]] = set()

    async def settle(self, items: list[Item], **how: Any) -> list[Outcome]:
        """Settle the items of one call, the slow ones after all others.

        `how` are the further parameters of `worker_settle`. Raises SupabaseUnavailable.
        """
        slow = [item for item in items if _ids(item) in self._slow]
        quick = [item for item in items if _ids(item) not in self._slow]
        outcomes = await self._settle(quick, how) if quick else []
        for item in slow:
            outcomes += await self._settle([item], how)
        return outcomes

    async def _settle(self, items: list[Item], how: dict[str, Any]) -> list[Outcome]:
        try:
            answer = await self._call("worker_settle", {"verdicts": items, **how})
        except StatementTimeout:
            if len(items) == 1:
                return await self._refuse(items[0])
            half = len(items) // 2
            return [*await self._settle(items[:half], how), *await self._settle(items[half:], how)]
        if len(items) == 1:
            self._slow.discard(_ids(items[0]))
        return _outcomes(answer)

    async def _refuse(self, item: Item) -> list[Outcome]:
        """Have its rows back off; if not even that can be done, it is only told."""
        if len(self._slow) >= MOST_REMEMBERED:
            self._slow.clear()
        self._slow.add(_ids(item))
        told = timed_out(item)
        try:
            answer = await self._call(
                "worker_record_refusal",
                {"verdict": item, "code": told.sqlstate, "problem": told.message},
            )
            return _outcomes(answer)
        except SupabaseUnavailable:
            return [told]


def _ids(item: Item) -> tuple[str | None, str | None]:
    return item["upload_id"], item["asset_id"]


def _outcomes(answer: Any) -> list[Outcome]:
    return read(lambda: [Outcome.from_json(row) for row in expect(answer, list)])
