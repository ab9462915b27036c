"""Bring lessons in line with what events say: decide, settle, tell, as for any observation."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from worker.decide import Rules, settlement
from worker.errors import Unavailable
from worker.model import Note, Outcome, Settlement
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import HOUR_SECONDS, LogThrottle, get_logger
from worker.web.webhooks.event import Event

SECONDS_BETWEEN_NOTICES = 5.0
"""So often at most the database is told that webhooks of an environment arrive."""

log = get_logger()


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

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Tell all workers that webhooks of an environment arrive; gives the recorded one."""
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
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._rules = rules
        self._telemetry = telemetry
        self._clock = clock
        self._noticed = LogThrottle(SECONDS_BETWEEN_NOTICES)
        self._elsewhere = LogThrottle(HOUR_SECONDS)
        self._has_matched = False

    async def settle(self, events: Sequence[Event]) -> list[Event]:
        """Settle a group of events; one that came twice is settled once.

        Gives back those that Mux has to send again, since no scan would find out: what they say of
        a video that a lesson has met a lock. Raises SupabaseUnavailable; then nothing is lost that
        Mux does not send again.
        """
        outcomes: list[Outcome] = []
        facts = list(dict.fromkeys(event.fact for event in events if event.fact))
        if facts:
            settlements = [settlement(fact, (), self._rules) for fact in facts]
            outcomes += await self._store.settle(settlements, None)
            self._telemetry.settled(settlements, outcomes)
            self._measure(events, outcomes)
        notes = list(dict.fromkeys(event.note for event in events if event.note))
        if notes:
            taken = await self._store.take_note(notes)
            self._telemetry.notes_settled(taken)
            outcomes += taken
        self._has_matched |= any(outcome.name != "unmatched" for outcome in outcomes)
        busy = [outcome for outcome in outcomes if outcome.name == "busy"]
        return [event for event in events if _is_lost(event, busy)]

    async def notice(self, environment_id: str | None) -> None:
        """Tell all workers that webhooks arrive, now and then; it is no harm if that fails.

        They count where their environment is the recorded one, or a row matched.
        """
        has_matched, self._has_matched = self._has_matched, False
        if not self._noticed.allow((environment_id, has_matched)):
            return
        with suppress(Unavailable):
            recorded = await self._store.note_events(environment_id, has_matched=has_matched)
            if not has_matched and None not in (environment_id, recorded):
                self._tell_environment(environment_id, recorded)

    def _tell_environment(self, environment_id: str | None, recorded: str | None) -> None:
        if environment_id != recorded and self._elsewhere.allow(environment_id):
            log.warning(
                "webhook.wrong_environment",
                environment=environment_id,
                recorded=recorded,
                message="An event is of another Mux environment than the videos of the lessons. "
                "Remove the webhook in that environment, or set MUX_WEBHOOK_SECRET and the Mux "
                "token of the right one.",
            )

    def _measure(self, events: Sequence[Event], outcomes: Sequence[Outcome]) -> None:
        """Measure how long what became ready was not published."""
        ready = {
            event.fact.asset_id: event.happened_at
            for event in events
            if event.fact and event.type == "video.asset.ready" and event.happened_at
        }
        for outcome in outcomes:
            if outcome.name == "published" and (since := ready.get(outcome.asset_id)):
                self._telemetry.published_after_ready(max(0.0, self._clock() - since))


def _is_lost(event: Event, busy: Sequence[Outcome]) -> bool:
    """Tell whether an event is among those that met a lock, and no scan finds out the same."""
    seen = event.seen
    is_deletion = event.note is not None and event.note.kind == "deleted"
    return seen is not None and any(
        (is_deletion or one.reason == "recheck")
        and (one.upload_id, one.asset_id) == (seen.upload_id, seen.asset_id)
        for one in busy
    )
