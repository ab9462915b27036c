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


def test_an_asset_is_read_with_all_that_we_need() -> None:
    """Ids, status, playback ids in order, and whatever it says it belongs to."""
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
def test_a_passthrough_refers_to_a_lesson_by_itself_or_as_json(
    passthrough: str | None, references: tuple[str, ...]
) -> None:
    """An app may send its whole context along: `lessonId` and `lesson_id` are what counts in it."""
    asset = {"id": "as1", "status": "ready", "passthrough": passthrough}
    assert read_asset(asset, "probe").lesson_references == references


@pytest.mark.parametrize(
    ("told", "is_test"),
    [({"test": True}, True), ({"test": False}, False), ({"test": "true"}, False), ({}, False)],
)
def test_a_test_asset_is_known_as_one(told: dict[str, Any], is_test: bool) -> None:
    """The audit names it only where it is one."""
    seen = read_asset({"id": "as1", "status": "ready", **told}, "probe")
    assert seen.is_test == is_test
    assert ("is_test" in seen.as_json()) == is_test


def test_a_playback_id_without_a_policy_is_there_and_not_accepted() -> None:
    """The instructor reads that there is one, and the log has its policy as an unknown one."""
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


def test_an_upload_whose_asset_has_no_readable_id_names_none() -> None:
    """What is no id is never sent to Mux; who probes asks for the upload's asset instead."""
    for odd in (None, 7, "", "../x", {"id": "as1"}):
        told = {"id": "up1", "status": "asset_created", "asset_id": odd}
        assert read_upload(told, "probe") == Observation("upload", "asset_created", "probe", "up1")


def test_errors_are_read_in_words() -> None:
    """An asset's messages are joined; an upload has one."""
    asset = read_asset(
        {"id": "a", "status": "errored", "errors": {"type": "bad", "messages": ["x", "y"]}}, "probe"
    )
    upload = read_upload(
        {"id": "u", "status": "errored", "error": {"type": "bad", "message": "x"}}, "probe"
    )
    assert (asset.error_type, asset.error_message) == ("bad", "x; y")
    assert (upload.error_type, upload.error_message) == ("bad", "x")


def test_what_is_odd_is_left_out() -> None:
    """Unknown fields, values of another type and ids that cannot be one do no harm."""
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
def test_reading_raises_nothing_else(data: Any) -> None:
    """Whatever JSON Mux sends, it is read or it is unreadable."""
    for read in (read_asset, read_upload):
        try:
            assert read(data, "probe").status
        except UnreadableResponse:
            continue
    read_error(data)


@given(st.integers(100, 599), st.dictionaries(st.text(), st.text()), st.binary() | st.text())
def test_any_answer_is_sorted(status: int, headers: dict[str, str], body: bytes | str) -> None:
    """Whatever comes over HTTP is a fact about the id or one of two faults."""
    try:
        answer = check(Response.of(status, headers, body))
        seen = read_object(answer, "asset", "as1", lambda data: read_asset(data, "probe"))
    except (MuxUnavailable, MuxUnauthorized):
        return
    assert seen.asset_id == "as1"


def answered(status: int, body: Any, **headers: str) -> Response:
    """Make an answer with a JSON body."""
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
def test_a_fault_is_told_by_its_status(
    status: int, body: Any, fault: type[Exception], reason: str
) -> None:
    """What is no word of Mux about the id is a fault, with its reason."""
    with pytest.raises(fault) as raised:
        check(answered(status, body))
    assert raised.value.reason == reason  # type: ignore[attr-defined]  # both faults have one


@pytest.mark.parametrize(
    ("status", "said"), [(404, "missing"), (400, "rejected"), (422, "rejected")]
)
def test_a_refusal_in_muxs_own_form_is_about_the_id(status: int, said: str) -> None:
    """A 404 is missing, another 4xx rejected, with Mux's words."""
    answer = check(answered(status, NOT_FOUND))
    assert read_object(
        answer, "asset", "as1", lambda data: read_asset(data, "probe")
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
    """HTML, truncated JSON and null data are no facts."""
    with pytest.raises(MuxUnavailable):
        read_data(answered(200, body), lambda data: read_asset(data, "probe"))


def test_an_answer_about_another_id_is_a_fault() -> None:
    """A mixed-up answer never becomes a fact."""
    with pytest.raises(MuxUnavailable, match="another id"):
        read_object(
            answered(200, {"data": ASSET}), "asset", "as2", lambda data: read_asset(data, "probe")
        )


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("Wed, 21 Oct", None)]
)
def test_retry_after_is_read_in_seconds(header: str, seconds: float | None) -> None:
    """A number is taken, a date is not."""
    assert Response.of(429, {"Retry-After": header}, None).retry_after_seconds == seconds


def test_the_environment_needs_an_id() -> None:
    """Whoami without one is unreadable."""
    told = {"environment_id": "env1", "environment_name": "Production"}
    assert read_environment(told) == Environment("env1", "Production", "?")
    with pytest.raises(UnreadableResponse):
        read_environment({"environment_id": None})


@pytest.mark.skipif(
    not OPENAPI.exists(), reason="Mux's OpenAPI description is not beside the checkout"
)
@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/video/v1/assets/{ASSET_ID}", lambda data: read_asset(data, "probe").asset_id),
        ("/video/v1/uploads/{UPLOAD_ID}", lambda data: read_upload(data, "probe").upload_id),
        ("/system/v1/whoami", read_environment),
    ],
)
def test_muxs_own_examples_are_read(path: str, read: Any) -> None:
    """The examples of the OpenAPI description are understood."""
    operation = json.loads(OPENAPI.read_text())["paths"][path]["get"]
    content = operation["responses"]["200"]["content"]["application/json"]
    examples = [content["example"]] if "example" in content else []
    examples += [example["value"] for example in content.get("examples", {}).values()]
    assert examples
    for example in examples:
        assert read(example["data"])
