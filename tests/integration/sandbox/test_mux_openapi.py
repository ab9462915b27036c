"""Validate every response of the simulated Mux against Mux's OpenAPI description."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from sandbox.mux.clock import ManualClock
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.mux.state import MuxState
from sandbox.mux.timeline import AT_ONCE, Ending, Timeline

DESCRIPTION = Path(__file__).resolve().parents[4] / "shared" / "mux" / "openapi.json"
NEVER_ARRIVES = Timeline(file_after_seconds=None)
PREPARES = Timeline(file_after_seconds=0, prepare_seconds=60)

Ask = Callable[..., httpx.Response]
Judge = Callable[[str, str, int, Any], None]


def _strict(schema: Any) -> Any:
    """Make a schema also refuse what it does not name, and read OpenAPI 3.0's `nullable`."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(part) for name, part in schema.items()}
    if strict.pop("nullable", False) is True:
        strict["type"] = [strict["type"], "null"]
    if isinstance(strict.get("required"), list):
        strict["required"] = list(dict.fromkeys(strict["required"]))  # some are named twice
    if strict.get("type") == "object" and isinstance(strict.get("properties"), dict):
        strict["additionalProperties"] = False
    return strict


def _with_errors(description: Any) -> Any:
    """Add the errors to every operation; the description gives 401 and 429 for one only.

    Mux's guide says of all other errors that they have the shape of the 401.
    """
    documented = description["paths"]["/system/v1/whoami"]["get"]["responses"]
    for item in description["paths"].values():
        for operation in item.values():
            for status in ("400", "401", "403", "404"):
                operation["responses"][status] = deepcopy(documented["401"])
            operation["responses"]["429"] = deepcopy(documented["429"])
    return description


def _fits_int64(value: object) -> bool:
    """Check an int64; Mux writes times in unix seconds as strings."""
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and int(value) < 2**63
    return not isinstance(value, int) or -(2**63) <= value < 2**63


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Return a function that raises `OpenAPIError` unless an answer is as described."""
    if not DESCRIPTION.exists():
        pytest.skip("Mux's OpenAPI description is not at ../shared/mux/openapi.json")
    adapted = _with_errors(_strict(json.loads(DESCRIPTION.read_text())))
    config = Config(extra_format_validators={"int64": _fits_int64})
    description = OpenAPI.from_dict(adapted, config=config)

    def validate(method: str, path: str, status: int, body: Any) -> None:
        request = MockRequest("https://api.mux.com", method.lower(), path)
        data = b"" if body is None else json.dumps(body).encode()
        description.validate_response(request, MockResponse(data, status_code=status))

    return validate


@pytest.fixture
def mux() -> Iterator[MuxSimulator]:
    """Return a running Mux with a clock that stands still and without limits."""
    state = MuxState(ManualClock(), seed=1)
    with MuxSimulator(state, limits=RateLimits.per_second(None, None)) as simulator:
        yield simulator


@pytest.fixture
def ask(mux: MuxSimulator, judge: Judge) -> Iterator[Ask]:
    """Return a function that sends a request to the simulator and validates the response."""
    with httpx.Client(base_url=mux.url, auth=(mux.token_id, mux.token_secret)) as client:

        def ask_and_judge(method: str, path: str, **arguments: Any) -> httpx.Response:
            answer = client.request(method, path, **arguments)
            if answer.content:
                assert answer.headers["content-type"].startswith("application/json")
            body = answer.json() if answer.content else None
            judge(method, path.partition("?")[0], answer.status_code, body)
            return answer

        yield ask_and_judge


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("ready", "asset_created"),
        ("asset_errored", "asset_created"),
        ("upload_errored", "errored"),
        ("cancelled", "cancelled"),
    ],
)
def test_an_upload_is_as_described_however_it_ends(
    ask: Ask, mux: MuxSimulator, ending: Ending, status: str
) -> None:
    """An upload with every setting fits the description, with each ending."""
    timeline = Timeline(file_after_seconds=0, ending=ending)
    upload_id = mux.state.create_upload(timeline, passthrough="p", external_id="e")
    answer = ask("GET", f"/video/v1/uploads/{upload_id}")
    assert answer.json()["data"]["status"] == status


@pytest.mark.parametrize(("seconds", "status"), [(0, "waiting"), (3600, "timed_out")])
def test_an_upload_without_a_file_is_as_described(
    ask: Ask, mux: MuxSimulator, seconds: int, status: str
) -> None:
    """An upload without a file fits the description, before and after its timeout."""
    upload_id = mux.state.create_upload(NEVER_ARRIVES)
    _clock(mux).advance(seconds)
    answer = ask("GET", f"/video/v1/uploads/{upload_id}")
    assert answer.json()["data"]["status"] == status


@pytest.mark.parametrize("policies", [(), ("public",), ("signed", "drm", "public")])
@pytest.mark.parametrize(
    ("timeline", "status"),
    [
        (PREPARES, "preparing"),
        (AT_ONCE, "ready"),
        (Timeline(0, 0, "asset_errored"), "errored"),
        (Timeline(0, 0, late_policy="public", late_after_seconds=0), "ready"),
    ],
)
def test_an_asset_is_as_described_in_every_state(
    ask: Ask, mux: MuxSimulator, timeline: Timeline, status: str, policies: tuple[str, ...]
) -> None:
    """An asset fits the description in every state, with and without an upload and ids."""
    alone = mux.state.create_asset(timeline, policies=policies, passthrough="p", external_id="e")
    upload_id = mux.state.create_upload(timeline, policies=policies, external_id="e")
    uploaded = mux.state.upload(upload_id).asset_id
    for asset_id in (alone, uploaded):
        assert ask("GET", f"/video/v1/assets/{asset_id}").json()["data"]["status"] == status


@pytest.mark.parametrize("query", ["", "?limit=2", "?limit=2&page=2", "?page=9", "?limit=100"])
def test_lists_are_as_described(ask: Ask, mux: MuxSimulator, query: str) -> None:
    """Lists fit the description: full, partial, empty, with and without a cursor."""
    for timeline in (NEVER_ARRIVES, PREPARES, AT_ONCE, Timeline(0, 0, "asset_errored")):
        mux.state.create_upload(timeline)
    assert ask("GET", f"/video/v1/uploads{query}").status_code == 200
    assert ask("GET", f"/video/v1/assets{query}").status_code == 200


def test_a_page_by_cursor_is_as_described(ask: Ask, mux: MuxSimulator) -> None:
    """The pages by cursor fit the description, and the last one has no cursor."""
    mux.state.seed(3)
    first = ask("GET", "/video/v1/assets?limit=2").json()
    last = ask("GET", f"/video/v1/assets?limit=2&cursor={first['next_cursor']}").json()
    assert (len(first["data"]), len(last["data"]), last["next_cursor"]) == (2, 1, None)


def test_what_clients_change_is_answered_as_described(ask: Ask, mux: MuxSimulator) -> None:
    """Creating, cancelling and deleting return the described status and body."""
    body = {"cors_origin": "*", "test": True, "new_asset_settings": {"playback_policy": ["drm"]}}
    made = ask("POST", "/video/v1/uploads", json=body)
    cancelled = ask("PUT", f"/video/v1/uploads/{made.json()['data']['id']}/cancel")
    asset = f"/video/v1/assets/{mux.state.create_asset()}"
    added = ask("POST", f"{asset}/playback-ids", json={"policy": "signed"})
    deleted = ask("DELETE", asset)
    answers = (made, cancelled, added, deleted)
    assert [answer.status_code for answer in answers] == [201, 200, 201, 204]


def test_whoami_is_as_described(ask: Ask, mux: MuxSimulator) -> None:
    """The response of whoami has the described shape."""
    answer = ask("GET", "/system/v1/whoami").json()
    assert answer["data"]["environment_id"] == mux.state.environment_id


ROUTES = [
    ("GET", "/system/v1/whoami"),
    ("GET", "/video/v1/uploads"),
    ("POST", "/video/v1/uploads"),
    ("GET", "/video/v1/uploads/unknown"),
    ("PUT", "/video/v1/uploads/unknown/cancel"),
    ("GET", "/video/v1/assets"),
    ("GET", "/video/v1/assets/unknown"),
    ("DELETE", "/video/v1/assets/unknown"),
    ("POST", "/video/v1/assets/unknown/playback-ids"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_refused_token_is_answered_as_described(ask: Ask, method: str, path: str) -> None:
    """A wrong token gets the described 401 from every route."""
    assert ask(method, path, auth=("someone", "else")).json() == {
        "error": {"type": "unauthorized", "messages": ["Unauthorized request"]}
    }


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_too_many_requests_are_answered_as_described(
    ask: Ask, mux: MuxSimulator, method: str, path: str
) -> None:
    """Above the limit every route returns the described 429."""
    mux.limits = RateLimits.per_second(get=0.001, post=0.001)
    ask(method, path)
    answer = ask(method, path)
    assert (answer.status_code, answer.json()) == (
        429,
        {"errors": ["Too many requests, retry later."]},
    )


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if "unknown" in route[1]])
def test_unknown_ids_are_answered_as_described(ask: Ask, method: str, path: str) -> None:
    """An unknown id gets a 404 in the shape of errors."""
    answer = ask(method, path)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/video/v1/assets?limit=101",
        "/video/v1/assets?limit=0",
        "/video/v1/assets?limit=ten",
        "/video/v1/assets?page=0",
        "/video/v1/assets?cursor=unknown",
        "/video/v1/uploads?limit=101",
        "/video/v1/uploads?page=-1",
    ],
)
def test_wrong_parameters_are_answered_in_the_shape_of_errors(ask: Ask, path: str) -> None:
    """A parameter out of bounds gets a 400 in the shape of errors."""
    answer = ask("GET", path)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_parameters")


def test_cancelling_too_late_is_answered_as_described(ask: Ask, mux: MuxSimulator) -> None:
    """Cancelling an upload that is not waiting gets the described 403."""
    upload_id = mux.state.create_upload(AT_ONCE)
    assert ask("PUT", f"/video/v1/uploads/{upload_id}/cancel").status_code == 403


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda asset: asset.pop(name)


def _with(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda asset: asset.update({name: value})


@pytest.mark.parametrize(
    "harm",
    [
        *map(_without, ("id", "created_at", "status", "max_resolution_tier", "encoding_tier")),
        *map(_without, ("master_access", "progress")),
        _with("status", "exploded"),
        _with("created_at", 1_750_000_000),
        _with("created_at", "yesterday"),
        _with("created_at", str(2**63)),
        _with("passthrough", None),
        _with("invented", "field"),
        _with("playback_ids", [{"id": "x", "policy": "secret"}]),
        _with("playback_ids", [{"id": "x"}]),
        _with("progress", {"state": "completed", "progress": 101}),
        _with("errors", {"type": "invalid_input", "messages": "one"}),
        _with("duration", "23.8"),
    ],
)
def test_a_broken_answer_is_caught(
    ask: Ask, judge: Judge, mux: MuxSimulator, harm: Callable[[dict[str, Any]], object]
) -> None:
    """The validator rejects an asset with a missing, changed or additional field."""
    path = f"/video/v1/assets/{mux.state.create_asset()}"
    body = ask("GET", path).json()
    harm(body["data"])
    with pytest.raises(OpenAPIError):
        judge("GET", path, 200, body)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"data": []}),
        (200, {"data": [], "next_cursor": 7}),
        (200, {"data": {}, "next_cursor": None}),
        (401, {"errors": ["Unauthorized request"]}),
        (429, {"error": {"type": "too_many", "messages": []}}),
        (418, {"data": [], "next_cursor": None}),
    ],
)
def test_a_broken_list_or_error_is_caught(judge: Judge, status: int, body: Any) -> None:
    """The validator rejects lists and errors of another shape, and other statuses."""
    with pytest.raises(OpenAPIError):
        judge("GET", "/video/v1/assets", status, body)


def test_a_list_at_its_end_may_have_no_next_cursor(judge: Judge) -> None:
    """The validator accepts null where the description has `nullable`."""
    judge("GET", "/video/v1/assets", 200, {"data": [], "next_cursor": None})


def _clock(mux: MuxSimulator) -> ManualClock:
    assert isinstance(mux.state.clock, ManualClock)
    return mux.state.clock
