"""Call the SQL functions of a backfill: its walk over the lessons, its progress, its findings."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.lesson import Lesson
from worker.supabase.lessons import LessonStore
from worker.supabase.serialize import expect

FINDINGS_PER_CALL = 500


class BackfillStore(LessonStore):
    """Calls the SQL functions of a backfill, one method each, besides those about lessons."""

    async def begin(self, options: Mapping[str, bool], *, from_start: bool) -> dict[str, Any]:
        """Begin a backfill, or resume the interrupted one; return where it stands."""
        params = {"options": dict(options), "from_start": from_start}
        return expect(await self._call("worker_backfill_begin", params), dict)

    async def legacy_lessons(
        self, after: str | None, walk: int, since: str | None
    ) -> tuple[list[Lesson], int, str | None]:
        """Return the waiting lessons among the next `walk`, how many were read, and the last id.

        The id is None at the end of the table.
        """
        params = {"after": after, "walk": walk, "since": since}
        response = expect(await self._call("worker_legacy_lessons", params), dict)
        lessons = [Lesson.from_json(row) for row in response["lessons"]]
        return lessons, response["walked"], response["next"]

    async def record_progress(
        self,
        counts: Mapping[str, int] | None,
        findings: Sequence[dict[str, Any]] = (),
        after: str | None = None,
        *,
        finished: bool = False,
    ) -> None:
        """Record the progress of a backfill, and the lessons that it could not repair."""
        params = {
            "after": after,
            "counts": None if counts is None else dict(counts),
            "findings": list(findings),
            "finished": finished,
        }
        await self._call("worker_backfill_note", params)

    async def findings(self, since: str, after: str | None) -> list[dict[str, Any]]:
        """Return the next lessons, ordered by id, that could not be repaired."""
        params = {"since": since, "after": after, "at_most": FINDINGS_PER_CALL}
        return expect(await self._call("worker_backfill_findings", params), list)
