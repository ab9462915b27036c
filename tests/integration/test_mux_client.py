import asyncio
import time
from collections.abc import Callable

import pytest

from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.local.faults import Fault
from worker.local.mux_guard import RateLimits
from worker.local.mux_server import MuxSimulator
from worker.local.mux_timeline import Timeline
from worker.model import Observation, PlaybackId
from worker.mux import Mux
from worker.settings import Settings


@pytest.fixture
def stopping() -> asyncio.Event:
    """Give the event that asks for a stop."""
    return asyncio.Event()


@pytest.fixture
def client(mux: MuxSimulator, stopping: asyncio.Event) -> Callable[..., Mux]:
    """Give a way to make clients of the simulated Mux."""

    def make(**settings: object) -> Mux:
        values = {
            "supabase_url": "https://abc.supabase.co",
            "supabase_service_role_key": "sb_secret_not_used_here",
            "mux_token_id": mux.token_id,
            "mux_token_secret": mux.token_secret,
            "mux_base_url": mux.url,
            "mux_requests_per_second": 200,
            "mux_timeout_seconds": 0.5,
            **settings,
        }
        return Mux(Settings.model_validate(values), stopping)

    return make


async def test_what_mux_says_is_observed(client: Callable[..., Mux], mux: MuxSimulator) -> None:
    """An upload, its asset, and who we are, through the real mux-python."""
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
        claims=("lesson 1", "lesson 2"),
    )
    assert (await asking.check()).id == await asking.environment() == mux.state.environment_id
    assert mux.requests.by_route()["GET /system/v1/whoami"] == 1


async def test_an_asset_that_failed_says_why(client: Callable[..., Mux], mux: MuxSimulator) -> None:
    """Type and messages of the error are taken over."""
    failing = Timeline(0, 0, "asset_errored", "invalid_input", ("no video", "no sound"))
    asset = mux.state.create_asset(failing)
    seen = await client().asset(asset)
    assert (seen.status, seen.error_type, seen.error_message) == (
        "errored",
        "invalid_input",
        "no video; no sound",
    )


async def test_what_is_not_there_is_missing(client: Callable[..., Mux]) -> None:
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
async def test_each_fault_is_tried_again_and_then_told(
    client: Callable[..., Mux],
    mux: MuxSimulator,
    stopping: asyncio.Event,
    fault: Fault,
    reason: str,
) -> None:
    """Once is made up for in silence; for ever ends in MuxUnavailable with its reason."""
    upload = mux.state.create_upload()
    mux.faults.add(fault, times=1)
    assert (await client().upload(upload)).status == "asset_created"
    mux.faults.add(fault)
    stopping.set()  # so that one try is enough
    with pytest.raises(MuxUnavailable) as raised:
        await client().upload(upload)
    assert raised.value.reason == reason


async def test_an_answer_about_another_id_is_not_believed(
    client: Callable[..., Mux], mux: MuxSimulator
) -> None:
    """Whatever mixed it up, no fact is made of it."""
    mux.faults.add(Fault("answer", status=200, body='{"data": {"id": "other", "status": "ready"}}'))
    with pytest.raises(MuxUnavailable, match="another id"):
        await client().asset("as1")


async def test_nobody_there_is_a_connection_that_fails(
    client: Callable[..., Mux], stopping: asyncio.Event
) -> None:
    """A refused connection is told from a timeout."""
    stopping.set()
    with pytest.raises(MuxUnavailable) as raised:
        await client(mux_base_url="http://127.0.0.1:1").upload("up1")
    assert raised.value.reason == "connection"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_not_tried_again(
    client: Callable[..., Mux], mux: MuxSimulator, status: int
) -> None:
    """One request, and the error says which settings to look at."""
    mux.faults.add(Fault("answer", status=status))
    with pytest.raises(MuxUnauthorized, match="MUX_TOKEN_ID"):
        await client().upload("up1")
    assert len(mux.faults.hits) == 1


async def test_a_short_retry_after_is_waited_for(
    client: Callable[..., Mux], mux: MuxSimulator
) -> None:
    """The next try comes no sooner than Mux asks."""
    upload = mux.state.create_upload()
    mux.faults.add(Fault("answer", status=429, headers={"Retry-After": "1.5"}), times=1)
    began = time.monotonic()
    assert (await client().upload(upload)).found
    assert time.monotonic() - began >= 1.5


async def test_a_long_retry_after_ends_the_pass(
    client: Callable[..., Mux], mux: MuxSimulator
) -> None:
    """Rows are not held for a minute: the fault carries the wish on."""
    mux.faults.add(Fault("answer", status=429, headers={"Retry-After": "60"}))
    with pytest.raises(MuxUnavailable) as raised:
        await client().upload("up1")
    assert (raised.value.reason, raised.value.retry_after_seconds) == ("rate_limited", 60)
    assert len(mux.faults.hits) == 1


async def test_a_stop_interrupts_the_wait_between_tries(
    client: Callable[..., Mux], mux: MuxSimulator, stopping: asyncio.Event
) -> None:
    """A shutdown does not sit out a Retry-After."""
    mux.faults.add(Fault("answer", status=429, headers={"Retry-After": "9"}))
    asked = asyncio.create_task(client().upload("up1"))
    await asyncio.to_thread(mux.faults.wait_for_hits, 1)
    began = time.monotonic()
    stopping.set()
    with pytest.raises(MuxUnavailable):
        await asked
    assert time.monotonic() - began < 8


async def test_requests_keep_their_distance(client: Callable[..., Mux], mux: MuxSimulator) -> None:
    """Asked all at once, they go out no faster than the setting allows."""
    asking = client(mux_requests_per_second=20)
    await asyncio.gather(*(asking.upload("up1") for _ in range(11)))
    times = [seen.at for seen in mux.requests.all()]
    assert max(times) - min(times) >= 0.45


async def test_nothing_left_of_the_limit_is_respected(
    client: Callable[..., Mux], mux: MuxSimulator
) -> None:
    """When Mux says that nothing remains, the next request waits a second."""
    mux.limits = RateLimits.per_second(1, 1)
    asking = client()
    await asking.upload("up1")
    assert asking.rate_limit == ("1", "0")
    began = time.monotonic()
    await asking.upload("up1")
    assert time.monotonic() - began >= 0.9
    assert {seen.status for seen in mux.requests.all()} == {404}
