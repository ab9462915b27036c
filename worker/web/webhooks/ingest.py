"""Settle what events report: decide, settle and log, as for any observation."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from worker.decide import Rules, settlement
from worker.errors import Unavailable
from worker.model import Outcome, Settlement
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import HOUR_SECONDS, LogThrottle, get_logger
from worker.web.webhooks.event import Event

MARK_INTERVAL_SECONDS = 5.0
"""The shortest time between two calls that record that webhooks of an environment arrive."""

NOT_FOUND_BY_SCAN = frozenset({"not_scanned", "not_due", "recheck", "mark_deleted"})
"""The reasons of a busy row for which no scan would soon find what the event reports."""

log = get_logger()


class EventStore(Protocol):
    """What ingesting events needs of the database."""

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        ...

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Record that webhooks of an environment arrive; return the recorded environment."""
        ...


class EventIngest:
    """Settles what events report.

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

        These are events that met a lock where no scan would find what they report: of a deleted
        asset, of a lesson that has its video, or of a video that failed; and deletions that the
        database refused. Raises SupabaseUnavailable; Mux then sends the whole batch again.
        """
        observations = dict.fromkeys(e.observation for e in events if e.observation)
        settlements = [settlement(observation, (), self._rules) for observation in observations]
        outcomes = await self._store.settle(settlements, None)
        self._telemetry.settled(settlements, outcomes)
        self._measure(events, outcomes)
        self._has_matched |= any(outcome.name != "unmatched" for outcome in outcomes)
        unsettled = [outcome for outcome in outcomes if outcome.name in ("busy", "refused")]
        return [event for event in events if _must_be_resent(event, unsettled)]

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
            event.observation.asset_id: event.happened_at
            for event in events
            if event.observation and event.type == "video.asset.ready" and event.happened_at
        }
        for outcome in outcomes:
            if outcome.name == "published" and (since := ready.get(outcome.asset_id)):
                self._telemetry.published_after_ready(max(0.0, self._clock() - since))


def _must_be_resent(event: Event, unsettled: Sequence[Outcome]) -> bool:
    """Whether the event met a row that was not settled, and no scan would find what it reports."""
    observation = event.observation
    return observation is not None and any(
        (outcome.upload_id, outcome.asset_id) == (observation.upload_id, observation.asset_id)
        and (outcome.reason in NOT_FOUND_BY_SCAN or observation.status == "deleted")
        for outcome in unsettled
    )
