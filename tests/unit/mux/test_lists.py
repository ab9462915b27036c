import json
from typing import Any

import pytest

from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Environment, Observation, Page, PlaybackId
from worker.mux.parse import UnreadableResponse, read_asset, read_list, read_upload
from worker.mux.response import (
    Response,
    check,
    read_asset_of,
    read_assets,
    read_control,
    read_data,
    read_object,
    read_uploads,
    read_whoami,
)

REFUSAL = {"error": {"type": "invalid_parameters", "messages": ["no"]}}
NOTHING = Page((), None)


def response(body: Any, status: int = 200, **headers: str) -> Response:
    """Return a response with a JSON body."""
    return Response.of(status, headers, json.dumps(body))


def asset(asset_id: str, upload_id: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an asset as Mux sends it."""
    return {"id": asset_id, "status": "ready", "upload_id": upload_id, **more}


def listed(asset_id: str, upload_id: str | None = None) -> Observation:
    """Return the observation of a listed asset."""
    return Observation("asset", "ready", "sweep", upload_id, asset_id)


def test_a_page_of_assets_has_its_items_in_order_and_where_the_list_continues() -> None:
    """What cannot be read is left out, and the items after it are not."""
    playback_ids = [{"id": "play2", "policy": "public"}]
    body = {
        "data": [asset("as1"), {"id": "as9"}, None, asset("as2", "up2", playback_ids=playback_ids)],
        "next_cursor": "after-2",
    }
    second = Observation(
        "asset", "ready", "sweep", "up2", "as2", playback_ids=(PlaybackId("play2", "public"),)
    )
    assert read_assets(response(body)) == Page((listed("as1"), second), "after-2")


@pytest.mark.parametrize("cursor", [None, "", 7, "é", ["a"], {"a": 1}, True])
def test_a_cursor_that_cannot_be_sent_back_ends_the_list(cursor: Any) -> None:
    """The page before it counts."""
    body = {"data": [asset("as1")], "next_cursor": cursor}
    assert read_assets(response(body)) == Page((listed("as1"),), None)


def test_a_list_without_a_cursor_ends() -> None:
    """The last page has none."""
    assert read_assets(response({"data": [asset("as1")]})) == Page((listed("as1"),), None)


@pytest.mark.parametrize(("size", "following"), [(1, None), (2, "8"), (3, None)])
def test_after_a_full_page_of_uploads_comes_the_next_number(
    size: int, following: str | None
) -> None:
    """A page that has not as many items as were asked for is the last."""
    body = {"data": [{"id": f"up{n}", "status": "waiting"} for n in range(size)]}
    uploads = tuple(Observation("upload", "waiting", "sweep", f"up{n}") for n in range(size))
    assert read_uploads(7, 2, response(body)) == Page(uploads, following)


def test_a_list_that_is_refused_is_empty() -> None:
    """Its rows are probed instead, whatever else the refusal holds."""
    refusal = response({**REFUSAL, "data": [asset("as1", "up1")], "next_cursor": None}, 400)
    assert read_assets(refusal) == NOTHING
    assert read_uploads(1, 1, refusal) == NOTHING
    assert read_asset_of("up1", refusal) is None


@pytest.mark.parametrize("data", [{}, {"id": "as1", "status": "ready"}])
def test_a_list_that_is_none_is_a_fault(data: Any) -> None:
    """It is not taken for an empty one."""
    with pytest.raises(MuxUnavailable) as raised:
        read_assets(response({"data": data}))
    assert (raised.value.reason, raised.value.message) == ("unreadable", "Mux's answer is no list.")


def test_the_source_of_a_list_is_that_of_its_items() -> None:
    """Both readers are given it."""
    assert read_list([asset("as1")], read_asset, "webhook") == (
        Observation("asset", "ready", "webhook", asset_id="as1"),
    )
    assert read_list([], read_upload, "probe") == ()
    with pytest.raises(UnreadableResponse, match=r"^no list$"):
        read_list(None, read_upload, "probe")


@pytest.mark.parametrize(
    ("assets", "found"),
    [
        ([], None),
        ([asset("as1", "up1")], "as1"),
        ([asset("as1", "up2")], None),
        ([asset("as1", "up2"), asset("as2", "up1")], "as2"),
        ([asset("as1", "up1"), asset("as2", "up1")], None),
        ([asset("as1", None)], None),
    ],
    ids=["none", "one", "another's", "one of two", "two", "of none"],
)
def test_an_upload_has_the_asset_that_names_it_alone(
    assets: list[dict[str, Any]], found: str | None
) -> None:
    """Mux may ignore the filter, and of several assets the upload itself says which counts."""
    seen = Observation("asset", "ready", "probe", "up1", found)
    assert read_asset_of("up1", response({"data": assets})) == (seen if found else None)


def test_the_control_request_needs_a_list() -> None:
    """A list that is refused or is none says that Mux is not available."""
    read_control(response({"data": []}))
    read_control(response({"data": [asset("as1")]}))
    for body, status, reason, message in (
        (REFUSAL, 404, "http_404", "Mux refuses to list its assets."),
        ({"data": {}}, 200, "unreadable", "Mux's answer is no list."),
    ):
        with pytest.raises(MuxUnavailable) as raised:
            read_control(response(body, status))
        assert (raised.value.reason, raised.value.message) == (reason, message)


def test_the_environment_is_that_of_whoami() -> None:
    """A token for which Mux returns none is a fault."""
    found = {"environment_id": "e1", "environment_name": "", "environment_type": "production"}
    assert read_whoami(response({"data": found})) == Environment("e1", "?", "production")
    for body, status, reason, message in (
        (REFUSAL, 404, "http_404", "Mux returned no environment for the token."),
        ({"data": {}}, 200, "unreadable", "Mux's answer is no environment with an id."),
    ):
        with pytest.raises(MuxUnavailable) as raised:
            read_whoami(response(body, status))
        assert (raised.value.reason, raised.value.message) == (reason, message)


@pytest.mark.parametrize(
    ("limit", "remaining", "used"),
    [
        ("6", "0", True),
        ("5.5", "0", True),
        ("5", "0", False),
        ("4", "0", False),
        ("6", "1", False),
        (None, "0", False),
        ("", "0", False),
        ("6", None, False),
        ("many", "0", False),
        ("many", "1", False),
    ],
)
def test_others_use_the_limit_where_nothing_is_left_of_more_than_we_send(
    limit: str | None, remaining: str | None, used: bool
) -> None:
    """At five requests a second of our own, and for headers that make no sense, too."""
    named = {"x-ratelimit-limit": limit, "x-ratelimit-remaining": remaining}
    headers = {name: value for name, value in named.items() if value is not None}
    assert Response(200, headers, None).is_limit_used_by_others(5.0) is used


def test_without_a_limit_none_is_used_however_slow_the_worker_is() -> None:
    """Half a request a second is more than nothing."""
    response = Response(200, {"x-ratelimit-remaining": "0"}, None)
    assert not response.is_limit_used_by_others(0.5)


@pytest.mark.parametrize(
    ("status", "message"),
    [(429, "Mux asks for fewer requests."), (408, "Mux answered with 408."),
     (503, "Mux answered with 503.")],
)  # fmt: skip
def test_a_fault_says_what_mux_did(status: int, message: str) -> None:
    """In one sentence, for the log."""
    with pytest.raises(MuxUnavailable) as raised:
        check(response(None, status))
    assert raised.value.message == message


def test_a_refusal_with_a_single_message_has_it() -> None:
    """Mux writes `message` in some places, and `messages` in others."""
    with pytest.raises(MuxUnauthorized, match=r"\(gone\)"):
        check(response({"error": {"message": "gone"}}, 403))


def test_an_answer_for_another_id_is_unreadable() -> None:
    """The reason and the sentence of the log."""
    with pytest.raises(MuxUnavailable) as raised:
        read_object(response({"data": asset("as2", "as1")}), "asset", "as1",
                    lambda data: read_asset(data, "probe"))  # fmt: skip
    assert (raised.value.reason, raised.value.message) == (
        "unreadable",
        "Mux answered for another id than the requested one.",
    )


def test_an_object_without_an_id_or_a_status_is_unreadable() -> None:
    """The sentence says what is missing."""
    with pytest.raises(MuxUnavailable) as raised:
        read_data(response({"data": {"id": "as1"}}), lambda data: read_asset(data, "probe"))
    assert raised.value.message == "Mux's answer is no object with an id and a status."


@pytest.mark.parametrize(
    ("status", "headers", "asks"),
    [
        (429, {}, True),
        (429, {"retry-after": "7"}, True),
        (500, {"retry-after": "7"}, True),
        (503, {"retry-after": "0"}, True),
        (503, {"retry-after": "soon"}, False),
        (503, {}, False),
        (499, {"retry-after": "7"}, False),
        (200, {"retry-after": "7"}, False),
    ],
)
def test_mux_asks_for_less_by_a_429_or_by_a_pause_after_an_error(
    status: int, headers: dict[str, str], asks: bool
) -> None:
    """An error alone is none, since it may be of one id."""
    assert Response(status, headers, None).asks_for_less is asks
