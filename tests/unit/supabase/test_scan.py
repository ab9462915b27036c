import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from pytest_mock import MockerFixture

from worker.errors import StatementTimeout, SupabaseUnavailable
from worker.model import Observation, Outcome, RequestSlots, Settlement, Verdict
from worker.scan.batch import ClaimLimits
from worker.settings import Settings
from worker.supabase.client import RpcClient
from worker.supabase.scan import ScanStore

TIMED_OUT = Outcome("refused", upload_id="up0", sqlstate="57014")


class FakeClient(RpcClient):
    """Times out for every call that holds a slow upload, and records how many items each had."""

    def __init__(self, *slow: str, is_down: bool = False) -> None:
        self.slow = set(slow)
        self.is_down = is_down
        self.timed_out: list[int] = []
        self.settled: list[int] = []

    async def call(self, function: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Settle, or record a refusal."""
        if function == "worker_record_refusal":
            if self.is_down:
                raise SupabaseUnavailable("timeout", "x")
            upload_id = params["verdict"]["upload_id"]
            return [{"outcome": "refused", "upload_id": upload_id, "sqlstate": params["code"]}]
        ids = [item["upload_id"] for item in params["verdicts"]]
        if self.slow & set(ids):
            self.timed_out.append(len(ids))
            raise StatementTimeout("57014", "x")
        self.settled.append(len(ids))
        return [{"outcome": "published", "upload_id": id_} for id_ in ids]


def settlements(count: int) -> list[Settlement]:
    """Return settlements of the uploads up0, up1 and so on."""
    return [
        Settlement(
            Observation("asset", "ready", "sweep", upload_id=f"up{n}", asset_id=f"as{n}"),
            Verdict("publish", "asset_ready", playback_id="p"),
            (),
        )
        for n in range(count)
    ]


def refused(outcomes: Sequence[Outcome]) -> list[str | None]:
    """Return the uploads that were refused."""
    return [outcome.upload_id for outcome in outcomes if outcome.name == "refused"]


async def test_a_slow_item_is_found_by_bisection_and_settled_alone_afterwards() -> None:
    """Seven calls time out to find it among a hundred, then one a time, after the others."""
    client = FakeClient("up0")
    store = ScanStore(client)
    outcomes = await store.settle(settlements(100), None)
    assert [o.name for o in outcomes].count("published") == 99
    assert TIMED_OUT in outcomes
    assert client.timed_out == [100, 50, 25, 12, 6, 3, 1]

    client.timed_out, client.settled = [], []
    outcomes = await store.settle(settlements(100), None)
    assert outcomes[-1] == TIMED_OUT
    assert (client.settled, client.timed_out) == ([99], [1])


async def test_an_item_that_is_no_longer_slow_is_settled_with_the_others() -> None:
    """As soon as it was settled in time."""
    client = FakeClient("up1")
    store = ScanStore(client)
    await store.settle(settlements(2), None)
    client.slow, client.settled = set(), []
    await store.settle(settlements(2), None)
    await store.settle(settlements(2), None)
    assert client.settled == [1, 1, 2]


async def test_a_timeout_that_cannot_be_recorded_is_returned() -> None:
    """The row keeps its lease, which is its backoff then."""
    store = ScanStore(FakeClient("up0", is_down=True))
    (outcome,) = await store.settle(settlements(1), None)
    assert (outcome.name, outcome.upload_id, outcome.sqlstate) == ("refused", "up0", "57014")


async def test_the_number_of_remembered_items_is_limited(mocker: MockerFixture) -> None:
    """Beyond it, all are forgotten and searched for again."""
    mocker.patch("worker.supabase.scan.MAX_SLOW_ITEMS", 2)
    client = FakeClient("up0", "up1", "up2")
    store = ScanStore(client)
    await store.settle(settlements(3), None)
    client.timed_out = []
    outcomes = await store.settle(settlements(3), None)
    assert client.timed_out == [2, 1, 1, 1]
    assert sorted(map(str, refused(outcomes))) == ["up0", "up1", "up2"]


class Claims(RpcClient):
    """Says at each claim who is the leader, and records the calls."""

    def __init__(self, *leaders: str) -> None:
        self.leaders = list(leaders)
        self.called: list[tuple[str, Any]] = []

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Claim nothing, or release."""
        self.called.append((function, params["leader"]))
        if function == "worker_release":
            return 0
        leader = self.leaders.pop(0)
        batch: dict[str, Any] = {"rows": [], "slot": None, "environment_id": None}
        return {**batch, "events_arrive": False, "more_are_due": False, "leader": leader}

    async def close(self) -> None:
        """Have no connections."""


@pytest.mark.parametrize(
    ("leaders", "releases"),
    [
        (["ours"], True),
        (["ours", "none"], True),
        (["none"], False),
        (["others"], False),
        (["ours", "others"], False),
        (["ours", "others", "none"], False),
    ],
)
async def test_the_leader_says_that_it_stops(leaders: list[str], releases: bool) -> None:
    """Also where nothing was due at its last claim; then another one leads at once."""
    client = Claims(*leaders)
    store = ScanStore(client)
    limits = ClaimLimits(200, 60, 40)
    left = [(await store.claim(limits)).left_to_others for _ in leaders]
    await store.close()
    assert left == [leader == "others" for leader in leaders]
    assert [name for name, _ in client.called[len(leaders) :]] == ["worker_release"] * releases
    assert len({worker for _, worker in client.called}) == 1


class Reserving(RpcClient):
    """Answers a claim with a slot, and records the parameters."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Reserve a slot."""
        self.params = params
        slot = {"first_in_seconds": 0.5, "gap_seconds": 0.25, "paused_seconds": 0}
        batch: dict[str, Any] = {"rows": [], "slot": slot, "environment_id": None}
        return {**batch, "events_arrive": False, "more_are_due": False, "leader": "ours"}


async def test_a_claim_reserves_the_first_request() -> None:
    """At the rate of the limits; its time comes with the rows."""
    client = Reserving()
    batch = await ScanStore(client).claim(ClaimLimits(200, 60, 40, requests_per_second=4))
    assert batch.slot == RequestSlots(0.5, 0.25)
    assert client.params["requests_per_second"] == 4


class LeadingClient(RpcClient):
    """Makes the first claim the leader's, and records the calls."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []
        self.lead_seconds: list[float] = []

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Answer a claim; settle nothing."""
        self.made.append((function, params.get("leader")))
        self.lead_seconds += [params["lead_seconds"]] if "lead_seconds" in params else []
        batch: dict[str, Any] = {
            "rows": [],
            "environment_id": None,
            "slot": None,
            "events_arrive": False,
            "more_are_due": False,
        }
        return {**batch, "leader": "ours"} if function == "worker_claim" else []


async def test_only_the_leader_prolongs_its_time_by_settling() -> None:
    """A backfill settles pages while another worker is to lead."""
    client = LeadingClient()
    store = ScanStore(client)
    await store.settle(settlements(1), None)
    await store.claim(ClaimLimits(1, 60, 1))
    await store.settle(settlements(1), None)
    await store.stop_leading()
    await store.stop_leading()
    await store.settle(settlements(1), None)
    (_, worker) = client.made[1]
    assert worker is not None
    assert client.made == [
        ("worker_settle", None),
        ("worker_claim", worker),
        ("worker_settle", worker),
        ("worker_release", worker),
        ("worker_settle", None),
    ]


@pytest.mark.parametrize(
    ("interval", "lease", "lead"), [(5, 60, 15), (20, 60, 40), (5, 8, 8), (60, 60, 60)]
)
async def test_a_leader_is_followed_when_the_lease_of_its_rows_has_ended(
    mocker: MockerFixture, interval: float, lease: float, lead: float
) -> None:
    """It leads for two intervals, 15 s at least, and never for longer than it leases rows."""
    client = LeadingClient()
    mocker.patch("worker.supabase.scan.RpcClient.connect", return_value=client)
    settings = Settings.model_construct(scan_interval_seconds=interval, lease_seconds=lease)
    store = await ScanStore.connect(settings, asyncio.Event())
    await store.claim(ClaimLimits(1, lease, 1))
    await store.settle(settlements(1), None)
    assert client.lead_seconds == [lead, lead]
