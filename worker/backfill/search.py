"""Search Mux for the videos of lessons: sweep its lists first, then probe single ids."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace

from worker.lesson import Lesson, Target, queries_for
from worker.model import MatchedObservation, Observation, Page, Query
from worker.scan.mux_reader import MuxReader
from worker.scan.observe import observe
from worker.scan.sweep import SWEEP_ABOVE, PageBudget, sweep


@dataclass(frozen=True, slots=True)
class Found:
    """A lesson, and the observation of the id that takes precedence.

    `observation` is None where there is no id to look up. `claimed_by` are assets that name the
    lesson, two at most; all of them are known only if the whole list was read (`is_whole`).
    """

    lesson: Lesson
    observation: Observation | None
    target: Target | None = None
    claimed_by: tuple[Observation, ...] = ()
    is_whole: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """The ids with precedence over the one that was found, all of them unknown to Mux."""
        if self.target is None or self.observation is None or not self.observation.found:
            return ()
        return tuple(t.id for t in self.lesson.targets[: self.lesson.targets.index(self.target)])


@dataclass(slots=True)
class _Case:
    """A lesson whose video is searched: the look-ups that are left, and the observations."""

    lesson: Lesson
    targets: tuple[Target, ...]
    looks: list[Query] = field(default_factory=list)
    seen: dict[str, Observation] = field(default_factory=dict)
    last: Observation | None = None
    claimed_by: list[Observation] = field(default_factory=list)


@dataclass(slots=True)
class _Walk(PageBudget):
    """Read a list as long as that costs no more than a probe for each lesson.

    With `to_the_end` the whole list is read, for assets that name a lesson without ids.
    """

    sought_now: Callable[[], int] = int
    to_the_end: bool = False

    def match(self, rows: int) -> None:
        """Add a page for each row that was found."""
        self.pages += rows

    @property
    def allows_page(self) -> bool:
        """Whether another page is worth its cost."""
        return self.to_the_end or (self.pages > 0 and self.sought_now() > SWEEP_ABOVE)


class Search:
    """Searches for the videos of lessons, and yields each lesson once, in pages."""

    def __init__(
        self,
        lessons: Iterable[Lesson],
        mux: MuxReader,
        stopping: asyncio.Event,
        *,
        to_the_end: bool = False,
    ) -> None:
        self._mux = mux
        self._stopping = stopping
        self._to_the_end = to_the_end
        self._is_whole = False
        self._open: dict[str, _Case] = {}
        for lesson in lessons:
            case = _Case(lesson, lesson.targets)
            for number, target in enumerate(case.targets):
                case.looks += queries_for(target, f"{lesson.id}/{number}")
            self._open[lesson.id] = case

    async def pages(self) -> AsyncIterator[list[Found]]:
        """Yield every lesson with what was found, until the worker stops.

        Raises MuxUnavailable or MuxUnauthorized from the first request that fails.
        """
        if self._waiting() > SWEEP_ABOVE or (self._to_the_end and self._open):
            async for page in self._sweep(of_assets=True):
                yield self._take(page)
            if self._without_asset() > SWEEP_ABOVE and not self._stopping.is_set():
                async for page in self._sweep(of_assets=False):
                    yield self._take(page)
        while self._open and not self._stopping.is_set():
            yield self._give_up()
            async for page in observe(self._next_looks(), self._mux, self._stopping):
                yield self._take_probes(page)

    def _waiting(self) -> int:
        return sum(1 for case in self._open.values() if case.looks)

    def _without_asset(self) -> int:
        return sum(1 for c in self._open.values() if c.looks and c.targets[0].kind != "asset")

    def _sweep(self, *, of_assets: bool) -> AsyncIterator[list[MatchedObservation]]:
        sought = self._waiting if of_assets else self._without_asset

        async def fetch(cursor: str | None) -> Page:
            page = await (self._mux.assets(cursor) if of_assets else self._mux.uploads(cursor))
            if of_assets and page.next is None:
                self._is_whole = True
            return page

        looks = [look for case in self._open.values() for look in case.looks]
        count = sought()
        walk = _Walk(
            count, pages=count, sought_now=sought, to_the_end=self._to_the_end and of_assets
        )
        return sweep(looks, fetch, walk, self._stopping)

    def _take(self, page: list[MatchedObservation]) -> list[Found]:
        touched: dict[str, _Case] = {}
        for match in page:
            seen = match.observation
            for text in set(seen.lesson_references):
                case = self._open.get(text)
                if case is not None and len(case.claimed_by) < 2:
                    case.claimed_by.append(seen)
            for look in match.queries:
                lesson_id, number = _parts(look)
                case = self._open.get(lesson_id)
                if case is None:
                    continue
                if seen.subject == "upload" and seen.status == "asset_created":
                    case.looks = [_with_asset(other, look, seen) for other in case.looks]
                else:
                    case.seen.setdefault(number, seen)
                    touched[case.lesson.id] = case
        return [
            self._close(c, c.seen["0"], c.targets[0]) for c in touched.values() if "0" in c.seen
        ]

    def _next_looks(self) -> list[Query]:
        return [
            replace(case.looks[0], was_asked=self._is_whole)
            for case in self._open.values()
            if case.looks
        ]

    def _take_probes(self, page: list[MatchedObservation]) -> list[Found]:
        found = []
        for match in page:
            for look in match.queries:
                lesson_id, number = _parts(look)
                case = self._open[lesson_id]
                case.last = match.observation
                # A `fault` does not mean that the id is missing, so no other id replaces it.
                if match.observation.found or match.observation.status == "fault":
                    target = case.targets[int(number)]
                    found.append(self._close(case, match.observation, target))
                else:  # an unknown upload id was also looked up as an asset's
                    is_done = f"{lesson_id}/{number}/"
                    case.looks = [look for look in case.looks if not look.key.startswith(is_done)]
        return found

    def _give_up(self) -> list[Found]:
        """Close the cases that have no look-up left, with the observation of a list or a probe."""
        found = []
        for case in list(self._open.values()):
            if not case.looks:
                found.append(self._close(case, case.last, case.targets[-1] if case.last else None))
            elif (number := _parts(case.looks[0])[1]) in case.seen:
                found.append(self._close(case, case.seen[number], case.targets[int(number)]))
        return found

    def _close(self, case: _Case, seen: Observation | None, target: Target | None) -> Found:
        del self._open[case.lesson.id]
        return Found(case.lesson, seen, target, tuple(case.claimed_by), self._is_whole)


def _parts(look: Query) -> tuple[str, str]:
    """Return the lesson of a look-up, whose id may have slashes, and its target's number."""
    lesson_id, number, _ = look.key.rsplit("/", 2)
    return lesson_id, number


def _with_asset(look: Query, about: Query, seen: Observation) -> Query:
    return replace(look, asset_id=seen.asset_id) if look.key == about.key else look
