"""Adopt lessons: track the upload that a lesson names, or restore the video that it had.

A lesson is not tracked where the app saved it before, or without, tracking the upload. It may also
have lost its video to a form that was left open. The database decides which upload is the newest,
and whose it is; Mux is asked only about ids that are new to a lesson which has an upload already.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from worker.lesson import Adoption
from worker.scan.environment import environment_matches
from worker.scan.mux_reader import MuxReader
from worker.scan.observe import observe
from worker.telemetry.hooks import Telemetry

Item = dict[str, Any]
"""A lesson to adopt, as `worker_adopt` takes it."""

WISHES = ("by_hand", "takes_drafts", "retries_failed")
"""The fields of an item that say what is wanted, whatever Mux answers."""


class AdoptionStore(Protocol):
    """What adopting needs of the database."""

    async def recorded_environment(self) -> str | None:
        """Return the Mux environment in which our ids were last found."""
        ...

    async def adopt(self, items: Sequence[Item], *, backfill: str | None = None) -> list[Adoption]:
        """Adopt lessons, and return what was done for each."""
        ...


class Adopter:
    """Adopts given lessons."""

    def __init__(
        self, mux: MuxReader, store: AdoptionStore, telemetry: Telemetry | None = None
    ) -> None:
        self._mux = mux
        self._store = store
        self._telemetry = telemetry or Telemetry()

    async def adopt(self, items: Sequence[Item], *, backfill: str | None = None) -> list[Adoption]:
        """Adopt lessons, and return what was done for each, in any order.

        The new rows are due at once. A lesson about whose id Mux does not answer stays as it is,
        with the outcome `ask`.

        Raises Unavailable when Mux or Supabase is; what was not adopted then is found again later.
        """
        adoptions = await self._store.adopt(items, backfill=backfill)
        asked = {a.lesson_id: a for a in adoptions if a.outcome.name == "ask"}
        if asked and await environment_matches(self._mux, self._store):
            wishes = {i["lesson_id"]: {w: i[w] for w in WISHES if w in i} for i in items}
            answers = [{**wishes[a["lesson_id"]], **a} for a in await self._identify(asked)]
            answered = await self._store.adopt(answers, backfill=backfill)
            left = asked.keys() - {adoption.lesson_id for adoption in answered}
            adoptions = [a for a in adoptions if a.lesson_id not in asked] + answered
            adoptions += [asked[lesson_id] for lesson_id in left]
        outcomes = [o for a in adoptions for o in (a.outcome, a.restored) if o is not None]
        self._telemetry.settled([], outcomes)
        return adoptions

    async def _identify(self, asked: dict[str, Adoption]) -> list[Item]:
        """Return the items of lessons about whose ids Mux answered."""
        items: list[Item] = []
        queries = [a.query for a in asked.values() if a.query is not None]
        async for page in observe(queries, self._mux, asyncio.Event()):
            for match in page:
                seen = match.observation
                lessons = [asked[query.key] for query in match.queries]
                if seen.status != "fault":
                    items += [lesson.item(seen) for lesson in lessons]
                    continue
                ids = {"upload_id": seen.upload_id, "asset_id": seen.asset_id}
                self._telemetry.id_failed(
                    {name: id_ for name, id_ in ids.items() if id_ is not None},
                    lessons[0].lesson_id,
                    seen.error_type,
                    "Mux does not answer about the id that this lesson names.",
                )
        return items
