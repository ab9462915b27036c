"""Read an event of Mux into what follows from it. Pure.

An event's data is the upload or asset as it was when the event was made, so it is read as an
answer of Mux is; only for what an answer never says does the event's type speak.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from worker.model import Note, Observation, is_mux_id
from worker.mux.parse import UnreadableResponse, read_asset, read_upload

UPLOAD_EVENTS = frozenset({"asset_created", "cancelled", "errored"})
ASSET_EVENTS = frozenset({"created", "ready", "errored", "updated", "deleted"})


class NoEvent(Exception):
    """What came is no event of Mux, or not what an event of its type must be."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of Mux: a fact to settle, a note to take, or of no use (neither).

    `is_of_video` holds for all that is about uploads and assets, also for what is of no use.
    """

    id: str
    type: str
    happened_at: float | None
    """Unix seconds."""

    fact: Observation | None = None
    note: Note | None = None
    environment_id: str | None = None
    """The Mux environment in which it happened."""

    @property
    def seen(self) -> Observation | None:
        """What Mux said, if anything may follow from it."""
        return self.fact or (self.note.observation if self.note else None)

    @property
    def is_of_use(self) -> bool:
        """Whether anything may follow from it."""
        return self.seen is not None

    @property
    def is_of_video(self) -> bool:
        """Whether it shows that webhooks about uploads and assets arrive here."""
        return self.type.startswith(("video.upload.", "video.asset."))


def read_event(body: bytes) -> Event:
    """Read the body of a webhook.

    Raises NoEvent, saying what is wrong with it.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoEvent("no JSON") from error
    if not isinstance(told, Mapping) or not isinstance(told.get("type"), str):
        raise NoEvent("no object with a type")
    kind, event_id = told["type"], told.get("id")
    event = Event(
        event_id if isinstance(event_id, str) else "",
        kind,
        _seconds(told.get("created_at")),
        environment_id=_environment(told.get("environment")),
    )
    try:
        return _with_meaning(event, told.get("data"))
    except (UnreadableResponse, AttributeError) as error:
        raise NoEvent(f"data that is no {'.'.join(kind.split('.')[:2])[:40]}") from error


def _with_meaning(event: Event, data: Any) -> Event:
    match event.type.split("."):
        case ["video", "upload", "errored"]:
            seen = read_upload({**_object(data), "status": "errored"}, "webhook")
            return replace(event, note=Note("look", seen))
        case ["video", "upload", what] if what in UPLOAD_EVENTS:
            return replace(event, fact=read_upload({**_object(data), "status": what}, "webhook"))
        case ["video", "asset", "deleted"]:
            seen = read_asset({**_object(data), "status": "deleted"}, "webhook")
            return replace(event, note=Note("deleted", seen))
        case ["video", "asset", what] if what in ASSET_EVENTS:
            return replace(event, fact=read_asset(data, "webhook"))
    return event


def _object(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise UnreadableResponse("no object")
    return data


def _environment(told: Any) -> str | None:
    found = told.get("id") if isinstance(told, Mapping) else None
    return found if isinstance(found, str) and is_mux_id(found) else None


def _seconds(moment: Any) -> float | None:
    """Read when an event happened: Mux documents a text and sends, in places, a number."""
    try:
        if isinstance(moment, str):
            read = datetime.fromisoformat(moment)
            return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
        return float(moment) if isinstance(moment, int) and 0 < moment < 10**11 else None
    except (ValueError, OverflowError):
        return None
