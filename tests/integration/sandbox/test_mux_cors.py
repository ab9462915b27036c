from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.clock import ManualClock
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.mux.state import MuxState
from sandbox.mux.timeline import Timeline

APP = "https://app.example"
ASKED = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
CORS = ("allow-origin", "allow-methods", "allow-headers", "max-age")


@pytest.fixture
def mux() -> Iterator[MuxSimulator]:
    """Return a running Mux whose clock stands still."""
    limits = RateLimits.per_second(None, None)
    with MuxSimulator(MuxState(ManualClock()), limits=limits) as simulator:
        yield simulator


def upload_url(mux: MuxSimulator, cors_origin: str) -> str:
    """Create an upload as an app does; return its URL."""
    made = httpx.post(
        f"{mux.url}/video/v1/uploads",
        json={"cors_origin": cors_origin},
        auth=(mux.token_id, mux.token_secret),
    )
    url: str = made.raise_for_status().json()["data"]["url"]
    return url


def cors_of(answer: httpx.Response) -> dict[str, str]:
    """Return the CORS headers of a response."""
    found = {name: answer.headers.get(f"access-control-{name}") for name in CORS}
    return {name: value for name, value in found.items() if value is not None}


def preflight(url: str, origin: str) -> httpx.Response:
    """Send the preflight request of a browser."""
    return httpx.options(url, headers={"Origin": origin, **ASKED})


@pytest.mark.parametrize(
    ("cors_origin", "allowed"), [(APP, APP), (f"{APP}/", APP), ("*", "*")], ids=str
)
def test_the_upload_is_open_to_its_origin(
    mux: MuxSimulator, cors_origin: str, allowed: str
) -> None:
    """A page of `cors_origin`, also one with the slash of Mux's examples, may send the file."""
    url = upload_url(mux, cors_origin)
    asked = preflight(url, APP)
    assert (asked.status_code, cors_of(asked)) == (
        200,
        {
            "allow-origin": allowed,
            "allow-methods": "DELETE,GET,HEAD,PATCH,POST,PUT",
            "allow-headers": "content-type",
            "max-age": "3600",
        },
    )
    sent = httpx.put(url, headers={"Origin": APP}, content=b"file")
    assert (sent.status_code, cors_of(sent)) == (200, {"allow-origin": allowed})
    assert sent.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example:8443",
        "http://app.example",
        "https://evil.example",
        "null",
        f"{APP}.evil",
    ],
)
def test_the_upload_is_closed_to_other_origins(mux: MuxSimulator, origin: str) -> None:
    """The preflight of another origin gets no CORS headers."""
    asked = preflight(upload_url(mux, APP), origin)
    assert (asked.status_code, cors_of(asked)) == (200, {})


def test_an_app_that_names_no_origin_is_closed_to_all(mux: MuxSimulator) -> None:
    """An empty `cors_origin` allows no page, but any client that is no browser."""
    url = upload_url(mux, "")
    assert cors_of(preflight(url, APP)) == {}
    assert httpx.put(url, content=b"file").status_code == 200


def test_refusals_can_be_read_too(mux: MuxSimulator) -> None:
    """The responses to a second file, an empty file and an outage have the CORS headers."""
    url = upload_url(mux, APP)
    page = {"Origin": APP}
    empty = httpx.put(url, headers=page)
    mux.faults.add(Fault("answer", status=503), times=1)
    down = httpx.put(url, headers=page, content=b"file")
    httpx.put(url, headers=page, content=b"file")
    second = httpx.put(url, headers=page, content=b"file")
    answers = [empty, down, second]
    assert [answer.status_code for answer in answers] == [400, 503, 403]
    assert [cors_of(answer) for answer in answers] == [{"allow-origin": APP}] * 3


def test_an_unknown_upload_has_no_cors_headers(mux: MuxSimulator) -> None:
    """An unknown upload URL is a 404 without CORS headers."""
    asked = preflight(f"{mux.url}/direct-uploads/unknown", APP)
    assert (asked.status_code, cors_of(asked)) == (404, {})


def test_the_api_has_no_cors_headers(mux: MuxSimulator) -> None:
    """Mux's API sends no CORS headers, also with the right token."""
    url = f"{mux.url}/video/v1/uploads"
    asked = preflight(url, APP)
    assert (asked.status_code, cors_of(asked)) == (401, {})
    known = (mux.token_id, mux.token_secret)
    answered = httpx.get(url, headers={"Origin": APP}, auth=known)
    assert (answered.status_code, cors_of(answered)) == (200, {})


def set_timeline(mux: MuxSimulator, url: str, **more: Any) -> None:
    """Set the timeline of the upload with this URL."""
    upload = mux.state.upload_by_url_token(url.rpartition("/")[2])
    mux.state.set_timeline(upload.id, Timeline(file_after_seconds=None, **more))


def test_the_timeline_can_be_set_before_the_file_is_sent(mux: MuxSimulator) -> None:
    """The timeline of an upload can be set only while it waits, and only without a file."""
    url = upload_url(mux, APP)
    set_timeline(mux, url, prepare_seconds=0, ending="asset_errored")
    httpx.put(url, content=b"file")
    (asset,) = mux.state.assets()
    assert asset.status(mux.state.clock.now()) == "errored"
    with pytest.raises(Exception, match="the upload is asset_created"):
        set_timeline(mux, url)
    waiting = upload_url(mux, APP).rpartition("/")[2]
    with pytest.raises(ValueError, match="must be None"):
        mux.state.set_timeline(
            mux.state.upload_by_url_token(waiting).id, Timeline(file_after_seconds=1)
        )
