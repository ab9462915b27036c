"""Read what Mux says into observations, leniently: unknown fields and values do no harm. Pure."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from worker.model import Environment, Observation, PlaybackId, Source, is_mux_id

NO_POLICY = "none"
"""What stands for the policy of a playback id for which Mux names none."""


class UnreadableAnswer(Exception):
    """Mux answered 200 with something that is not the object it should be."""


def read_upload(data: Any, source: Source) -> Observation:
    """Read an upload as Mux describes it.

    Raises UnreadableAnswer when it is no object with an id and a status.
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
    """Read an asset as Mux describes it.

    Raises UnreadableAnswer when it is no object with an id and a status.
    """
    asset_id, status = _id_and_status(data)
    errors = _mapping(data.get("errors"))
    messages = errors.get("messages")
    passthrough = _lessons_in(_text(data.get("passthrough")))
    external_id = _text(_mapping(data.get("meta")).get("external_id"))
    return Observation(
        subject="asset",
        status=status,
        source=source,
        upload_id=_id(data.get("upload_id")),
        asset_id=asset_id,
        playback_ids=_playback_ids(data.get("playback_ids")),
        error_type=_text(errors.get("type")),
        error_message="; ".join(filter(None, map(_text, messages))) or None
        if isinstance(messages, list)
        else None,
        claims=(*passthrough, *([external_id] if external_id else [])),
        is_test=data.get("test") is True,
    )


def read_list(
    items: Any, reader: Callable[[Any, Source], Observation], source: Source
) -> tuple[Observation, ...]:
    """Read a list; an item that cannot be read is left out, and costs the others nothing.

    Raises UnreadableAnswer when it is no list.
    """
    if not isinstance(items, list):
        raise UnreadableAnswer("no list")
    read = []
    for item in items:
        try:
            read.append(reader(item, source))
        except UnreadableAnswer:
            continue
    return tuple(read)


def read_error(body: Any) -> tuple[str | None, str | None] | None:
    """Read type and message of an error in Mux's form; None if it is not in that form."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return None
    messages = error.get("messages")
    listed = messages if isinstance(messages, list) else [error.get("message")]
    return _text(error.get("type")), "; ".join(filter(None, map(_text, listed))) or None


def read_environment(data: Any) -> Environment:
    """Read from the answer to whoami which environment the token belongs to.

    Raises UnreadableAnswer when there is none.
    """
    told = _mapping(data)
    environment = _text(told.get("environment_id"))
    if environment is None:
        raise UnreadableAnswer("no environment with an id")
    name, kind = _text(told.get("environment_name")), _text(told.get("environment_type"))
    return Environment(environment, name or "?", kind or "?")


def _id_and_status(data: Any) -> tuple[str, str]:
    found, status = _id(_mapping(data).get("id")), _text(_mapping(data).get("status"))
    if found is None or status is None:
        raise UnreadableAnswer("no object with an id and a status")
    return found, status


def _lessons_in(passthrough: str | None) -> tuple[str, ...]:
    """Read the lesson references of a `passthrough`: what an object in it names, or the text."""
    if passthrough is None:
        return ()
    try:
        told = _mapping(json.loads(passthrough))
    except (ValueError, RecursionError):
        told = {}
    named = (told.get("lessonId"), told.get("lesson_id"))
    keys = (str(key) for key in named if type(key) is int or _text(key))
    return tuple(dict.fromkeys(keys)) or (passthrough,)


def _playback_ids(items: Any) -> tuple[PlaybackId, ...]:
    """Read playback ids; one without a policy has one that is not accepted, and is named."""
    if not isinstance(items, list):
        return ()
    read = ((_id(_mapping(i).get("id")), _text(_mapping(i).get("policy"))) for i in items)
    return tuple(PlaybackId(found, policy or NO_POLICY) for found, policy in read if found)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and is_mux_id(value) else None
