import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Observation, Page, PlaybackId
from worker.mux.client import PROBE_ATTEMPT_SHARE, MuxClient
from worker.mux.rate_limit import LocalBudget, RateLimiter, RequestBudget
from worker.scan.batch import MIN_PROBE_SECONDS
from worker.settings import Settings


@pytest.fixture
def stopping() -> asyncio.Event:
    """Return the event that stops the worker."""
    return asyncio.Event()


@pytest.fixture
def client(mux: MuxSimulator, stopping: asyncio.Event) -> Callable[..., MuxClient]:
    """Return a factory of clients of the simulated Mux."""

    def make(budget: RequestBudget | None = None, **settings: object) -> MuxClient:
        values = {
            "supabase_url": "https://abc.supabase.co",
            "supabase_service_role_key": "sb_secret_not_used_here",
            "mux_token_id": mux.token_id,
            "mux_token_secret": mux.token_secret,
            "mux_base_url": mux.url,
            "mux_requests_per_second": 200,
            "mux_timeout_seconds": 1.5,
            **settings,
        }
        chosen = Settings.model_validate(values)
        rate_limiter = RateLimiter(chosen.mux_requests_per_second, budget or LocalBudget())
        return MuxClient(chosen, stopping, rate_limiter)

    return make


async def test_mux_is_observed(client: Callable[..., MuxClient], mux: MuxSimulator) -> None:
    """An upload, its asset and the environment, through the real mux-python."""
    upload = mux.state.create_upload(passthrough="lesson 1", external_id="lesson 2")
    asset = mux.state.upload(upload).asset_id or ""
    playback = mux.state.asset(asset).playback_ids[0]
    asking = client()
    assert await asking.upload(upload) == Observation(
        "upload", "asset_created", "probe", upload_id=upload, asset_id=asset
    )
    assert await asking.asset(asset) == Observation(
        "asset",
        "ready",
        "probe",
        upload_id=upload,
        asset_id=asset,
        playback_ids=(PlaybackId(playback.id, "public"),),
        lesson_references=("lesson 1", "lesson 2"),
        progress=100.0,
        duration_seconds=23.8238,
        aspect_ratio="16:9",
        max_resolution="1080p",
    )
    assert (await asking.check()).id == await asking.environment() == mux.state.environment_id
    assert mux.requests.by_route()["GET /system/v1/whoami"] == 1


async def test_a_failed_asset_has_its_error(
    client: Callable[..., MuxClient], mux: MuxSimulator
) -> None:
    """With its type and messages."""
    failing = Timeline(0, 0, "asset_errored", "invalid_input", ("no video", "no sound"))
    asset = mux.state.create_asset(failing)
    seen = await client().asset(asset)
    assert (seen.status, seen.error_type, seen.error_message) == (
        "errored",
        "invalid_input",
        "no video; no sound",
    )


async def test_unknown_ids_are_missing(client: Callable[..., MuxClient]) -> None:
    """Mux's own 404 is an observation, for uploads and for assets."""
    asking = client()
    for seen in (await asking.upload("nosuch"), await asking.asset("nosuch")):
        assert (seen.status, seen.found) == ("missing", False)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("answer", status=500), "http_500"),
        (Fault("answer", status=503, body="<html>"), "http_503"),
        (Fault("answer", status=404, body="<html>", content_type="text/html"), "unreadable"),
        (Fault("answer", status=500, body=b"\xff\xfe\xfa"), "unreadable"),
        (Fault("answer", status=200, body="<html>"), "unreadable"),
        (Fault("answer", status=200, body='{"data": null}'), "unreadable"),
        (Fault("truncate"), "connection"),
        (Fault("reset"), "connection"),
        (Fault("hang"), "timeout"),
        (Fault("trickle", status=200, body=" "), "timeout"),
        (Fault("trickle", status=500, body=" "), "timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.kind} {value.status}",
)
async def test_each_fault_is_retried_and_then_raised(
    client: Callable[..., MuxClient],
    mux: MuxSimulator,
    stopping: asyncio.Event,
    fault: Fault,
    reason: str,
) -> None:
    """A single fault is not visible; a lasting one ends in MuxUnavailable with its reason."""
    upload = mux.state.create_upload()
    mux.faults.add(fault, times=1)
    assert (await client().upload(upload)).status == "asset_created"
    mux.faults.add(fault)
    stopping.set()  # so that one try is enough
    seconds = 0.2 if reason == "timeout" else 1.5  # there is no answer that could come late
    with pytest.raises(MuxUnavailable) as raised:
        await client(mux_timeout_seconds=seconds).upload(upload)
    assert raised.value.reason == reason


async def test_a_response_about_another_id_is_a_fault(
    client: Callable[..., MuxClient], mux: MuxSimulator
) -> None:
    """It never becomes an observation."""
    mux.faults.add(Fault("answer", status=200, body='{"data": {"id": "other", "status": "ready"}}'))
    with pytest.raises(MuxUnavailable, match="another id"):
        await client().asset("as1")


async def test_a_refused_connection_is_a_fault(
    client: Callable[..., MuxClient], stopping: asyncio.Event
) -> None:
    """With another reason than a timeout."""
    stopping.set()
    with pytest.raises(MuxUnavailable) as raised:
        await client(mux_base_url="http://127.0.0.1:1").upload("up1")
    assert raised.value.reason == "connection"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("ask", "tries"),
    [
        (lambda asking: asking.upload("up1"), 2),
        (lambda asking: asking.assets(None), 2),
        (lambda asking: asking.control(), 2),
        (lambda asking: asking.check(), 1),
    ],
    ids=["upload", "assets", "control", "whoami"],
)
async def test_a_refused_token_is_retried_once_but_for_whoami(
    client: Callable[..., MuxClient],
    mux: MuxSimulator,
    status: int,
    ask: Callable[[MuxClient], Coroutine[Any, Any, object]],
    tries: int,
) -> None:
    """The error names the settings to check."""
    mux.faults.add(Fault("answer", status=status))
    with pytest.raises(MuxUnauthorized, match="MUX_TOKEN_ID"):
        await ask(client())
    assert len(mux.faults.hits) == tries


@pytest.mark.parametrize(
    "fault",
    [
        Fault("answer", status=500),
        Fault("answer", status=200, body='{"data": {"id": "other", "status": "ready"}}'),
        Fault("answer", status=200, body='{"data": {"id": "up1"}}'),
        Fault("reset"),
        Fault("hang"),
        Fault("trickle", status=200, body=" "),
    ],
    ids=["500", "another id", "unreadable", "reset", "hang", "trickle"],
)
async def test_a_probe_is_retried_once_within_a_scan_interval(
    client: Callable[..., MuxClient], mux: MuxSimulator, fault: Fault
) -> None:
    """For any timeout; `on_sent` is called when a request goes out."""
    mux.faults.add(fault)
    asking, sent = client(mux_timeout_seconds=60), []
    began = time.monotonic()
    with pytest.raises(MuxUnavailable):
        await asking.upload("up1", lambda: sent.append("up1"))
    # A second is the longest pause between the two.
    assert 2 * PROBE_ATTEMPT_SHARE * MIN_PROBE_SECONDS + 1 <= MIN_PROBE_SECONDS
    assert time.monotonic() - began < 45  # and not a minute and more
    assert (len(mux.faults.hits), sent) == (2, ["up1", "up1"])


async def test_a_request_that_waits_for_the_rate_limit_is_not_sent(
    client: Callable[..., MuxClient], mux: MuxSimulator
) -> None:
    """When it is cancelled meanwhile, `on_sent` is not called."""
    sent: list[str] = []
    asking = client(mux_requests_per_second=0.01)
    await asking.upload("up1", lambda: sent.append("up1"))
    waits = asyncio.create_task(asking.upload("up2", lambda: sent.append("up2")))
    await asyncio.sleep(0)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert sent == ["up1"]
    assert len(mux.requests.all()) == 1


@pytest.mark.parametrize("status", [200, 400, 404])
async def test_the_control_request_needs_a_list(
    client: Callable[..., MuxClient], mux: MuxSimulator, stopping: asyncio.Event, status: int
) -> None:
    """A 4xx fails, and a 200 that is not a list."""
    await client().control()
    assert mux.requests.by_route() == {"GET /video/v1/assets": 1}
    body = '{"data": {}}' if status == 200 else '{"error": {"type": "x", "messages": []}}'
    mux.faults.add(Fault("answer", status=status, body=body))
    stopping.set()  # so that one try is enough
    with pytest.raises(MuxUnavailable):
        await client().control()


async def test_of_two_assets_of_one_upload_none_is_chosen(
    client: Callable[..., MuxClient], mux: MuxSimulator
) -> None:
    """The upload names the one that counts."""
    upload = mux.state.create_upload()
    asset = mux.state.upload(upload).asset_id
    seen = await client().asset_of(upload)
    assert seen is not None
    assert seen.asset_id == asset
    mux.state.create_asset(of_upload=upload)
    assert await client().asset_of(upload) is None


async def test_a_short_retry_after_is_waited_for(
    client: Callable[..., MuxClient], mux: MuxSimulator
) -> None:
    """The next attempt is not earlier."""
    upload = mux.state.create_upload()
    mux.faults.add(Fault("answer", status=429, headers={"Retry-After": "1.5"}), times=1)
    began = time.monotonic()
    assert (await client().upload(upload)).found
    assert time.monotonic() - began >= 1.5


async def test_a_long_retry_after_ends_the_scan(
    client: Callable[..., MuxClient], mux: MuxSimulator
) -> None:
    """Rows are not held for a minute: the fault carries the seconds."""
    mux.faults.add(Fault("answer", status=429, headers={"Retry-After": "60"}))
    with pytest.raises(MuxUnavailable) as raised:
        await client().upload("up1")
    assert (raised.value.reason, raised.value.retry_after_seconds) == ("rate_limited", 60)
    assert len(mux.faults.hits) == 1


async def test_a_stop_interrupts_the_wait_between_attempts(
    client: Callable[..., MuxClient], mux: MuxSimulator, stopping: asyncio.Event
) -> None:
    """A shutdown does not wait for a Retry-After."""
    mux.faults.add(Fault("answer", status=429, headers={"Retry-After": "9"}))
    asked = asyncio.create_task(client().upload("up1"))
    await asyncio.to_thread(mux.faults.wait_for_hits, 1)
    began = time.monotonic()
    stopping.set()
    with pytest.raises(MuxUnavailable):
        await asked
    assert time.monotonic() - began < 8


async def test_requests_keep_their_distance(
    client: Callable[..., MuxClient], mux: MuxSimulator
) -> None:
    """Started all at once, they are sent no faster than the setting allows."""
    asking = client(mux_requests_per_second=20)
    began = time.monotonic()
    await asyncio.gather(*(asking.upload("up1") for _ in range(11)))
    assert max(seen.at for seen in mux.requests.all()) - began >= 0.45


@dataclass
class CountingBudget(LocalBudget):
    """A budget that counts the calls to slow down."""

    slowed: int = 0
    paused_seconds: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()

    async def slow_down(self, pause_seconds: float) -> None:
        """Count the call."""
        self.slowed += 1
        self.paused_seconds += pause_seconds


@pytest.mark.parametrize(
    ("status", "limit", "remaining", "slowed"),
    [
        pytest.param(200, "5", "0", 1, id="others use up what is left"),
        pytest.param(404, "5", "0", 1, id="whatever the answer is"),
        pytest.param(200, "5", "1", 0, id="something is left"),
        pytest.param(200, "4", "0", 0, id="it is we who use it up"),
        pytest.param(200, None, "0", 0, id="no limit is told"),
        pytest.param(200, "5", None, 0, id="what is left is not told"),
        pytest.param(200, "a few", "0", 0, id="the limit is no number"),
        pytest.param(429, "5", "1", 1, id="too many"),
        pytest.param(429, None, None, 1, id="too many, without a word why"),
    ],
)
async def test_the_budget_slows_down_when_muxs_limit_is_used_up(
    mux: MuxSimulator,
    client: Callable[..., MuxClient],
    stopping: asyncio.Event,
    status: int,
    limit: str | None,
    remaining: str | None,
    slowed: int,
) -> None:
    """After a 429, and when nothing remains of a limit above our own rate."""
    result = {"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": remaining}
    headers = {name: value for name, value in result.items() if value is not None}
    body = '{"data": []}' if status == 200 else '{"error": {"type": "x", "messages": []}}'
    mux.faults.add(Fault("answer", status=status, body=body, headers=headers))
    budget = CountingBudget()
    stopping.set()  # so that one try is enough
    with suppress(MuxUnavailable):
        await client(budget, mux_requests_per_second=4).assets(None)
    assert budget.slowed == slowed


@pytest.mark.parametrize(
    ("status", "retry_after", "slowed"),
    [
        (429, None, (1, 0)),
        (429, "60", (1, 60)),
        (503, "60", (1, 60)),
        (503, None, (0, 0)),
        (404, "60", (0, 0)),
    ],
)
async def test_the_budget_is_paused_as_long_as_mux_asks(
    mux: MuxSimulator,
    client: Callable[..., MuxClient],
    stopping: asyncio.Event,
    status: int,
    retry_after: str | None,
    slowed: tuple[int, float],
) -> None:
    """After a 429 and after an error of Mux, and not because of one id."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    mux.faults.add(Fault("answer", status=status, headers=headers))
    budget = CountingBudget()
    stopping.set()  # so that one try is enough
    with suppress(MuxUnavailable):
        await client(budget).assets(None)
    assert (budget.slowed, budget.paused_seconds) == slowed


async def test_the_last_rate_limit_is_kept(
    client: Callable[..., MuxClient], mux: MuxSimulator
) -> None:
    """For the doctor."""
    mux.limits = RateLimits.per_second(5, 1)
    asking = client()
    await asking.upload("up1")
    assert asking.rate_limit == ("5", "4")


async def test_a_list_is_read_to_its_end(
    client: Callable[..., MuxClient], mux: MuxSimulator
) -> None:
    """Assets by cursor, uploads by number, newest first, a hundred a page, each once."""
    seeded = [one for n in range(3) for one in mux.state.seed(100)]
    asking = client()
    for ask, made in (
        (asking.assets, [one.asset_id for one in seeded]),
        (asking.uploads, [one.upload_id for one in seeded]),
    ):
        pages = [await ask(None)]
        while (at := pages[-1].next) is not None:
            pages.append(await ask(at))
        result = [s for page in pages for s in page.observations]
        ids = [s.asset_id if s.subject == "asset" else s.upload_id for s in result]
        assert ids == made[::-1]
        assert {s.source for s in result} == {"sweep"}
    # Only a page that is not full tells that it is the last one.
    assert mux.requests.by_route() == {"GET /video/v1/assets": 3, "GET /video/v1/uploads": 4}


@pytest.mark.parametrize(
    ("cursor", "next_at"), [(None, None), ("", None), (7, None), ("\ud800", None), ("abc", "abc")]
)
async def test_only_a_usable_cursor_continues_a_list(
    client: Callable[..., MuxClient], mux: MuxSimulator, cursor: object, next_at: str | None
) -> None:
    """Any other value would start the list again."""
    body = json.dumps({"data": [], "next_cursor": cursor})
    mux.faults.add(Fault("answer", status=200, body=body))
    assert await client().assets(None) == Page((), next_at)


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_rejected_list_is_empty(
    client: Callable[..., MuxClient], mux: MuxSimulator, status: int
) -> None:
    """Its rows are probed; the 4xx is not a fault."""
    body = '{"error": {"type": "invalid_parameters", "messages": ["no such cursor"]}}'
    mux.faults.add(Fault("answer", status=status, body=body))
    assert await client().assets("x") == Page((), None)
    assert await client().uploads("2") == Page((), None)


@pytest.mark.parametrize("route", ["assets", "uploads"])
async def test_a_list_that_is_not_a_list_is_a_fault(
    client: Callable[..., MuxClient], mux: MuxSimulator, stopping: asyncio.Event, route: str
) -> None:
    """A 200 with other data is unreadable."""
    mux.faults.add(Fault("answer", status=200, body='{"data": {"id": "x"}}'))
    stopping.set()  # so that one try is enough
    with pytest.raises(MuxUnavailable) as raised:
        await getattr(client(), route)(None)
    assert raised.value.reason == "unreadable"


async def test_an_endless_response_does_not_fill_the_memory(
    client: Callable[..., MuxClient],
    mux: MuxSimulator,
    stopping: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is read up to a maximum size."""
    monkeypatch.setattr("worker.mux.client.MAX_RESPONSE_BYTES", 1000)
    mux.faults.add(Fault("answer", status=200, body=" " * 1001))
    stopping.set()  # so that one try is enough
    with pytest.raises(MuxUnavailable) as raised:
        await client().assets(None)
    assert (raised.value.reason, raised.value.message) == (
        "unreadable",
        "Mux's answer is too long.",
    )
