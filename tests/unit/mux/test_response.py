import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Environment, Observation, Subject
from worker.mux.parse import UnreadableResponse, read_asset, read_environment, read_upload
from worker.mux.response import Response, check, read_data, read_object

NOT_FOUND = {"error": {"type": "not_found", "messages": ["no such thing"]}}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
things = st.fixed_dictionaries(
    {"id": st.sampled_from(["x1", "x2"]) | anything, "status": st.text("abc") | anything},
    optional=dict.fromkeys(
        ("asset_id", "upload_id", "playback_ids", "error", "errors", "meta"), anything
    ),
)
faults_of_mux = st.fixed_dictionaries(
    {"error": st.fixed_dictionaries({}, optional={"type": anything, "messages": anything})}
)
bodies = st.fixed_dictionaries({"data": things | anything}) | faults_of_mux | anything


def as_asset(data: Any) -> Observation:
    """Read an asset that was asked for."""
    return read_asset(data, "probe")


def as_upload(data: Any) -> Observation:
    """Read an upload that was asked for."""
    return read_upload(data, "probe")


READERS: dict[Subject, Callable[[Any], Observation]] = {"asset": as_asset, "upload": as_upload}
subjects: st.SearchStrategy[Subject] = st.sampled_from(["asset", "upload"])


def test_headers_are_found_in_whatever_case_they_came() -> None:
    """HTTP/1.1 servers and proxies spell them as they like."""
    answer = Response.of(200, {"X-RateLimit-LIMIT": "5", "x-ratelimit-Remaining": "0"}, b'{"a": 1}')
    assert answer == Response(
        200, {"x-ratelimit-limit": "5", "x-ratelimit-remaining": "0"}, {"a": 1}
    )
    assert answer.rate_limit == ("5", "0")


def test_an_answer_without_headers_promises_nothing() -> None:
    """No headers at all: no limit, and no wish to wait."""
    answer = Response.of(500, None, None)
    assert (answer, answer.rate_limit, answer.retry_after_seconds) == (
        Response(500, {}, None),
        (None, None),
        None,
    )


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        "<html>",
        b'{"data": {"id": "x1", "sta',
        b'{"data": "\xff\xfe"}',
        b"\x00",
        b"[" * 200_000,
        b"1" * 5_000,
    ],
    ids=["none", "empty", "html", "cut", "no utf-8", "nul", "deep", "long number"],
)
def test_a_body_that_is_no_json_is_none(body: bytes | str | None) -> None:
    """Whatever keeps it from being read, too deep or too long a number among it."""
    assert Response.of(200, None, body) == Response(200, {}, None)


@pytest.mark.parametrize("header", ["inf", "Infinity", "1e400", "nan", "-inf", "", "soon"])
def test_a_wait_that_never_ends_is_no_wish(header: str) -> None:
    """Heeding it, the worker would never ask Mux again."""
    assert Response.of(503, {"Retry-After": header}, None).retry_after_seconds is None


@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_a_wait_is_a_number_of_seconds_or_none(header: str) -> None:
    """Whatever the header says, a pause can be made of it."""
    seconds = Response.of(429, {"Retry-After": header}, None).retry_after_seconds
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@pytest.mark.parametrize(("status", "reason"), [(429, "rate_limited"), (503, "http_503")])
def test_a_wish_to_wait_travels_with_the_fault(status: int, reason: str) -> None:
    """Who waits learns from the fault for how long."""
    with pytest.raises(MuxUnavailable) as raised:
        check(Response.of(status, {"retry-after": "7"}, None))
    assert (raised.value.reason, raised.value.retry_after_seconds) == (reason, 7.0)


@pytest.mark.parametrize(
    ("body", "said"), [(NOT_FOUND, "no such thing"), ("<html>", "401"), ({"error": {}}, "401")]
)
def test_a_refused_token_is_told_with_what_to_check(body: Any, said: str) -> None:
    """The message has Mux's words, or the status, and names both variables."""
    with pytest.raises(MuxUnauthorized) as raised:
        check(Response.of(401, None, json.dumps(body)))
    assert raised.value.message == (
        f"Mux refuses the access token ({said}): check MUX_TOKEN_ID and MUX_TOKEN_SECRET, "
        "and that the token may read video."
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"data": {"id": "x1"}}),
        (200, {"data": [{"id": "x1"}], "next_cursor": None}),
        (404, NOT_FOUND),
        (400, {"error": {"type": "bad", "message": "singular"}}),
        (422, {"error": {"messages": []}, "surprise": 1}),
    ],
)
def test_what_mux_says_in_its_own_form_passes_unchanged(status: int, body: Any) -> None:
    """A thing, a page, and a refusal of one id, with or without words."""
    answer = Response.of(status, None, json.dumps(body))
    assert check(answer) is answer


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, "<html>"),
        (404, {"error": "Not Found"}),
        (404, {"errors": ["no such route"]}),
        (400, None),
        (200, {"id": "x1", "status": "ready"}),
        (200, {"data": "x1"}),
        (200, NOT_FOUND),
    ],
)
def test_what_is_not_in_muxs_form_says_nothing_about_a_lesson(status: int, body: Any) -> None:
    """A 404 of a proxy, taken for one of Mux, would fail lessons whose videos are fine."""
    with pytest.raises(MuxUnavailable) as raised:
        check(Response.of(status, None, json.dumps(body)))
    assert (raised.value.reason, raised.value.message) == (
        "unreadable",
        f"Mux answered with a {status} that is not its own.",
    )


@pytest.mark.parametrize("status", [100, 201, 204, 206, 301, 304, 502, 504, 522, 599])
def test_any_other_status_is_a_fault_even_with_a_good_body(status: int) -> None:
    """Half an answer (206) or a page of a proxy says nothing about a lesson."""
    with pytest.raises(MuxUnavailable) as raised:
        check(Response.of(status, None, json.dumps({"data": {"id": "x1"}} | NOT_FOUND)))
    assert raised.value.reason == f"http_{status}"


@pytest.mark.parametrize("subject", ["asset", "upload"])
@pytest.mark.parametrize(("status", "said"), [(404, "missing"), (400, "rejected")])
def test_a_refusal_names_only_the_id_that_was_asked_for(
    subject: Subject, status: int, said: str
) -> None:
    """A refused upload says nothing about an asset, nor the other way round."""
    answer = check(Response.of(status, None, json.dumps(NOT_FOUND)))
    assert read_object(answer, subject, "x1", READERS[subject]) == Observation(
        subject,
        said,
        "probe",
        upload_id="x1" if subject == "upload" else None,
        asset_id="x1" if subject == "asset" else None,
        error_type="not_found",
        error_message="no such thing",
    )


def test_an_id_counts_only_where_it_belongs() -> None:
    """An upload that merely names the asset asked for is no answer about that asset."""
    upload = {"id": "up1", "status": "asset_created", "asset_id": "as1"}
    answer = Response.of(200, None, json.dumps({"data": upload}))
    with pytest.raises(MuxUnavailable, match="another id"):
        read_object(answer, "asset", "as1", as_asset)
    assert read_object(answer, "upload", "up1", as_upload) == Observation(
        "upload", "asset_created", "probe", upload_id="up1", asset_id="as1"
    )


def test_an_unreadable_answer_keeps_its_cause() -> None:
    """The fault tells what was wrong, and the reader's own exception stays with it."""
    with pytest.raises(MuxUnavailable, match="no environment with an id") as raised:
        read_data(Response.of(200, None, '{"data": {}}'), read_environment)
    assert raised.value.reason == "unreadable"
    assert isinstance(raised.value.__cause__, UnreadableResponse)


def test_the_data_is_read_by_whoever_knows_it() -> None:
    """The same envelope carries the environment."""
    told = {"environment_id": "e1", "environment_name": "Main", "environment_type": "production"}
    answer = Response.of(200, None, json.dumps({"data": told, "surprise": 1}))
    assert read_data(answer, read_environment) == Environment("e1", "Main", "production")


@given(subjects, anything | things)
def test_any_json_is_read_or_unreadable(subject: Subject, data: Any) -> None:
    """The readers raise nothing else, and what they read has the id that Mux sent."""
    try:
        seen = READERS[subject](data)
    except UnreadableResponse:
        return
    named = seen.upload_id if subject == "upload" else seen.asset_id
    assert (seen.subject, named, seen.status) == (subject, data["id"], data["status"])


@given(subjects, st.sampled_from([200, 400, 401, 404, 408, 422, 429, 500]), bodies)
def test_any_json_over_http_is_a_fact_about_the_id_or_one_of_two_faults(
    subject: Subject, status: int, body: Any
) -> None:
    """What is no fault is about the id asked for: a 404 is missing, another 4xx rejected."""
    try:
        answer = check(Response.of(status, {}, json.dumps(body)))
        seen = read_object(answer, subject, "x1", READERS[subject])
    except (MuxUnavailable, MuxUnauthorized):
        return
    named = seen.upload_id if subject == "upload" else seen.asset_id
    said = {200: seen.status, 404: "missing"}.get(status, "rejected")
    assert (seen.subject, named, seen.status) == (subject, "x1", said)
    assert status in (200, 400, 404, 422)


@given(bodies)
def test_reading_the_data_of_anything_has_one_fault(body: Any) -> None:
    """A body that was never checked does no other harm."""
    answer = Response(200, {}, body)
    try:
        assert read_data(answer, as_asset).asset_id == body["data"]["id"]
    except MuxUnavailable as fault:
        assert fault.reason == "unreadable"  # noqa: PT017  # most bodies are unreadable, not all
