"""Parse an event of Mux into an observation or a note. Pure.

An event's data is the upload or asset as it was when the event was made, so it is parsed like a
response of the API. The event's type is used only for states that no response reports.
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


class InvalidEvent(Exception):
    """The body is not an event of Mux, or lacks what an event of its type has."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of Mux: a fact to settle, a note to record, or neither (it is ignored)."""

    id: str
    type: str
    happened_at: float | None
    """Unix seconds."""

    fact: Observation | None = None
    note: Note | None = None
    environment_id: str | None = None
    """The Mux environment in which it happened."""

    @property
    def observation(self) -> Observation | None:
        """Return what Mux reported; None if the event is ignored."""
        return self.fact or (self.note.observation if self.note else None)

    @property
    def is_ignored(self) -> bool:
        """Whether nothing follows from it."""
        return self.observation is None

    @property
    def is_about_video(self) -> bool:
        """Whether it is about an upload or an asset, ignored or not."""
        return self.type.startswith(("video.upload.", "video.asset."))


def read_event(body: bytes) -> Event:
    """Return the event in the body of a webhook.

    Raises InvalidEvent with the reason.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("it is not JSON") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("type"), str):
        raise InvalidEvent("it is not an object with a type")
    type_, event_id = content["type"], content.get("id")
    event = Event(
        event_id if isinstance(event_id, str) else "",
        type_,
        _seconds(content.get("created_at")),
        environment_id=_environment(content.get("environment")),
    )
    try:
        return _with_meaning(event, content.get("data"))
    except (UnreadableResponse, AttributeError) as error:
        raise InvalidEvent(
            f"its data is not that of {'.'.join(type_.split('.')[:2])[:40]}"
        ) from error


def _with_meaning(event: Event, data: Any) -> Event:
    match event.type.split("."):
        case ["video", "upload", "errored"]:
            upload = read_upload({**_object(data), "status": "errored"}, "webhook")
            return replace(event, note=Note("recheck", upload))
        case ["video", "upload", status] if status in UPLOAD_EVENTS:
            return replace(event, fact=read_upload({**_object(data), "status": status}, "webhook"))
        case ["video", "asset", "deleted"]:
            asset = read_asset({**_object(data), "status": "deleted"}, "webhook")
            return replace(event, note=Note("deleted", asset))
        case ["video", "asset", name] if name in ASSET_EVENTS:
            return replace(event, fact=read_asset(data, "webhook"))
    return event


def _object(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise UnreadableResponse("no object")
    return data


def _environment(content: Any) -> str | None:
    id_ = content.get("id") if isinstance(content, Mapping) else None
    return id_ if isinstance(id_, str) and is_mux_id(id_) else None


def _seconds(moment: Any) -> float | None:
    """Return when an event happened: Mux documents a string and sends, in places, a number."""
    try:
        if isinstance(moment, str):
            parsed = datetime.fromisoformat(moment)
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
        return float(moment) if isinstance(moment, int) and 0 < moment < 10**11 else None
    except (ValueError, OverflowError):
        return None
