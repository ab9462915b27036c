"""Parse an event of Mux into an observation. Pure.

An event's data is the upload or asset as it was when the event was made, so it is parsed like a
response of the API. The event's type is used only for states that no response reports.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from worker.model import Observation, is_mux_id
from worker.mux.parse import UnreadableResponse, read_asset, read_upload

UPLOAD_EVENTS = frozenset({"asset_created", "cancelled", "errored"})
ASSET_EVENTS = frozenset({"created", "ready", "errored", "updated"})


class InvalidEvent(Exception):
    """The body is not an event of Mux, or lacks what an event of its type has."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of Mux, and what it reports; without an observation it is ignored."""

    id: str
    type: str
    happened_at: float | None
    """Unix seconds."""

    observation: Observation | None = None
    environment_id: str | None = None
    """The Mux environment in which it happened."""

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
        return replace(event, observation=_observation(type_, content.get("data")))
    except (UnreadableResponse, AttributeError) as error:
        raise InvalidEvent(f"its data is not that of {type_.rpartition('.')[0]}") from error


def _observation(type_: str, data: Any) -> Observation | None:
    match type_.split("."):
        case ["video", "upload", status] if status in UPLOAD_EVENTS:
            return read_upload({**_object(data), "status": status}, "webhook")
        case ["video", "asset", "deleted"]:
            return read_asset({**_object(data), "status": "deleted"}, "webhook")
        case ["video", "asset", name] if name in ASSET_EVENTS:
            return read_asset(data, "webhook")
    return None


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
