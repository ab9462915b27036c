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
    """Return the observation of a requested asset."""
    return read_asset(data, "probe")


def as_upload(data: Any) -> Observation:
    """Return the observation of a requested upload."""
    return read_upload(data, "probe")


READERS: dict[Subject, Callable[[Any], Observation]] = {"asset": as_asset, "upload": as_upload}
subjects: st.SearchStrategy[Subject] = st.sampled_from(["asset", "upload"])


def test_headers_are_case_insensitive() -> None:
    """Proxies may change the case."""
    response = Response.of(
        200, {"X-RateLimit-LIMIT": "5", "x-ratelimit-Remaining": "0"}, b'{"a": 1}'
    )
    assert response == Response(
        200, {"x-ratelimit-limit": "5", "x-ratelimit-remaining": "0"}, {"a": 1}
    )
    assert response.rate_limit == ("5", "0")


def test_a_response_without_headers() -> None:
    """It has no rate limit and no Retry-After."""
    response = Response.of(500, None, None)
    assert (response, response.rate_limit, response.retry_after_seconds) == (
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
def test_a_body_that_is_not_json_is_none(body: bytes | str | None) -> None:
    """Also one that is nested too deeply, or has a number that is too long."""
    assert Response.of(200, None, body) == Response(200, {}, None)


@pytest.mark.parametrize("header", ["inf", "Infinity", "1e400", "nan", "-inf", "", "soon"])
def test_an_infinite_retry_after_is_ignored(header: str) -> None:
    """With it the worker would never send another request."""
    assert Response.of(503, {"Retry-After": header}, None).retry_after_seconds is None


@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_a_retry_after_is_a_number_of_seconds_or_none(header: str) -> None:
    """For any header, a pause can be computed."""
    seconds = Response.of(429, {"Retry-After": header}, None).retry_after_seconds
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@pytest.mark.parametrize(("status", "reason"), [(429, "rate_limited"), (503, "http_503")])
def test_a_fault_carries_the_retry_after(status: int, reason: str) -> None:
    """For the retry policy."""
    with pytest.raises(MuxUnavailable) as raised:
        check(Response.of(status, {"retry-after": "7"}, None))
    assert (raised.value.reason, raised.value.retry_after_seconds) == (reason, 7.0)


@pytest.mark.parametrize(
    ("body", "said"), [(NOT_FOUND, "no such thing"), ("<html>", "401"), ({"error": {}}, "401")]
)
def test_a_refused_token_is_reported_with_what_to_check(body: Any, said: str) -> None:
    """The message has Mux's message or the status, and both variables."""
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
def test_a_response_in_muxs_format_is_returned_unchanged(status: int, body: Any) -> None:
    """An object, a page, and a 4xx with or without a message."""
    response = Response.of(status, None, json.dumps(body))
    assert check(response) is response


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
def test_a_response_in_another_format_is_a_fault(status: int, body: Any) -> None:
    """A 404 of a proxy must not fail lessons."""
    with pytest.raises(MuxUnavailable) as raised:
        check(Response.of(status, None, json.dumps(body)))
    assert (raised.value.reason, raised.value.message) == (
        "unreadable",
        f"Mux answered with a {status} that is not in its format.",
    )


@pytest.mark.parametrize("status", [100, 201, 204, 206, 301, 304, 502, 504, 522, 599])
def test_any_other_status_is_a_fault_even_with_a_good_body(status: int) -> None:
    """A partial response (206) or a page of a proxy must not fail lessons."""
    with pytest.raises(MuxUnavailable) as raised:
        check(Response.of(status, None, json.dumps({"data": {"id": "x1"}} | NOT_FOUND)))
    assert raised.value.reason == f"http_{status}"


@pytest.mark.parametrize("subject", ["asset", "upload"])
@pytest.mark.parametrize(("status", "said"), [(404, "missing"), (400, "rejected")])
def test_a_rejection_names_only_the_requested_id(subject: Subject, status: int, said: str) -> None:
    """A rejected upload says nothing about an asset, nor the other way round."""
    response = check(Response.of(status, None, json.dumps(NOT_FOUND)))
    assert read_object(response, subject, "x1", READERS[subject]) == Observation(
        subject,
        said,
        "probe",
        upload_id="x1" if subject == "upload" else None,
        asset_id="x1" if subject == "asset" else None,
        error_type="not_found",
        error_message="no such thing",
    )


def test_the_requested_id_must_be_the_objects_own() -> None:
    """An upload that names the requested asset is not that asset."""
    upload = {"id": "up1", "status": "asset_created", "asset_id": "as1"}
    response = Response.of(200, None, json.dumps({"data": upload}))
    with pytest.raises(MuxUnavailable, match="another id"):
        read_object(response, "asset", "as1", as_asset)
    assert read_object(response, "upload", "up1", as_upload) == Observation(
        "upload", "asset_created", "probe", upload_id="up1", asset_id="as1"
    )


def test_an_unreadable_response_keeps_its_cause() -> None:
    """The fault has a message, and the parser's exception as its cause."""
    with pytest.raises(MuxUnavailable, match="no environment with an id") as raised:
        read_data(Response.of(200, None, '{"data": {}}'), read_environment)
    assert raised.value.reason == "unreadable"
    assert isinstance(raised.value.__cause__, UnreadableResponse)


def test_the_data_is_parsed_by_the_given_reader() -> None:
    """The response to whoami has the same envelope."""
    result = {"environment_id": "e1", "environment_name": "Main", "environment_type": "production"}
    response = Response.of(200, None, json.dumps({"data": result, "surprise": 1}))
    assert read_data(response, read_environment) == Environment("e1", "Main", "production")


@given(subjects, anything | things)
def test_any_json_is_parsed_or_unreadable(subject: Subject, data: Any) -> None:
    """The readers raise nothing else, and the observation has the id that Mux sent."""
    try:
        seen = READERS[subject](data)
    except UnreadableResponse:
        return
    named = seen.upload_id if subject == "upload" else seen.asset_id
    assert (seen.subject, named, seen.status) == (subject, data["id"], data["status"])


@given(subjects, st.sampled_from([200, 400, 401, 404, 408, 422, 429, 500]), bodies)
def test_any_json_over_http_is_an_observation_or_one_of_two_faults(
    subject: Subject, status: int, body: Any
) -> None:
    """Observations are of the requested id: a 404 is missing, another 4xx rejected."""
    try:
        response = check(Response.of(status, {}, json.dumps(body)))
        seen = read_object(response, subject, "x1", READERS[subject])
    except (MuxUnavailable, MuxUnauthorized):
        return
    named = seen.upload_id if subject == "upload" else seen.asset_id
    said = {200: seen.status, 404: "missing"}.get(status, "rejected")
    assert (seen.subject, named, seen.status) == (subject, "x1", said)
    assert status in (200, 400, 404, 422)


@given(bodies)
def test_reading_unchecked_data_raises_one_fault(body: Any) -> None:
    """For a body that was never checked."""
    response = Response(200, {}, body)
    try:
        assert read_data(response, as_asset).asset_id == body["data"]["id"]
    except MuxUnavailable as fault:
        assert fault.reason == "unreadable"  # noqa: PT017  # most bodies are unreadable, not all
