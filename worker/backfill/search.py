"""Search Mux's list of assets for the videos that lessons name, a hundred assets a request."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, replace
from typing import Any

from worker.lesson import Adoption
from worker.model import MatchedObservation, Observation, Query
from worker.scan.mux_reader import MuxReader
from worker.scan.observe import observe
from worker.scan.sweep import PageBudget, sweep


@dataclass(frozen=True, slots=True)
class Found:
    """A lesson, as its adoption is planned, and what Mux said about the id that it names.

    With `is_trusted` it is the asset that names the lesson.
    """

    adoption: Adoption
    observation: Observation
    is_trusted: bool = False

    def item(self) -> dict[str, Any]:
        """Return the lesson as `worker_adopt` takes it."""
        item = self.adoption.item(self.observation)
        return {**item, "is_trusted": True} if self.is_trusted else item


class Search:
    """Searches for the videos of lessons.

    The list is read for as long as that costs no more than a request for each lesson that is left.
    With `trust_references` it is read to its end, and a lesson without a video that Mux knows is
    given the only asset whose `passthrough` or `meta.external_id` is the lesson's id.
    """

    def __init__(
        self,
        adoptions: Iterable[Adoption],
        mux: MuxReader,
        stopping: asyncio.Event,
        *,
        trust_references: bool = False,
    ) -> None:
        self._mux = mux
        self._stopping = stopping
        self._trust_references = trust_references
        self._referring: defaultdict[str, list[Observation]] = defaultdict(list)
        self.left = {adoption.lesson_id: adoption for adoption in adoptions}
        """The lessons whose video was not found, or that name none."""

    async def pages(self) -> AsyncGenerator[list[Found]]:
        """Yield the lessons whose videos are found, by the page.

        Raises MuxUnavailable or MuxUnauthorized.
        """
        queries = [a.query for a in self.left.values() if a.query is not None]
        budget = PageBudget(len(queries), pages=len(queries))
        if self._trust_references:
            budget = PageBudget(len(queries), more_are_due=True, pages=sys.maxsize)
        if budget.allows_page and not self._stopping.is_set():
            async for page in sweep(queries, self._mux.assets, budget, self._stopping):
                self._note_references(page)
                yield self._take(page)
        if self._referring and not self._stopping.is_set():
            yield [found async for found in self._trusted()]

    async def probed(self) -> AsyncGenerator[list[Found]]:
        """Yield the lessons that are left and name an id, with Mux's answer about it."""
        queries = self._unlisted(self.left)
        async for page in observe(queries, self._mux, self._stopping):
            yield self._take(page)

    def _take(self, page: Iterable[MatchedObservation]) -> list[Found]:
        return [
            Found(self.left.pop(query.key), match.observation)
            for match in page
            for query in match.queries
        ]

    def _unlisted(self, lesson_ids: Iterable[str]) -> list[Query]:
        """Return the queries of lessons whose ids no list has: an upload has no asset to list."""
        queries = [self.left[lesson_id].query for lesson_id in lesson_ids]
        return [replace(query, is_backlog=True) for query in queries if query is not None]

    def _note_references(self, page: Iterable[MatchedObservation]) -> None:
        if self._trust_references:
            for match in page:
                for reference in set(match.observation.lesson_references) & self.left.keys():
                    if len(self._referring[reference]) < 2:  # a second one is one too many
                        self._referring[reference].append(match.observation)

    async def _trusted(self) -> AsyncGenerator[Found]:
        """Yield the lessons that one asset names, unless Mux knows the id that they name.

        A lesson whose own video is restored is given no other.
        """
        referred = {
            lesson_id: seen
            for lesson_id, seen in self._referring.items()
            if lesson_id in self.left and self.left[lesson_id].outcome.name != "restored"
        }
        queries = self._unlisted(referred)
        known: set[str] = set()
        async for page in observe(queries, self._mux, self._stopping):
            for match in page:
                is_known = match.observation.found or match.observation.status == "fault"
                known |= {query.key for query in match.queries} if is_known else set()
        for lesson_id, seen in referred.items():
            if len(seen) == 1 and lesson_id not in known and not self._stopping.is_set():
                yield Found(self.left.pop(lesson_id), seen[0], is_trusted=True)
