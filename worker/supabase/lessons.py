"""Call the SQL functions about lessons: look up, adopt, publish, retry, and report them."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from worker.errors import StatementTimeout
from worker.lesson import Adoption, Lesson
from worker.model import Outcome
from worker.overview import LessonPage, Overview
from worker.supabase.serialize import adoption_timeout, expect, outcomes, parse

ADOPTIONS_PER_CALL = 100
RETRIES_PER_CALL = 500

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Call an SQL function by name, with its parameters."""

By = tuple[str, str | None]
"""The operator and the reason, for the audit."""


class LessonStore:
    """Calls the SQL functions about lessons, one method each.

    All methods raise SupabaseUnavailable, like the `call` that they are given.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    async def recorded_environment(self) -> str | None:
        """Return the Mux environment in which the database's ids were last found."""
        facts = expect(await self._call("worker_doctor", {}), dict)
        environment_id = facts["environment_id"]
        return environment_id if isinstance(environment_id, str) else None

    async def find_lessons(self, id_: str, at_most: int = 6) -> list[Lesson]:
        """Return the lessons with this id, be it a lesson's, an upload's or an asset's."""
        params = {"id": id_, "at_most": at_most}
        rows = expect(await self._call("worker_find_lessons", params), list)
        return parse(partial(list, map(Lesson.from_json, rows)))

    async def lesson(self, lesson_id: str) -> dict[str, Any]:
        """Return everything about a lesson, with its audit events."""
        return expect(await self._call("worker_lesson", {"lesson_id": lesson_id}), dict)

    async def lesson_or_none(self, lesson_id: str) -> dict[str, Any] | None:
        """Return everything about a lesson, with its audit events; None if it does not exist."""
        row = await self._call("worker_lesson", {"lesson_id": lesson_id})
        return None if row is None else expect(row, dict)

    async def lesson_events(self, lesson_id: str) -> list[dict[str, Any]]:
        """Return the latest audit events of a lesson, which may have been deleted."""
        return expect(await self._call("worker_lesson_events", {"lesson_id": lesson_id}), list)

    async def overview(self, at_most: int = 20) -> Overview:
        """Return the counts, the last day, and the first `at_most` lessons of each list."""
        response = expect(await self._call("worker_overview", {"at_most": at_most}), dict)
        return parse(partial(Overview.from_json, response))

    async def list_lessons(
        self,
        state: str,
        *,
        search: str | None = None,
        error_type: str | None = None,
        after: str | None = None,
        at_most: int = 20,
    ) -> LessonPage:
        """Return a page of the lessons in a state, or of `all`.

        `search` is a part of the title, the beginning of the instructor's id, or the lesson's id;
        `after` is the `next` of the page before. A page of a search may have few lessons, or none,
        and yet a next one.
        """
        params = {
            "state": state,
            "search": search,
            "error_type": error_type,
            "after": after,
            "at_most": at_most,
        }
        response = expect(await self._call("worker_list_lessons", params), dict)
        return parse(partial(LessonPage.from_json, response))

    async def failure_counts(self) -> dict[str, int]:
        """Return how many lessons have failed with each error type."""
        return expect(await self._call("worker_failures", {}), dict)

    async def untracked(self, walk: int, at_most: int) -> list[str]:
        """Return ids from the next `walk` lessons of those that may name an untracked video."""
        params = {"walk": walk, "at_most": at_most}
        return expect(await self._call("worker_untracked", params), list)

    async def adopt(
        self,
        items: Sequence[dict[str, Any]],
        *,
        dry_run: bool = False,
        backfill: str | None = None,
        lease: float | None = None,
    ) -> list[Adoption]:
        """Begin to track what lessons name, in batches; return what was done for each.

        The new rows are leased for `lease` seconds; without a lease they are due at once, and those
        of a `backfill` behind all others. With `dry_run` nothing is written.
        """
        options = {"dry_run": dry_run, "backfill": backfill, "lease_seconds": lease}
        adoptions: list[Adoption] = []
        for start in range(0, len(items), ADOPTIONS_PER_CALL):
            batch = items[start : start + ADOPTIONS_PER_CALL]
            adoptions += await self._adopt_bisecting(batch, options)
        return adoptions

    async def _adopt_bisecting(
        self, items: Sequence[dict[str, Any]], options: dict[str, Any]
    ) -> list[Adoption]:
        """Adopt in one call, or in halves where it exceeds the statement timeout (57014).

        A lesson that exceeds it alone is refused.
        """
        params = {"adoptions": list(items), **options}
        try:
            rows = expect(await self._call("worker_adopt", params), list)
        except StatementTimeout:
            if len(items) == 1:
                return [Adoption(adoption_timeout(items[0]["lesson_id"]))]
            half = len(items) // 2
            first = await self._adopt_bisecting(items[:half], options)
            return first + await self._adopt_bisecting(items[half:], options)
        return parse(partial(list, map(Adoption.from_json, rows)))

    async def publish(
        self, verdict: dict[str, Any], environment_id: str | None, by: By
    ) -> list[Outcome]:
        """Settle a verdict in an operator's name; return the outcomes."""
        params = {
            "verdict": verdict,
            "environment_id": environment_id,
            "operator": by[0],
            "why": by[1],
        }
        return outcomes(await self._call("worker_publish", params))

    async def make_due(self, lesson_id: str, by: By) -> dict[str, Any]:
        """Make a processing lesson due now; return the outcome."""
        params = {"lesson_id": lesson_id, "operator": by[0], "why": by[1]}
        return expect(await self._call("worker_make_due", params), dict)

    async def retry(
        self, lesson_ids: Sequence[str] | None, error_type: str | None, after: str | None, by: By
    ) -> list[str]:
        """Make failed lessons due again, and return their ids.

        `lesson_ids` names them; None stands for all, of which the next 500 after the lesson `after`
        are retried.
        """
        if lesson_ids is not None and len(lesson_ids) > RETRIES_PER_CALL:
            batch, rest = lesson_ids[:RETRIES_PER_CALL], lesson_ids[RETRIES_PER_CALL:]
            retried = await self.retry(batch, error_type, after, by)
            return retried + await self.retry(rest, error_type, after, by)
        params = {
            "lesson_ids": None if lesson_ids is None else list(lesson_ids),
            "error_type": error_type,
            "after": after,
            "at_most": RETRIES_PER_CALL,
            "operator": by[0],
            "why": by[1],
        }
        return expect(await self._call("worker_retry", params), list)
