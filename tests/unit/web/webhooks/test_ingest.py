"""Which events Mux has to send again, and which count as webhooks that arrive."""

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from worker.decide import Rules
from worker.errors import SupabaseUnavailable
from worker.model import Observation, Outcome, PlaybackId, Settlement
from worker.telemetry.hooks import Telemetry
from worker.web.webhooks.event import Event
from worker.web.webhooks.ingest import EventIngest


class Rows:
    """A database in which some rows are locked, and others are unknown or refused.

    `reason` is that of a locked row, which says whether a scan finds what an event reports; a
    deletion has its own. The environment in which our ids were found is `home`.
    """

    def __init__(
        self,
        locked: Container[str | None] = (),
        unknown: Container[str | None] = (),
        refused: Container[str | None] = (),
        reason: str | None = None,
    ) -> None:
        self._outcomes = {"busy": locked, "unmatched": unknown, "refused": refused}
        self._reason = reason
        self.calls: list[list[tuple[str, str | None]]] = []
        self.marked: list[tuple[str | None, bool]] = []

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Let each row wait that can be written."""
        self.calls.append([(s.verdict.action, s.observation.upload_id) for s in settlements])
        return [self._outcome(settlement) for settlement in settlements]

    def _outcome(self, settlement: Settlement) -> Outcome:
        seen, is_deletion = settlement.observation, settlement.verdict.action == "mark_deleted"
        names = (name for name, ids in self._outcomes.items() if seen.upload_id in ids)
        outcome = Outcome(next(names, "waiting"), upload_id=seen.upload_id, asset_id=seen.asset_id)
        if outcome.name == "busy":
            reason = "mark_deleted" if is_deletion else self._reason
            return replace(outcome, reason=reason)
        return outcome

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Record that webhooks arrive."""
        self.marked.append((environment_id, has_matched))
        return "home"


def deleted(upload_id: str) -> Event:
    """Build the event of a deletion."""
    seen = Observation("asset", "deleted", "webhook", upload_id, f"as-{upload_id}")
    return Event(f"deleted-{upload_id}", "video.asset.deleted", None, seen)


def errored(upload_id: str) -> Event:
    """Build the event of an upload that failed."""
    seen = Observation("upload", "errored", "webhook", upload_id)
    return Event(f"errored-{upload_id}", "video.upload.errored", None, seen)


def ready(upload_id: str) -> Event:
    """Build the event of an asset that is ready."""
    playback_ids = (PlaybackId("play", "public"),)
    seen = Observation("asset", "ready", "webhook", upload_id, f"as-{upload_id}", playback_ids)
    return Event(f"ready-{upload_id}", "video.asset.ready", None, seen)


async def test_all_events_of_a_batch_are_settled_in_one_call() -> None:
    """Whatever their verdicts, and a repeated event once."""
    rows = Rows()
    ingest = EventIngest(rows, Rules(), Telemetry())
    events = [ready("up1"), deleted("up2"), errored("up3"), ready("up1"), deleted("up2")]
    assert await ingest.settle(events) == []
    assert rows.calls == [[("publish", "up1"), ("mark_deleted", "up2"), ("recheck", "up3")]]


async def test_a_deletion_that_met_a_lock_has_to_be_sent_again() -> None:
    """Each copy of the event; the scan finds an upload that failed."""
    ingest = EventIngest(Rows(locked={"up1", "up2"}), Rules(), Telemetry())
    events = [deleted("up1"), errored("up2"), deleted("up3")]
    assert await ingest.settle([*events, events[0]]) == [events[0], events[0]]
    assert await ingest.settle(events[1:]) == []


async def test_a_deletion_that_the_database_refused_has_to_be_sent_again() -> None:
    """No scan would find it once the cause is removed; a row that waits is scanned."""
    ingest = EventIngest(Rows(refused={"up1", "up2"}), Rules(), Telemetry())
    assert await ingest.settle([deleted("up1"), ready("up2")]) == [deleted("up1")]


@pytest.mark.parametrize(
    ("reason", "resent"),
    [("recheck", ["up1"]), ("not_scanned", ["up1"]), ("not_due", ["up1"]), (None, [])],
)
async def test_an_event_that_met_a_lock_has_to_be_sent_again_where_no_scan_looks(
    reason: str | None, resent: list[str]
) -> None:
    """Of a published lesson, or of one that failed; a row that is processing is scanned."""
    ingest = EventIngest(Rows(locked={"up1"}, reason=reason), Rules(), Telemetry())
    assert await ingest.settle([ready("up1"), ready("up2")]) == [ready(id_) for id_ in resent]


async def test_what_becomes_of_an_event_is_reported_as_of_any_observation() -> None:
    """Once a batch, with the verdicts and the outcomes."""
    reported: list[tuple[Sequence[str], list[str]]] = []

    class Subscriber(Telemetry):
        def settled(
            self,
            settlements: Sequence[Settlement],
            outcomes: Sequence[Outcome],
            actor: str | None = None,
        ) -> None:
            verdicts = [settlement.verdict.action for settlement in settlements]
            reported.append((verdicts, [outcome.name for outcome in outcomes]))

    ingest = EventIngest(Rows(unknown={"up2"}), Rules(), Telemetry(Subscriber()))
    await ingest.settle([errored("up1"), deleted("up2")])
    assert reported == [(["recheck", "mark_deleted"], ["waiting", "unmatched"])]


@pytest.mark.parametrize(
    ("upload_id", "environment", "result", "lines"),
    [
        ("ours", "home", True, []),
        ("ours", "elsewhere", True, []),
        ("unknown", "home", False, []),
        ("unknown", None, False, []),
        ("unknown", "elsewhere", False, [("warning", "elsewhere", "home")]),
    ],
)
async def test_events_of_another_mux_environment_are_logged_once_an_hour(
    upload_id: str, environment: str | None, result: bool, lines: list[Any]
) -> None:
    """Unless a row matched; the database gets both, and the environment."""
    rows = Rows(unknown={"unknown"})
    ingest = EventIngest(rows, Rules(), Telemetry())
    event = replace(ready(upload_id), environment_id=environment)
    with capture_logs() as logged:
        for _ in range(3):
            assert await ingest.settle([event]) == []
            await ingest.mark_webhooks_active(event.environment_id)
    assert rows.marked == [(environment, result)]
    assert [(one["log_level"], one["environment"], one["recorded"]) for one in logged] == lines


async def test_events_of_another_environment_do_not_hide_our_own() -> None:
    """Each environment is recorded, however quickly events of the other follow."""
    rows = Rows(unknown={"unknown"})
    ingest = EventIngest(rows, Rules(), Telemetry())
    for environment in ("elsewhere", "home", "elsewhere", "home"):
        await ingest.mark_webhooks_active(environment)
    assert rows.marked == [("elsewhere", False), ("home", False)]


async def test_a_row_that_matched_counts_until_that_is_recorded() -> None:
    """Also where later events of the same few seconds match none."""
    rows = Rows(unknown={"unknown"})
    ingest = EventIngest(rows, Rules(), Telemetry())
    await ingest.settle([ready("ours")])
    await ingest.settle([ready("unknown")])
    await ingest.mark_webhooks_active("elsewhere")
    await ingest.mark_webhooks_active("home")
    assert rows.marked == [("elsewhere", True), ("home", False)]


async def test_that_webhooks_arrive_is_recorded_the_next_time_after_an_outage() -> None:
    """The outage itself is reported where it matters: the event has to be sent again."""

    class Down(Rows):
        async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
            raise SupabaseUnavailable("connection", "down")

    with capture_logs() as logged:
        await EventIngest(Down(), Rules(), Telemetry()).mark_webhooks_active("home")
    assert logged == []


async def test_each_other_environment_is_logged_with_what_to_do() -> None:
    """Two webhooks that are left over in two environments are two lines."""
    ingest = EventIngest(Rows(), Rules(), Telemetry())
    with capture_logs() as logged:
        for environment in ("e1", "e2"):
            await ingest.mark_webhooks_active(environment)
    assert logged == [
        {
            "event": "webhook.wrong_environment",
            "log_level": "warning",
            "environment": environment,
            "recorded": "home",
            "message": "An event belongs to another Mux environment than the videos of the "
            "lessons. Remove the webhook in that environment, or set MUX_WEBHOOK_SECRET and "
            "the Mux token of the right environment.",
        }
        for environment in ("e1", "e2")
    ]


class Measured(Telemetry):
    """Keeps the seconds from ready to published."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def published_after_ready(self, seconds: float) -> None:
        """Keep a measurement."""
        self.seconds.append(seconds)


class Publishing(Rows):
    """Publishes the rows of some uploads, and lets the others wait."""

    def __init__(self, *published: str) -> None:
        super().__init__()
        self._published = published

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        outcomes = await super().settle(settlements, environment_id)
        return [replace(o, name="published") if o.upload_id in self._published else o
                for o in outcomes]  # fmt: skip


@pytest.mark.parametrize(
    ("happened_at", "seconds"), [(99.5, [0.5]), (40.0, [60.0]), (101.0, [0.0]), (None, [])]
)
async def test_the_time_from_ready_to_published_is_measured(
    happened_at: float | None, seconds: list[float]
) -> None:
    """By the moment in the event, of lessons that were published; no clock makes it negative."""
    measured = Measured()
    ingest = EventIngest(Publishing("up1"), Rules(), measured, lambda: 100.0)
    other = replace(ready("up2"), happened_at=1.0)
    await ingest.settle([replace(ready("up1"), happened_at=happened_at), other])
    assert measured.seconds == seconds


async def test_only_the_event_that_an_asset_is_ready_says_since_when() -> None:
    """Another event of the same asset has the time of something else."""
    measured = Measured()
    ingest = EventIngest(Publishing("up1"), Rules(), measured, lambda: 100.0)
    updated = replace(ready("up1"), type="video.asset.updated", happened_at=90.0)
    nothing = Event("e9", "video.asset.ready", 80.0)
    await ingest.settle([updated, nothing])
    assert measured.seconds == []
