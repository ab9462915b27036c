import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import Observation, PlaybackId
from worker.web.webhooks.event import Event, InvalidEvent, read_event

ASSET = {
    "id": "as1",
    "upload_id": "up1",
    "status": "ready",
    "created_at": 1790000000,
    "playback_ids": [{"id": "play1", "policy": "public"}],
    "passthrough": "lesson",
}
UPLOAD = {"id": "up1", "status": "asset_created", "asset_id": "as1", "timeout": 3600}
READY = Observation(
    "asset",
    "ready",
    "webhook",
    "up1",
    "as1",
    (PlaybackId("play1", "public"),),
    lesson_references=("lesson",),
)


def event(kind: str, data: Any = None, **more: Any) -> Event:
    """Return an event of this type."""
    result = {"type": kind, "id": "e1", "created_at": "2026-09-21T14:13:20.500000Z", "data": data}
    return read_event(json.dumps({**result, **more}).encode())


def test_a_ready_asset_is_an_observation() -> None:
    """With its source, its ids and the moment it happened."""
    assert event("video.asset.ready", ASSET) == Event(
        "e1", "video.asset.ready", 1790000000.5, READY
    )


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ({"id": "env1", "name": "Production"}, "env1"),
        ({"id": "no id"}, None),
        ({"id": 5}, None),
        ("env1", None),
        (None, None),
    ],
)
def test_an_event_names_its_environment(result: Any, found: str | None) -> None:
    """An event without one, or with an invalid one, is an event."""
    assert event("video.asset.ready", ASSET, environment=result).environment_id == found


@pytest.mark.parametrize("what", ["created", "ready", "errored", "updated"])
def test_an_asset_is_as_its_data_says(what: str) -> None:
    """The data is the asset as it was; the type of the event adds nothing to it."""
    preparing = {**ASSET, "status": "preparing"}
    assert event(f"video.asset.{what}", preparing).observation == replace(READY, status="preparing")


@pytest.mark.parametrize("what", ["asset_created", "cancelled", "errored"])
def test_an_upload_is_as_the_event_says(what: str) -> None:
    """Whatever status its data has, and with the asset if there is one."""
    assert event(f"video.upload.{what}", UPLOAD).observation == Observation(
        "upload", what, "webhook", "up1", "as1"
    )


def test_a_deleted_asset_is_one() -> None:
    """Whatever status it had, and with what Mux knew of it."""
    assert event("video.asset.deleted", ASSET).observation == replace(READY, status="deleted")


@pytest.mark.parametrize(
    ("kind", "is_about_video"),
    [
        ("video.upload.created", True),
        ("video.asset.static_renditions.ready", True),
        ("video.live_stream.idle", False),
        ("doctor.test", False),
        ("", False),
    ],
)
def test_an_event_that_changes_nothing_is_ignored(kind: str, is_about_video: bool) -> None:
    """It may still show that webhooks arrive."""
    read = event(kind, {"id": "x"})
    assert (read.is_ignored, read.is_about_video) == (True, is_about_video)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no json", b"[]", b"null", b"{}", b'{"type": 5}', b"\xff\xfe", b"[" * 100_000,
        b'{"type": "video.asset.ready"}',
        b'{"type": "video.asset.ready", "data": []}',
        b'{"type": "video.asset.ready", "data": {"id": "a b", "status": "ready"}}',
        b'{"type": "video.asset.deleted", "data": "as1"}',
        b'{"type": "video.upload.errored", "data": {}}',
        b'{"type": "video.asset.ready", "data": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_an_invalid_body_is_no_event(body: bytes) -> None:
    """Nor is an event without the data that its type requires."""
    with pytest.raises(InvalidEvent):
        read_event(body)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2026-09-21T14:13:20Z", 1790000000.0),
        ("2026-09-21T16:13:20+02:00", 1790000000.0),
        ("2026-09-21T14:13:20", 1790000000.0),
        (1790000000, 1790000000.0),
        (1, 1.0), (0, None), (10**11 - 1, 10.0**11 - 1), (10**11, None),
        ("yesterday", None), (None, None), (-1, None), (10**300, None), ([], None),
    ],
)  # fmt: skip
def test_the_moment_is_read_where_there_is_one(moment: Any, seconds: float | None) -> None:
    """An event without a valid time is an event."""
    assert event("video.asset.ready", ASSET, created_at=moment).happened_at == seconds


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(
    [f"video.asset.{w}" for w in ("created", "ready", "errored", "updated", "deleted")]
    + [f"video.upload.{w}" for w in ("asset_created", "errored", "cancelled", "created")]
)
FIELDS = st.sampled_from(
    ["id", "status", "upload_id", "asset_id", "playback_ids", "errors", "meta", "passthrough"]
)


@given(kind=KINDS, data=JSON | st.dictionaries(FIELDS, JSON))
def test_any_data_is_an_event_or_none(kind: str, data: Any) -> None:
    """Only InvalidEvent is raised, and an event carries only ids that are valid."""
    try:
        read = event(kind, data)
    except InvalidEvent:
        return
    if (seen := read.observation) is not None:
        assert seen.upload_id or seen.asset_id
        assert seen.source == "webhook"


@given(st.binary())
def test_any_bytes_are_an_event_or_none(body: bytes) -> None:
    """Only InvalidEvent is raised."""
    try:
        read_event(body)
    except InvalidEvent:
        return


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("video.asset.ready", {}, "its data is not that of video.asset"),
        ("video.upload.errored", "x", "its data is not that of video.upload"),
    ],
)
def test_an_event_without_its_data_says_which_it_lacks(kind: str, data: Any, message: str) -> None:
    """For the log; the cause says what was wrong with it."""
    with pytest.raises(InvalidEvent, match=f"^{message}$") as raised:
        event(kind, data)
    assert str(raised.value.__cause__) in ("no object with an id and a status", "no object")


@pytest.mark.parametrize("id_", [5, None, ["e1"]])
def test_an_id_that_is_no_text_is_none(id_: Any) -> None:
    """It is only for the log."""
    assert event("video.asset.ready", ASSET, id=id_).id == ""


def test_a_moment_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the worker runs."""
    monkeypatch.setenv("TZ", "EST5EDT")
    time.tzset()
    try:
        read = event("video.asset.ready", ASSET, created_at="2026-09-21T14:13:20")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert read.happened_at == 1790000000.0
