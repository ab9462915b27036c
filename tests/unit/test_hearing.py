"""Which events Mux has to send again."""

from collections.abc import Sequence
from typing import Any, Literal, cast

from worker.decide import Rules
from worker.model import Note, Observation, Outcome
from worker.report import Reporter
from worker.watch import Watch
from worker.web.events import Event
from worker.web.hearing import Hearing


class Rows:
    """A database in which somebody has rows locked."""

    def __init__(self, locked: set[str | None]) -> None:
        self._locked = locked

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
    hearing = Hearing(cast(Any, Rows({"up1", "up2"})), Rules(), Reporter(), Watch())
    events = [event("deleted", "up1"), event("look", "up2"), event("deleted", "up3")]
    assert await hearing.settle([*events, events[0]]) == [events[0], events[0]]
    assert await hearing.settle(events[1:]) == []
