"""Settle the facts in events: decide, settle and log, as for any observation."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from worker.decide import Rules, settlement
from worker.errors import Unavailable
from worker.model import Note, Outcome, Settlement, Verdict
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import HOUR_SECONDS, LogThrottle, get_logger
from worker.web.webhooks.event import Event

MARK_INTERVAL_SECONDS = 5.0
"""The shortest time between two calls that record that webhooks of an environment arrive."""

log = get_logger()


class EventStore(Protocol):
    """What ingesting events needs of the database."""

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        ...

    async def record_notes(self, notes: Sequence[Note]) -> list[Outcome]:
        """Record facts that are no verdicts."""
        ...

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Record that webhooks of an environment arrive; return the recorded environment."""
        ...


class EventIngest:
    """Settles the facts of events, and records notes that only lead to another look.

    An unknown id matches no row. An event proves nothing about the Mux token, so it says nothing
    about the environment in which our ids are found.
    """

    def __init__(
        self,
        store: EventStore,
        rules: Rules,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._rules = rules
        self._telemetry = telemetry
        self._clock = clock
        self._marked = LogThrottle(MARK_INTERVAL_SECONDS)
        self._other_environments = LogThrottle(HOUR_SECONDS)
        self._has_matched = False

    async def settle(self, events: Sequence[Event]) -> list[Event]:
        """Settle a batch of events, a repeated event once; return those that Mux must send again.

        These are events that met a locked row which no scan reads: of a deleted asset, of a lesson
        that has its video, or of a video that failed. Raises SupabaseUnavailable; Mux then sends
        the whole batch again.
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
            recorded = await self._store.record_notes(notes)
            waits = [Settlement(note.observation, Verdict("wait", note.reason)) for note in notes]
            self._telemetry.settled(waits, recorded)
            outcomes += recorded
        self._has_matched |= any(outcome.name != "unmatched" for outcome in outcomes)
        busy = [outcome for outcome in outcomes if outcome.name == "busy"]
        return [event for event in events if _must_be_resent(event, busy)]

    async def mark_webhooks_active(self, environment_id: str | None) -> None:
        """Record for all workers that webhooks arrive, every few seconds; an outage is ignored.

        They count where their environment is the recorded one, or a row matched.
        """
        has_matched, self._has_matched = self._has_matched, False
        if not self._marked.allow((environment_id, has_matched)):
            return
        with suppress(Unavailable):
            recorded = await self._store.note_events(environment_id, has_matched=has_matched)
            if not has_matched and None not in (environment_id, recorded):
                self._check_environment(environment_id, recorded)

    def _check_environment(self, environment_id: str | None, recorded: str | None) -> None:
        if environment_id != recorded and self._other_environments.allow(environment_id):
            log.warning(
                "webhook.wrong_environment",
                environment=environment_id,
                recorded=recorded,
                message="An event belongs to another Mux environment than the videos of the "
                "lessons. Remove the webhook in that environment, or set MUX_WEBHOOK_SECRET and "
                "the Mux token of the right environment.",
            )

    def _measure(self, events: Sequence[Event], outcomes: Sequence[Outcome]) -> None:
        """Record the time from ready to published."""
        ready = {
            event.fact.asset_id: event.happened_at
            for event in events
            if event.fact and event.type == "video.asset.ready" and event.happened_at
        }
        for outcome in outcomes:
            if outcome.name == "published" and (since := ready.get(outcome.asset_id)):
                self._telemetry.published_after_ready(max(0.0, self._clock() - since))


def _must_be_resent(event: Event, busy: Sequence[Outcome]) -> bool:
    """Whether the event's row was locked, and no scan would find its fact."""
    observation = event.observation
    is_deletion = event.note is not None and event.note.kind == "deleted"
    return observation is not None and any(
        (is_deletion or outcome.reason in ("recheck", "not_scanned"))
        and (outcome.upload_id, outcome.asset_id) == (observation.upload_id, observation.asset_id)
        for outcome in busy
    )
