import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.decide import Rules, decide, unknown_values
from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Environment, Observation, PlaybackId
from worker.mux.parse import (
    UnreadableResponse,
    read_asset,
    read_environment,
    read_error,
    read_upload,
)
from worker.mux.response import Response, check, read_data, read_object

OPENAPI = Path(__file__).parents[4] / "shared" / "mux" / "openapi.json"
ASSET = {
    "id": "as1",
    "status": "ready",
    "upload_id": "up1",
    "playback_ids": [{"id": "p1", "policy": "public"}, {"id": "p2", "policy": "signed"}],
    "passthrough": "lesson 1",
    "meta": {"external_id": "lesson 2", "title": "x"},
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
likely = st.dictionaries(
    st.sampled_from(
        ["id", "status", "asset_id", "upload_id", "error", "errors", "playback_ids", "meta", "data"]
    ),
    st.text("abc", min_size=1) | anything,
)


def test_an_asset_is_parsed() -> None:
    """Ids, status, playback ids in order, and lesson references."""
    assert read_asset(ASSET, "sweep") == Observation(
        subject="asset",
        status="ready",
        source="sweep",
        upload_id="up1",
        asset_id="as1",
        playback_ids=(PlaybackId("p1", "public"), PlaybackId("p2", "signed")),
        lesson_references=("lesson 1", "lesson 2"),
    )


@pytest.mark.parametrize(
    ("passthrough", "references"),
    [
        ("lesson 1", ("lesson 1",)),
        ('{"lessonId": "l1"}', ("l1",)),
        ('{"lesson_id": "l1", "user": "u1"}', ("l1",)),
        ('{"lessonId": "l1", "lesson_id": "l2"}', ("l1", "l2")),
        ('{"lessonId": "l1", "lesson_id": "l1"}', ("l1",)),
        ('{"lesson_id": 17}', ("17",)),
        ('{"lesson_id": true}', ('{"lesson_id": true}',)),
        ('{"lessonId": ""}', ('{"lessonId": ""}',)),
        ('{"course": "c1"}', ('{"course": "c1"}',)),
        ('["l1"]', ('["l1"]',)),
        ("17", ("17",)),
        ('{"lessonId": "l1"', ('{"lessonId": "l1"',)),
        ("[" * 100_000, ("[" * 100_000,)),
        ("", ()),
        (None, ()),
    ],
)
def test_a_passthrough_is_a_lesson_reference_or_json_with_one(
    passthrough: str | None, references: tuple[str, ...]
) -> None:
    """In an object `lessonId` and `lesson_id` count."""
    asset = {"id": "as1", "status": "ready", "passthrough": passthrough}
    assert read_asset(asset, "probe").lesson_references == references


@pytest.mark.parametrize(
    ("result", "is_test"),
    [({"test": True}, True), ({"test": False}, False), ({"test": "true"}, False), ({}, False)],
)
def test_a_test_asset_is_marked(result: dict[str, Any], is_test: bool) -> None:
    """The audit has the field only for test assets."""
    seen = read_asset({"id": "as1", "status": "ready", **result}, "probe")
    assert seen.is_test == is_test
    assert ("is_test" in seen.as_json()) == is_test


def test_a_playback_id_without_a_policy_is_not_accepted() -> None:
    """The instructor's message names it, and its policy is logged as unknown."""
    asset = {
        "id": "as1",
        "status": "ready",
        "playback_ids": [{"id": "p1"}, {"id": "p2", "policy": 7}],
    }
    seen = read_asset(asset, "probe")
    assert seen.playback_ids == (PlaybackId("p1", "none"), PlaybackId("p2", "none"))
    assert decide(seen, None, Rules()).message == (
        "The asset has only playback ids of policy none; accepted: public."
    )
    assert unknown_values(seen) == (("policy", "none"), ("policy", "none"))


def test_an_asset_id_that_cannot_be_one_is_ignored() -> None:
    """It is never sent to Mux; the probe requests the upload's asset instead."""
    for odd in (None, 7, "", "../x", {"id": "as1"}):
        result = {"id": "up1", "status": "asset_created", "asset_id": odd}
        assert read_upload(result, "probe") == Observation(
            "upload", "asset_created", "probe", "up1"
        )


def test_errors_are_parsed() -> None:
    """An asset's messages are joined; an upload has one."""
    asset = read_asset(
        {"id": "a", "status": "errored", "errors": {"type": "bad", "messages": ["x", "y"]}}, "probe"
    )
    upload = read_upload(
        {"id": "u", "status": "errored", "error": {"type": "bad", "message": "x"}}, "probe"
    )
    assert (asset.error_type, asset.error_message) == ("bad", "x; y")
    assert (upload.error_type, upload.error_message) == ("bad", "x")


def test_what_a_video_is_like_is_parsed() -> None:
    """How far its encoding is, its length and shape, and the resolution by its newer name first."""
    facts = {
        "duration": 23.5,
        "aspect_ratio": "16:9",
        "progress": {"state": "transcoding", "progress": 40},
        "resolution_tier": "1080p",
        "max_stored_resolution": "HD",
    }
    seen = read_asset({"id": "as1", "status": "preparing", **facts}, "probe")
    assert seen == Observation(
        "asset", "preparing", "probe", asset_id="as1", progress=40.0, duration_seconds=23.5,
        aspect_ratio="16:9", max_resolution="1080p",
    )  # fmt: skip
    assert seen.as_json().items() >= {
        ("progress", 40.0), ("duration_seconds", 23.5), ("aspect_ratio", "16:9"),
        ("max_resolution", "1080p"),
    }  # fmt: skip
    del facts["resolution_tier"]
    assert read_asset({"id": "a", "status": "ready", **facts}, "probe").max_resolution == "HD"


@pytest.mark.parametrize("number", [0, 0.5, 1, 1e9 - 1])
def test_a_number_is_finite_and_not_negative(number: float) -> None:
    """Also 0, where the encoding has just begun."""
    said = {"id": "a", "status": "preparing", "progress": {"progress": number}}
    assert read_asset(said, "probe").progress == number


@pytest.mark.parametrize(
    "odd", [-1, -0.5, True, "40", None, float("nan"), float("inf"), 1e9, 1e12, [1]]
)
def test_a_number_that_makes_no_sense_is_left_out(odd: Any) -> None:
    """Mux says -1 of an asset that failed."""
    said = {"id": "a", "status": "errored", "duration": odd, "progress": {"progress": odd}}
    seen = read_asset(said, "probe")
    assert (seen.duration_seconds, seen.progress) == (None, None)


def test_unexpected_values_are_left_out() -> None:
    """Unknown fields, values of another type and impossible ids."""
    odd = {
        "id": "as1",
        "status": "levitating",
        "upload_id": "../x",
        "playback_ids": [None, {"id": 3, "policy": "public"}, {"id": "ok", "policy": "new"}, "x"],
        "errors": "none",
        "meta": [],
        "passthrough": 5,
        "surprise": {"deep": [1]},
    }
    assert read_asset(odd, "probe") == Observation(
        "asset", "levitating", "probe", asset_id="as1", playback_ids=(PlaybackId("ok", "new"),)
    )


@given(anything | likely)
def test_parsing_raises_nothing_else(data: Any) -> None:
    """Any JSON is parsed or unreadable."""
    for read in (read_asset, read_upload):
        try:
            assert read(data, "probe").status
        except UnreadableResponse:
            continue
    read_error(data)


@given(st.integers(100, 599), st.dictionaries(st.text(), st.text()), st.binary() | st.text())
def test_any_response_is_usable_or_a_fault(
    status: int, headers: dict[str, str], body: bytes | str
) -> None:
    """There are two kinds of faults."""
    try:
        checked = check(Response.of(status, headers, body))
        observation = read_object(checked, "asset", "as1", lambda data: read_asset(data, "probe"))
    except (MuxUnavailable, MuxUnauthorized):
        return
    assert observation.asset_id == "as1"


def response(status: int, body: Any, **headers: str) -> Response:
    """Return a response with a JSON body."""
    return Response.of(status, headers, json.dumps(body))


NOT_FOUND = {"error": {"type": "not_found", "messages": ["no such asset"]}}


@pytest.mark.parametrize(
    ("status", "body", "fault", "reason"),
    [
        (401, {"error": {"type": "unauthorized", "messages": ["no"]}}, MuxUnauthorized, "http_401"),
        (403, None, MuxUnauthorized, "http_403"),
        (429, {"errors": ["Too many requests, retry later."]}, MuxUnavailable, "rate_limited"),
        (408, NOT_FOUND, MuxUnavailable, "http_408"),
        (500, NOT_FOUND, MuxUnavailable, "http_500"),
        (302, None, MuxUnavailable, "http_302"),
        (404, "<html>", MuxUnavailable, "unreadable"),
        (400, {}, MuxUnavailable, "unreadable"),
    ],
)
def test_a_fault_has_a_reason(status: int, body: Any, fault: type[Exception], reason: str) -> None:
    """A response that is not about the id is a fault."""
    with pytest.raises(fault) as raised:
        check(response(status, body))
    assert raised.value.reason == reason  # type: ignore[attr-defined]  # both faults have one


@pytest.mark.parametrize(
    ("status", "said"), [(404, "missing"), (400, "rejected"), (422, "rejected")]
)
def test_a_4xx_in_muxs_format_is_about_the_id(status: int, said: str) -> None:
    """A 404 is missing, another 4xx rejected, with Mux's message."""
    checked = check(response(status, NOT_FOUND))
    assert read_object(
        checked, "asset", "as1", lambda data: read_asset(data, "probe")
    ) == Observation(
        "asset",
        said,
        "probe",
        asset_id="as1",
        error_type="not_found",
        error_message="no such asset",
    )


@pytest.mark.parametrize("body", [None, [], {}, {"data": None}, {"data": {"id": "as1"}}, "<html>"])
def test_a_200_that_is_no_asset_is_a_fault(body: Any) -> None:
    """HTML, truncated JSON and null data are no observations."""
    with pytest.raises(MuxUnavailable):
        read_data(response(200, body), lambda data: read_asset(data, "probe"))


def test_a_response_about_another_id_is_a_fault() -> None:
    """It never becomes an observation."""
    with pytest.raises(MuxUnavailable, match="another id"):
        read_object(
            response(200, {"data": ASSET}), "asset", "as2", lambda data: read_asset(data, "probe")
        )


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("Wed, 21 Oct", None)]
)
def test_retry_after_is_a_number_of_seconds(header: str, seconds: float | None) -> None:
    """A date is ignored."""
    assert Response.of(429, {"Retry-After": header}, None).retry_after_seconds == seconds


def test_the_environment_needs_an_id() -> None:
    """Whoami without one is unreadable. The organization is optional."""
    result = {"environment_id": "env1", "environment_name": "Production"}
    assert read_environment(result) == Environment("env1", "Production", "?")
    result["organization_id"] = "org1"
    assert read_environment(result) == Environment("env1", "Production", "?", "org1")
    with pytest.raises(UnreadableResponse):
        read_environment({"environment_id": None})


@pytest.mark.skipif(
    not OPENAPI.exists(),
    reason="Mux's OpenAPI description is not at ../shared/mux/openapi.json",
)
@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/video/v1/assets/{ASSET_ID}", lambda data: read_asset(data, "probe").asset_id),
        ("/video/v1/uploads/{UPLOAD_ID}", lambda data: read_upload(data, "probe").upload_id),
        ("/system/v1/whoami", read_environment),
    ],
)
def test_the_examples_of_muxs_openapi_are_parsed(path: str, read: Any) -> None:
    """Each has an id and a status."""
    operation = json.loads(OPENAPI.read_text())["paths"][path]["get"]
    content = operation["responses"]["200"]["content"]["application/json"]
    examples = [content["example"]] if "example" in content else []
    examples += [example["value"] for example in content.get("examples", {}).values()]
    assert examples
    for example in examples:
        assert read(example["data"])
