"""Parse Mux's JSON into observations. Unknown fields and values are ignored. Pure."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from worker.model import Environment, Observation, PlaybackId, Source, is_mux_id

NO_POLICY = "none"
"""The policy of a playback id for which Mux returns none."""


class UnreadableResponse(Exception):
    """Mux returned a 200 whose data is not the expected object."""


def read_upload(data: Any, source: Source) -> Observation:
    """Return the observation of an upload object.

    Raises UnreadableResponse if it has no id or no status.
    """
    upload_id, status = _id_and_status(data)
    error = _mapping(data.get("error"))
    return Observation(
        subject="upload",
        status=status,
        source=source,
        upload_id=upload_id,
        asset_id=_id(data.get("asset_id")),
        error_type=_text(error.get("type")),
        error_message=_text(error.get("message")),
    )


def read_asset(data: Any, source: Source) -> Observation:
    """Return the observation of an asset object.

    Raises UnreadableResponse if it has no id or no status.
    """
    asset_id, status = _id_and_status(data)
    errors = _mapping(data.get("errors"))
    messages = errors.get("messages")
    references = _passthrough_references(_text(data.get("passthrough")))
    external_id = _text(_mapping(data.get("meta")).get("external_id"))
    return Observation(
        subject="asset",
        status=status,
        source=source,
        upload_id=_id(data.get("upload_id")),
        asset_id=asset_id,
        playback_ids=_playback_ids(data.get("playback_ids")),
        error_type=_text(errors.get("type")),
        error_message=_joined(messages) if isinstance(messages, list) else None,
        lesson_references=(*references, *([external_id] if external_id else [])),
        is_test=data.get("test") is True,
        progress=_number(_mapping(data.get("progress")).get("progress")),
        duration_seconds=_number(data.get("duration")),
        aspect_ratio=_text(data.get("aspect_ratio")),
        max_resolution=_text(data.get("resolution_tier"))
        or _text(data.get("max_stored_resolution")),
    )


def read_list(
    items: Any, reader: Callable[[Any, Source], Observation], source: Source
) -> tuple[Observation, ...]:
    """Return the observations of a list, without the items that cannot be read.

    Raises UnreadableResponse if it is not a list.
    """
    if not isinstance(items, list):
        raise UnreadableResponse("no list")
    observations = []
    for item in items:
        try:
            observations.append(reader(item, source))
        except UnreadableResponse:
            continue
    return tuple(observations)


def read_error(body: Any) -> tuple[str | None, str | None] | None:
    """Return type and message of an error in Mux's format, or None for any other body."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return None
    messages = error.get("messages")
    listed = messages if isinstance(messages, list) else [error.get("message")]
    return _text(error.get("type")), _joined(listed)


def read_environment(data: Any) -> Environment:
    """Return the environment of the token from the response to whoami.

    Raises UnreadableResponse if it has no id.
    """
    fields = _mapping(data)
    environment_id = _text(fields.get("environment_id"))
    if environment_id is None:
        raise UnreadableResponse("no environment with an id")
    name, kind = _text(fields.get("environment_name")), _text(fields.get("environment_type"))
    organization_id = _text(fields.get("organization_id"))
    return Environment(environment_id, name or "?", kind or "?", organization_id)


def _id_and_status(data: Any) -> tuple[str, str]:
    mux_id, status = _id(_mapping(data).get("id")), _text(_mapping(data).get("status"))
    if mux_id is None or status is None:
        raise UnreadableResponse("no object with an id and a status")
    return mux_id, status


def _passthrough_references(passthrough: str | None) -> tuple[str, ...]:
    """Return the lesson ids that a JSON object in `passthrough` names, or else the text itself."""
    if passthrough is None:
        return ()
    try:
        fields = _mapping(json.loads(passthrough))
    except (ValueError, RecursionError):
        fields = {}
    values = (fields.get("lessonId"), fields.get("lesson_id"))
    lesson_ids = (str(value) for value in values if type(value) is int or _text(value))
    return tuple(dict.fromkeys(lesson_ids)) or (passthrough,)


def _playback_ids(items: Any) -> tuple[PlaybackId, ...]:
    """Return the playback ids. Without a policy an id gets `NO_POLICY`, which is never accepted."""
    if not isinstance(items, list):
        return ()
    pairs = ((_id(_mapping(i).get("id")), _text(_mapping(i).get("policy"))) for i in items)
    return tuple(PlaybackId(mux_id, policy or NO_POLICY) for mux_id, policy in pairs if mux_id)


def _joined(messages: list[Any]) -> str | None:
    return "; ".join(filter(None, map(_text, messages))) or None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    """Return a number that is finite and not negative."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 1e9 else None


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and is_mux_id(value) else None
