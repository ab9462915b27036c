"""Call the SQL functions of a backfill: its candidates, its progress and its failures."""

from collections import Counter
from functools import partial
from operator import itemgetter
from typing import Any

from worker.supabase.lessons import LessonStore
from worker.supabase.serialize import expect, parse

ROWS_PER_CALL = 5000
LESSONS_PER_CALL = 2000


class BackfillStore(LessonStore):
    """Calls the SQL functions of a backfill, one method each, besides those about lessons."""

    async def begin(self) -> tuple[str, bool]:
        """Begin a backfill, or continue the interrupted one; return it, and whether it is that."""
        response = expect(await self._call("worker_backfill_begin", {}), dict)
        return parse(lambda: (str(response["backfill"]), response["is_resumed"] is True))

    async def end(self, backfill: str) -> None:
        """Record that a backfill has gone over all lessons."""
        await self._call("worker_backfill_end", {"backfill": backfill})

    async def candidates(self, after: str | None) -> tuple[list[str], int, str | None]:
        """Return which of the next lessons may need adoption, how many were read, and the last.

        The last id is None at the end of the table.
        """
        params = {"after": after, "walk": LESSONS_PER_CALL}
        response = expect(await self._call("worker_backfill_candidates", params), dict)
        return parse(lambda: (response["lesson_ids"], response["walked"], response["next"]))

    async def progress(self, backfill: str) -> Counter[str]:
        """Return how many of the rows that a backfill adopted are in each state.

        `unanswered` rows were not looked at yet. A row that failed counts by its error type.
        """
        counts: Counter[str] = Counter()
        after, is_last = None, False
        while not is_last:
            params = {"backfill": backfill, "after": after, "walk": ROWS_PER_CALL}
            response = expect(await self._call("worker_backfill_progress", params), dict)
            step, after = parse(partial(itemgetter("counts", "next"), response))
            counts.update(step)
            is_last = after is None
        return counts

    async def failures(
        self, backfill: str, after: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return those of the next rows of a backfill that failed or are refused, and the last.

        The last id is None at the end.
        """
        params = {"backfill": backfill, "after": after, "walk": ROWS_PER_CALL}
        response = expect(await self._call("worker_backfill_failures", params), dict)
        return parse(lambda: (response["failures"], response["next"]))
