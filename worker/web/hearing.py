"""Bring lessons in line with what events say: decide, settle, tell, as for any observation."""

import time
from collections.abc import Callable, Container, Sequence
from typing import Protocol

from worker.decide import Rules, settlement
from worker.errors import Unavailable
from worker.model import Note, Outcome, Settlement
from worker.report import Reporter
from worker.watch import Watch
from worker.web.events import Event

SECONDS_BETWEEN_NOTICES = 5.0
"""So often at most the database is told that webhooks arrive."""


class KeepsRows(Protocol):
    """What hearing events needs of the database."""

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        ...

    async def take_note(self, notes: Sequence[Note]) -> list[Outcome]:
        """Take note of facts that are no verdicts."""
        ...

    async def note_events(self) -> None:
        """Tell all workers that webhooks arrive."""
        ...


class Hearing:
    """Settles the facts of events and takes note of what only leads to another look.

    What is not known here, or no more, matches no row. An event proves nothing about the Mux token,
    so it says nothing about the environment in which our ids are found.
    """

    def __init__(
        self,
        store: KeepsRows,
        rules: Rules,
        reporter: Reporter,
        watch: Watch,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._rules = rules
        self._reporter = reporter
        self._watch = watch
        self._clock = clock
        self._noticed_at = float("-inf")

    async def settle(self, events: Sequence[Event]) -> list[Event]:
        """Settle a group of events; one that came twice is settled once.

        Gives back those that Mux has to send again, since nobody would find out otherwise: of an
        asset that was deleted while somebody had its row locked. Raises SupabaseUnavailable; then
        nothing is lost that Mux does not send again.
        """
        facts = list(dict.fromkeys(event.fact for event in events if event.fact))
        if facts:
            settlements = [settlement(fact, (), self._rules) for fact in facts]
            outcomes = await self._store.settle(settlements, None)
            self._reporter.tell(settlements, outcomes)
            self._measure(events, outcomes)
        notes = list(dict.fromkeys(event.note for event in events if event.note))
        if not notes:
            return []
        taken = await self._store.take_note(notes)
        self._reporter.tell_notes(taken)
        busy = {(one.upload_id, one.asset_id) for one in taken if one.name == "busy"}
        return [event for event in events if _is_lost(event, busy)]

    async def notice(self) -> None:
        """Tell all workers that webhooks arrive, now and then; it is no harm if that fails."""
        now = self._clock()
        if 0 <= now - self._noticed_at < SECONDS_BETWEEN_NOTICES:
            return
        self._noticed_at = now
        try:
            await self._store.note_events()
        except Unavailable:
            self._noticed_at = float("-inf")

    def _measure(self, events: Sequence[Event], outcomes: Sequence[Outcome]) -> None:
        """Measure how long what became ready was not published."""
        ready = {
            event.fact.asset_id: event.happened_at
            for event in events
            if event.fact and event.type == "video.asset.ready" and event.happened_at
        }
        for outcome in outcomes:
            if outcome.name == "published" and (since := ready.get(outcome.asset_id)):
                self._watch.published_after_ready(max(0.0, self._clock() - since))


def _is_lost(event: Event, busy: Container[tuple[str | None, str | None]]) -> bool:
    """Tell whether an event is among those that met a lock, and no scan finds out the same."""
    if event.note is None or event.note.kind != "deleted":
        return False
    seen = event.note.observation
    return (seen.upload_id, seen.asset_id) in busy
