"""Which events Mux has to send again, and which count as webhooks that arrive."""

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import pytest
from structlog.testing import capture_logs

from worker.decide import Rules
from worker.model import Note, Observation, Outcome, Settlement
from worker.telemetry.hooks import Telemetry
from worker.web.webhooks.event import Event
from worker.web.webhooks.ingest import EventIngest


class Rows:
    """A database in which some rows are locked, and others are unknown.

    The environment in which our ids were found is `home`.
    """

    def __init__(
        self,
        locked: set[str | None],
        unknown: Container[str | None] = (),
        reason: str | None = "recheck",
    ) -> None:
        self._locked = locked
        self._unknown = unknown
        self._reason = reason
        self.marked: list[tuple[str | None, bool]] = []

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle what is not locked; each row has its video already."""
        seen = [one.observation for one in settlements]
        return [
            Outcome("unmatched", upload_id=one.upload_id, asset_id=one.asset_id)
            if one.upload_id in self._unknown
            else Outcome(
                "busy" if one.upload_id in self._locked else "waiting",
                upload_id=one.upload_id,
                asset_id=one.asset_id,
                reason=self._reason,
            )
            for one in seen
        ]

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Record that webhooks arrive."""
        self.marked.append((environment_id, has_matched))
        return "home"

    async def record_notes(self, notes: Sequence[Note]) -> list[Outcome]:
        """Record what is not locked."""
        return [
            Outcome(
                "busy" if note.observation.upload_id in self._locked else "waiting",
                upload_id=note.observation.upload_id,
                asset_id=note.observation.asset_id,
            )
            for note in notes
        ]


def event(kind: Literal["recheck", "deleted"], upload_id: str) -> Event:
    """Build an event that settles nothing."""
    seen = Observation("asset", "deleted", "webhook", upload_id, f"as-{upload_id}")
    return Event(f"{kind}-{upload_id}", "video.asset.deleted", None, note=Note(kind, seen))


async def test_only_a_deletion_that_met_a_lock_has_to_be_sent_again() -> None:
    """Each copy of the event; the scan covers events that only lead to a check."""
    ingest = EventIngest(cast(Any, Rows({"up1", "up2"})), Rules(), Telemetry())
    events = [event("deleted", "up1"), event("recheck", "up2"), event("deleted", "up3")]
    assert await ingest.settle([*events, events[0]]) == [events[0], events[0]]
    assert await ingest.settle(events[1:]) == []


def ready(upload_id: str) -> Event:
    """Build an event that says that an asset is ready."""
    seen = Observation("asset", "ready", "webhook", upload_id, f"as-{upload_id}")
    return Event(f"ready-{upload_id}", "video.asset.ready", None, fact=seen)


@pytest.mark.parametrize(
    ("reason", "resent"), [("recheck", ["up1"]), ("not_scanned", ["up1"]), (None, [])]
)
async def test_an_event_that_met_a_lock_has_to_be_sent_again_where_no_scan_looks(
    reason: str | None, resent: list[str]
) -> None:
    """Of a published lesson, or of one that failed; a row that is processing is scanned."""
    ingest = EventIngest(cast(Any, Rows({"up1"}, reason=reason)), Rules(), Telemetry())
    assert await ingest.settle([ready("up1"), ready("up2")]) == [ready(id_) for id_ in resent]


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
    rows = Rows(set(), {"unknown"})
    ingest = EventIngest(cast(Any, rows), Rules(), Telemetry())
    event = replace(ready(upload_id), environment_id=environment)
    with capture_logs() as logged:
        for _ in range(3):
            assert await ingest.settle([event]) == []
            await ingest.mark_webhooks_active(event.environment_id)
    assert rows.marked == [(environment, result)]
    assert [(one["log_level"], one["environment"], one["recorded"]) for one in logged] == lines


async def test_events_of_another_environment_do_not_hide_our_own() -> None:
    """Each environment is recorded, however quickly events of the other follow."""
    rows = Rows(set(), {"unknown"})
    ingest = EventIngest(cast(Any, rows), Rules(), Telemetry())
    for environment in ("elsewhere", "home", "elsewhere", "home"):
        await ingest.mark_webhooks_active(environment)
    assert rows.marked == [("elsewhere", False), ("home", False)]
