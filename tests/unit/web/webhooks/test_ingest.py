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
from worker.web.webhooks.ingest import Hearing


class Rows:
    """A database in which somebody has rows locked, and others are unknown.

    The environment in which our ids were found is `home`.
    """

    def __init__(self, locked: set[str | None], unknown: Container[str | None] = ()) -> None:
        self._locked = locked
        self._unknown = unknown
        self.told: list[tuple[str | None, bool]] = []

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
                reason="recheck",
            )
            for one in seen
        ]

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Hear that webhooks arrive."""
        self.told.append((environment_id, has_matched))
        return "home"

    async def take_note(self, notes: Sequence[Note]) -> list[Outcome]:
        """Take note of what is not locked."""
        return [
            Outcome(
                "busy" if note.observation.upload_id in self._locked else "waiting",
                upload_id=note.observation.upload_id,
                asset_id=note.observation.asset_id,
            )
            for note in notes
        ]


def event(kind: Literal["look", "deleted"], upload_id: str) -> Event:
    """Build an event that settles nothing."""
    seen = Observation("asset", "deleted", "webhook", upload_id, f"as-{upload_id}")
    return Event(f"{kind}-{upload_id}", "video.asset.deleted", None, note=Note(kind, seen))


async def test_only_a_deletion_that_met_a_lock_has_to_be_sent_again() -> None:
    """Each event that told of it; for what only asks for a look, there is the scan."""
    hearing = Hearing(cast(Any, Rows({"up1", "up2"})), Rules(), Telemetry())
    events = [event("deleted", "up1"), event("look", "up2"), event("deleted", "up3")]
    assert await hearing.settle([*events, events[0]]) == [events[0], events[0]]
    assert await hearing.settle(events[1:]) == []


def ready(upload_id: str) -> Event:
    """Build an event that says that an asset is ready."""
    seen = Observation("asset", "ready", "webhook", upload_id, f"as-{upload_id}")
    return Event(f"ready-{upload_id}", "video.asset.ready", None, fact=seen)


async def test_news_of_a_published_video_that_met_a_lock_has_to_be_sent_again() -> None:
    """No scan would find out that its playback id was replaced."""
    hearing = Hearing(cast(Any, Rows({"up1"})), Rules(), Telemetry())
    assert await hearing.settle([ready("up1"), ready("up2")]) == [ready("up1")]


@pytest.mark.parametrize(
    ("upload_id", "environment", "told", "lines"),
    [
        ("ours", "home", True, []),
        ("ours", "elsewhere", True, []),
        ("unknown", "home", False, []),
        ("unknown", None, False, []),
        ("unknown", "elsewhere", False, [("warning", "elsewhere", "home")]),
    ],
)
async def test_events_of_another_mux_environment_are_told_once_an_hour(
    upload_id: str, environment: str | None, told: bool, lines: list[Any]
) -> None:
    """Unless one is about a row of ours: the database hears both, and which environment it was."""
    rows = Rows(set(), {"unknown"})
    hearing = Hearing(cast(Any, rows), Rules(), Telemetry())
    event = replace(ready(upload_id), environment_id=environment)
    with capture_logs() as logged:
        for _ in range(3):
            assert await hearing.settle([event]) == []
            await hearing.notice(event.environment_id)
    assert rows.told == [(environment, told)]
    assert [(one["log_level"], one["environment"], one["recorded"]) for one in logged] == lines


async def test_events_of_another_environment_do_not_hide_our_own() -> None:
    """Each environment is told of by itself, however quickly the other's follow."""
    rows = Rows(set(), {"unknown"})
    hearing = Hearing(cast(Any, rows), Rules(), Telemetry())
    for environment in ("elsewhere", "home", "elsewhere", "home"):
        await hearing.notice(environment)
    assert rows.told == [("elsewhere", False), ("home", False)]
