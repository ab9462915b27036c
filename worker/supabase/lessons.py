"""The SQL functions behind backfill, adoption and the operator's commands: one method for each."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from worker.errors import SupabaseUnavailable
from worker.lesson import Lesson

ADOPT_AT_ONCE = 100
RETRY_AT_ONCE = 500

T = TypeVar("T")
Call = Callable[[str, dict[str, Any]], Awaitable[Any]]


class Books:
    """Calls the functions through the store, and so with its retries and its errors."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def recorded_environment(self) -> str | None:
        """Give the Mux environment in which our ids were last found."""
        found = _expect(await self._call("worker_doctor", {}), dict)["environment_id"]
        return found if isinstance(found, str) else None

    async def legacy_lessons(
        self, after: str | None, walk: int, since: str | None
    ) -> tuple[list[Lesson], int, str | None]:
        """Give the lessons that wait among the next `walk`, how many these were, and the next."""
        params = {"after": after, "walk": walk, "since": since}
        told = _expect(await self._call("worker_legacy_lessons", params), dict)
        return [Lesson.from_json(one) for one in told["lessons"]], told["walked"], told["next"]

    async def rivals(self, ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """Give whose is each id that several lessons hold, or that it is disputed."""
        return _expect(await self._call("worker_rivals", {"ids": list(ids)}), dict)

    async def untracked(self, walk: int, at_most: int) -> list[str]:
        """Return those of the next `walk` lessons that may name what is not tracked."""
        params = {"walk": walk, "at_most": at_most}
        return _expect(await self._call("worker_untracked", params), list)

    async def adopt(
        self, items: Sequence[dict[str, Any]], lease: float | None = None
    ) -> list[dict[str, Any]]:
        """Begin to track what lessons name, any number, at most a hundred a call.

        The rows are leased for some seconds; without a lease they are due at once.
        """
        told: list[dict[str, Any]] = []
        for start in range(0, len(items), ADOPT_AT_ONCE):
            part = list(items[start : start + ADOPT_AT_ONCE])
            params = {"adoptions": part, "lease_seconds": lease}
            told += _expect(await self._call("worker_adopt", params), list)
        return told

    async def begin(self, options: Mapping[str, bool], *, anew: bool) -> dict[str, Any]:
        """Begin a backfill, or go on with the one that was interrupted."""
        params = {"options": dict(options), "anew": anew}
        return _expect(await self._call("worker_backfill_begin", params), dict)

    async def note(
        self,
        counts: Mapping[str, int] | None,
        findings: Sequence[dict[str, Any]] = (),
        after: str | None = None,
        *,
        finished: bool = False,
    ) -> None:
        """Keep how far a backfill is, and what it could not repair."""
        await self._call(
            "worker_backfill_note",
            {
                "after": after,
                "counts": None if counts is None else dict(counts),
                "findings": list(findings),
                "finished": finished,
            },
        )

    async def findings(self, since: str, after: str | None) -> list[dict[str, Any]]:
        """Give some of the lessons that could not be repaired, by id."""
        params = {"since": since, "after": after, "at_most": 500}
        return _expect(await self._call("worker_backfill_findings", params), list)

    async def find_lessons(self, id_: str, at_most: int = 6) -> list[Lesson]:
        """Give the lessons that an id may mean: a lesson's, an upload's or an asset's."""
        params = {"id": id_, "at_most": at_most}
        told = _expect(await self._call("worker_find_lessons", params), list)
        return [Lesson.from_json(one) for one in told]

    async def lesson(self, lesson_id: str) -> dict[str, Any]:
        """Give all that is known of a lesson, with its audit."""
        return _expect(await self._call("worker_lesson", {"lesson_id": lesson_id}), dict)

    async def lesson_if_any(self, lesson_id: str) -> dict[str, Any] | None:
        """Give all that is known of a lesson, with its audit; None if there is no such lesson."""
        told = await self._call("worker_lesson", {"lesson_id": lesson_id})
        return None if told is None else _expect(told, dict)

    async def past(self, lesson_id: str) -> list[dict[str, Any]]:
        """Give the last of a lesson's audit, which outlives the lesson."""
        return _expect(await self._call("worker_past", {"lesson_id": lesson_id}), list)

    async def overview(self) -> dict[str, Any]:
        """Give what a page about all lessons shows: counts, short lists, the hours of the day."""
        return _expect(await self._call("worker_overview", {}), dict)

    async def make_due(self, lesson_id: str, by: tuple[str, str | None]) -> dict[str, Any]:
        """Have a lesson that is processing looked at next; tells what came of that."""
        params = {"lesson_id": lesson_id, "operator": by[0], "why": by[1]}
        return _expect(await self._call("worker_make_due", params), dict)

    async def publish(
        self,
        verdict: dict[str, Any],
        environment_id: str,
        by: tuple[str, str | None],
    ) -> list[dict[str, Any]]:
        """Settle in an operator's name."""
        params = {
            "verdict": verdict,
            "environment_id": environment_id,
            "operator": by[0],
            "why": by[1],
        }
        return _expect(await self._call("worker_publish", params), list)

    async def retry(
        self,
        lesson_ids: Sequence[str] | None,
        error_type: str | None,
        after: str | None,
        by: tuple[str, str | None],
    ) -> list[str]:
        """Make failed rows due again: those named, or the next 500 at most of all."""
        if lesson_ids is not None and len(lesson_ids) > RETRY_AT_ONCE:
            first, rest = lesson_ids[:RETRY_AT_ONCE], lesson_ids[RETRY_AT_ONCE:]
            told = await self.retry(first, error_type, after, by)
            return told + await self.retry(rest, error_type, after, by)
        params = {
            "lesson_ids": None if lesson_ids is None else list(lesson_ids),
            "error_type": error_type,
            "after": after,
            "at_most": RETRY_AT_ONCE,
            "operator": by[0],
            "why": by[1],
        }
        return _expect(await self._call("worker_retry", params), list)

    async def status(self) -> dict[str, Any]:
        """Count rows, and tell how long videos waited and what failed."""
        return _expect(await self._call("worker_status", {}), dict)


def _expect(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise SupabaseUnavailable("unreadable", "Supabase's answer is not what it should be.")
    return value
