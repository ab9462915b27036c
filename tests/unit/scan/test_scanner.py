import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_mock import MockerFixture

from bench.sweep_world import World
from tests.unit.test_decide import CLAIM
from worker.decide import Rules
from worker.errors import MuxUnauthorized, MuxUnavailable, SupabaseUnavailable, Unavailable
from worker.model import (
    Claim,
    Observation,
    OnSent,
    Outcome,
    Page,
    PlaybackId,
    RequestSlots,
    Settlement,
    ignore,
)
from worker.scan.adopter import Item
from worker.scan.batch import ClaimedBatch, ClaimLimits
from worker.scan.scanner import Scanner
from worker.scan.sweep import INITIAL_PAGE_BUDGET, SWEEP_ABOVE, SWEEP_FROM
from worker.telemetry.hooks import Telemetry
from worker.telemetry.outcome_log import OutcomeLog
from worker.telemetry.scan_report import ScanReport

Adopt = Callable[[Sequence[Item]], Awaitable[None]]
NO_PAGE = Page((), None)
FAULTS = [
    MuxUnavailable("connection", "reset"),
    MuxUnavailable("timeout", "Mux did not answer in time."),
    MuxUnavailable("http_500", "Mux answered with 500."),
    MuxUnavailable("unreadable", "Mux answered for another id than the requested one."),
    MuxUnauthorized("http_401", "Mux refuses the access token."),
    MuxUnauthorized("http_403", "Mux refuses the access token."),
]


@dataclass
class FakeMux:
    """A Mux with a few waiting uploads; all others are missing."""

    known: set[str] = field(default_factory=set)
    fault_at: str | None = None
    fault: Unavailable = field(default_factory=lambda: MuxUnavailable("connection", "down"))
    is_out_after: int = 10**9
    """The number of requests before its outage."""

    lists_fail: bool = False
    hang_at: str | None = None
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1000))
    controls: int = 0
    requests: int = 0
    pages: Sequence[Page] = (NO_PAGE,)

    async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return an upload."""
        await self.turns.acquire()
        self.requests += 1
        on_sent()
        if self.requests > self.is_out_after or upload_id == self.fault_at:
            raise self.fault
        if upload_id == self.hang_at:
            await asyncio.Event().wait()
        status = "waiting" if upload_id in self.known else "missing"
        return Observation("upload", status, "probe", upload_id=upload_id)

    async def asset(self, asset_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return that it is missing: no row here has an asset."""
        on_sent()
        self.requests += 1
        return Observation("asset", "missing", "probe", asset_id=asset_id)

    async def asset_of(self, upload_id: str, on_sent: OnSent = ignore) -> Observation | None:
        """Fail the test."""
        raise AssertionError("no row here is checked for the first time")

    async def control(self) -> None:
        """Succeed, unless Mux has an outage."""
        self.controls += 1
        self.requests += 1
        if self.requests > self.is_out_after:
            raise self.fault

    async def assets(self, cursor: str | None) -> Page:
        """Return a page of the list; cursors are numbers from 0."""
        self.requests += 1
        if self.lists_fail:
            raise self.fault
        number = int(cursor or 0) + 1
        return replace(
            self.pages[number - 1], next=str(number) if number < len(self.pages) else None
        )

    async def uploads(self, cursor: str | None) -> Page:
        """Return an empty list."""
        self.requests += 1
        return NO_PAGE

    async def environment(self) -> str:
        """Return the token's environment."""
        return "env1"


@dataclass
class FakeStore:
    """A store of due rows, which keeps what was settled and released."""

    due: list[Claim]
    recorded: str | None = "env1"
    fault: Unavailable | None = None
    left_to_others: bool = False
    unclaimed_rows: int = 0
    withheld: int = 0
    claims: int | None = None
    slots: int = 0
    hangs: bool = False
    settled: list[Settlement] = field(default_factory=list)
    environments: list[str | None] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    put_behind: list[str] = field(default_factory=list)
    has_settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def claim(self, limits: ClaimLimits) -> ClaimedBatch:
        """Lease rows, unless another worker is the leader; each claim has a slot of its own."""
        if self.claims is not None:
            self.claims -= 1
            if self.claims < 0:
                raise SupabaseUnavailable("timeout", "x")
        if self.left_to_others:
            return ClaimedBatch((), None, left_to_others=True)
        size = limits.batch_size
        taken, self.due = self.due[:size], self.due[size:]
        more_are_due = bool(self.due or self.withheld)
        self.slots += bool(taken)
        slot = RequestSlots(float(self.slots), 0.25) if taken else None
        return ClaimedBatch(tuple(taken), self.recorded, more_are_due=more_are_due, slot=slot)

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Keep the settlements; each claimed row waits, and a few unclaimed rows are published.

        Observations without a claim are unmatched, and change nothing for another row.
        """
        if self.fault is not None:
            raise self.fault
        self.settled += settlements
        self.environments.append(environment_id)
        self.has_settled.set()
        claimed = [
            Outcome("waiting", tracking_id=c.claim.id) for s in settlements for c in s.claims
        ]
        unclaimed = [s.observation for s in settlements if not s.claims]
        unclaimed_rows = self.unclaimed_rows if settlements else 0
        return [
            *claimed,
            *(Outcome("published", tracking_id=f"o{n}") for n in range(unclaimed_rows)),
            *(Outcome("unmatched", upload_id=s.upload_id, asset_id=s.asset_id) for s in unclaimed),
            *(Outcome("unchanged", tracking_id="o9", upload_id=s.upload_id) for s in unclaimed),
        ]

    async def release(self, claims: Sequence[Claim]) -> int:
        """Record released rows."""
        if self.hangs:
            await asyncio.Event().wait()
        self.released += [claim.id for claim in claims]
        self.put_behind += [claim.id for claim in claims if claim.due_at is None]
        return len(claims)


@pytest.fixture
def probes_only(mocker: MockerFixture) -> None:
    """Have no list read for the few rows of a test."""
    mocker.patch("worker.scan.sweep.SWEEP_FROM", 10)


def rows(count: int) -> list[Claim]:
    """Make due rows t0, t1 … with the uploads up0, up1 …, in this order."""
    return [replace(CLAIM, id=f"t{n}", upload_id=f"up{n}", check_count=1) for n in range(count)]


def scanner(
    mux: FakeMux,
    store: FakeStore,
    size: int = 10,
    adopt: Adopt | None = None,
    telemetry: Telemetry | None = None,
) -> Scanner:
    """Make a scanner on the fakes."""
    return Scanner(
        mux,
        store,
        limits=ClaimLimits(size, 60, size),
        rules=Rules(),
        stopping=asyncio.Event(),
        adopt=adopt,
        telemetry=telemetry,
    )


def listed(upload: str, policy: str = "public") -> Observation:
    """Return a ready asset of a list."""
    playback_ids = (PlaybackId(f"play-{upload}", policy),)
    return Observation("asset", "ready", "sweep", upload, f"as-{upload}", playback_ids=playback_ids)


def reasons(store: FakeStore) -> dict[str, str]:
    """Return the reason of the verdict for each claimed row."""
    return {c.claim.id: c.verdict.reason for s in store.settled for c in s.claims}


async def test_a_scan_settles_every_row_it_claimed(probes_only: None) -> None:
    """It reports how many, their outcomes, and the requests to Mux."""
    store = FakeStore(rows(3))
    report = await scanner(FakeMux({"up0", "up1", "up2"}), store).scan()
    assert reasons(store) == {f"t{n}": "upload_waiting" for n in range(3)}
    assert (report.claimed, report.released, report.requests) == (3, 0, 3)
    assert (dict(report.outcomes), report.is_full) == ({"waiting": 3}, False)


@pytest.mark.parametrize(("due", "slots"), [(0, []), (5, [1]), (25, [1, 2, 3])])
async def test_the_slots_that_claims_reserved_are_used(due: int, slots: list[int]) -> None:
    """Each claim with rows reserves a request to Mux; a scan makes several claims for a sweep."""
    used: list[float] = []
    scan = Scanner(
        FakeMux({f"up{n}" for n in range(due)}),
        FakeStore(rows(due)),
        limits=ClaimLimits(10, 60, 10),
        rules=Rules(),
        stopping=asyncio.Event(),
        use_slot=lambda slot, _: used.append(slot.first_in_seconds),
    )
    await scan.scan()
    assert used == slots


async def test_an_empty_scan_sends_no_request() -> None:
    """Not even whoami."""
    mux = FakeMux()
    report = await scanner(mux, FakeStore([])).scan()
    assert (report.claimed, report.requests, mux.requests) == (0, 0, 0)


async def test_a_full_batch_is_reported(mocker: MockerFixture) -> None:
    """Where as many rows were claimed as could be, more may be due."""
    mocker.patch("worker.scan.scanner.CLAIMS_PER_SWEEP", 1)
    store = FakeStore(rows(3))
    report = await scanner(FakeMux(), store, size=2).scan()
    assert (report.claimed, report.is_full) == (2, True)


async def test_a_batch_of_all_due_rows_is_not_full() -> None:
    """The next scan waits for its interval."""
    report = await scanner(FakeMux(), FakeStore(rows(2)), size=2).scan()
    assert (report.claimed, report.is_full) == (2, False)


async def test_before_a_sweep_all_due_rows_are_claimed() -> None:
    """Five at a time; the sweep ends with the page that has the last of them."""
    store = FakeStore(rows(23))
    pages = [
        Page(tuple(listed(f"up{n}") for n in range(20)), None),
        Page(tuple(listed(f"up{n}") for n in range(20, 23)), None),
        Page((listed("up99"),), None),
    ]
    mux = FakeMux(pages=pages)
    report = await scanner(mux, store, size=5).scan()
    assert (report.claimed, report.is_full, report.requests) == (23, False, 2)
    assert len(reasons(store)) == 23


async def test_a_sweep_has_a_limit_of_claims(mocker: MockerFixture) -> None:
    """Other due rows are left for the next scan, which follows at once."""
    mocker.patch("worker.scan.scanner.CLAIMS_PER_SWEEP", 2)
    store = FakeStore(rows(23))
    report = await scanner(FakeMux(pages=[Page((), None)]), store, size=5).scan()
    assert (report.claimed, report.is_full, len(store.due)) == (10, True, 13)


async def test_rows_that_another_worker_locks_are_not_waited_for() -> None:
    """Where more are due but none can be claimed, the scan continues with its rows."""
    store = FakeStore(rows(5), withheld=3)
    report = await scanner(FakeMux(pages=[Page((), None)]), store, size=5).scan()
    assert report.claimed == 5


def backlog(count: int, first: int = 0) -> list[Claim]:
    """Return due rows that a backfill entered, never looked at, with the uploads from `first`."""
    return [replace(claim, is_backlog=True, check_count=0) for claim in rows(first + count)[first:]]


async def test_the_backlog_alone_is_probed_without_a_list() -> None:
    """Two requests for each id that Mux does not know, and its row fails at once."""
    store, mux = FakeStore(backlog(9)), FakeMux(pages=foreign_pages(20))
    report = await scanner(mux, store).scan()
    assert {c.verdict.action for s in store.settled for c in s.claims} == {"fail"}
    assert reasons(store) == {f"t{n}": "upload_not_found" for n in range(9)}
    assert (report.claimed, report.requests) == (9, 18)


@pytest.mark.parametrize(("live", "pages"), [(0, 0), (SWEEP_FROM - 1, 0), (SWEEP_ABOVE + 1, 2)])
async def test_only_live_rows_are_worth_a_page(live: int, pages: int) -> None:
    """One of assets and one of uploads, however many rows of the backlog are due besides."""
    due = [*rows(live), *backlog(20, first=live)]
    store, mux = FakeStore(due), FakeMux({f"up{n}" for n in range(30)})
    report = await scanner(mux, store, size=10).scan()
    assert (report.claimed, report.requests, len(store.due)) == (10, 10 + pages, live + 10)


@pytest.mark.parametrize(
    ("fields", "requests"),
    [
        ({"upload_id": "../assets/x"}, 0),
        ({"upload_id": "migrated", "asset_id": None}, 0),
        ({"status": "ready", "asset_id": "as1"}, 9),
    ],
    ids=["no id", "no asset", "rechecked"],
)
async def test_rows_that_no_list_answers_are_not_worth_a_page(
    fields: dict[str, Any], requests: int
) -> None:
    """An instructor could have three pages read with rows that hold no id; a recheck is probed."""
    mux = FakeMux(pages=foreign_pages(20))
    store = FakeStore([replace(row, **fields) for row in rows(9)])
    report = await scanner(mux, store).scan()
    assert (report.claimed, report.requests) == (9, requests)


async def test_live_rows_are_claimed_before_a_sweep_and_the_backlog_is_not() -> None:
    """The claim that brings the first of the backlog is the last."""
    due = [*rows(12), *backlog(20, first=12)]
    store = FakeStore(due)
    mux = FakeMux(pages=[Page(tuple(listed(f"up{n}") for n in range(12)), None)])
    report = await scanner(mux, store, size=5).scan()
    assert (report.claimed, len(store.due), report.is_full) == (15, 17, True)


async def test_in_an_outage_the_other_rows_are_released(probes_only: None) -> None:
    """Earlier observations are settled, the others are due at once, and the fault is raised."""
    store = FakeStore(rows(9))
    mux = FakeMux({f"up{n}" for n in range(9)}, is_out_after=4)
    with pytest.raises(MuxUnavailable):
        await scanner(mux, store).scan()
    assert set(reasons(store)) | set(store.released) == {f"t{n}" for n in range(9)}
    assert len(reasons(store)) == 4
    assert set(reasons(store)).isdisjoint(store.released)


async def test_only_rows_whose_request_had_no_response_go_behind_the_others(
    probes_only: None,
) -> None:
    """A row whose request was not sent yet keeps its place."""
    store = FakeStore(rows(9))
    mux = FakeMux(is_out_after=0, turns=asyncio.Semaphore(2))
    with pytest.raises(MuxUnavailable):
        await scanner(mux, store).scan()
    assert store.put_behind == ["t0", "t1"]
    assert store.released == [f"t{n}" for n in range(9)]


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.reason)
async def test_a_fault_of_one_id_is_a_fault_of_its_row(
    probes_only: None, fault: Unavailable, count: int
) -> None:
    """With one due row or several: that row backs off, the others are settled."""
    store = FakeStore(rows(count))
    mux = FakeMux({f"up{n}" for n in range(count)}, fault_at="up0", fault=fault)
    report = await scanner(mux, store).scan()
    others = {f"t{n}": "upload_waiting" for n in range(1, count)}
    assert reasons(store) == {"t0": "mux_fault", **others}
    assert (store.released, report.requests, mux.controls) == ([], count + 1, 1)


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.reason)
async def test_a_fault_of_every_id_is_an_outage(
    probes_only: None, fault: Unavailable, count: int
) -> None:
    """No row is touched, and the control request is put once, however many rows fail."""
    store, mux = FakeStore(rows(count)), FakeMux(is_out_after=0, fault=fault)
    with pytest.raises(type(fault)):
        await scanner(mux, store).scan()
    assert (reasons(store), len(store.released), mux.controls) == ({}, count, 1)


async def test_a_429_is_never_the_fault_of_an_id() -> None:
    """It is an outage, without a control request."""
    store = FakeStore(rows(2))
    mux = FakeMux({"up1"}, fault_at="up0", fault=MuxUnavailable("rate_limited", "slower"))
    with pytest.raises(MuxUnavailable):
        await scanner(mux, store).scan()
    assert mux.controls == 0
    assert "t0" not in reasons(store)


async def test_a_list_that_fails_costs_the_scan_only_the_list() -> None:
    """Where the control request succeeds, its rows are probed; else it is an outage."""
    store = FakeStore(rows(3))
    mux = FakeMux({"up0", "up1", "up2"}, lists_fail=True)
    await scanner(mux, store).scan()
    assert reasons(store) == {f"t{n}": "upload_waiting" for n in range(3)}
    assert mux.controls == 1
    store = FakeStore(rows(3))
    with pytest.raises(MuxUnavailable):
        await scanner(FakeMux(lists_fail=True, is_out_after=0), store).scan()
    assert (reasons(store), len(store.released)) == ({}, 3)


async def test_a_row_whose_id_fails_again_and_again_backs_off_to_five_minutes() -> None:
    """5 s, times 1.5; the first response resets it. No grace starts meanwhile."""
    mux = FakeMux({"up0"}, fault_at="up0")
    scans = scanner(mux, store := FakeStore([]))
    pauses: list[float] = []
    for fails in (*[True] * 12, False, True):
        mux.fault_at = "up0" if fails else None
        store.due = rows(1)
        await scans.scan()
        (claimed,) = store.settled[-1].claims
        assert claimed.verdict.grace in ("unchanged", "ends")
        pauses.append(claimed.pause_seconds)
    expected = [*(min(5 * 1.5**n, 300) for n in range(12)), CLAIM.age_seconds / 10, 5]
    assert pauses == [pytest.approx(pause, rel=0.11) for pause in expected]


async def test_a_scan_probes_no_longer_than_its_interval(probes_only: None) -> None:
    """Rows that were not probed keep their place and are due at once."""
    seconds = iter(range(100))
    store = FakeStore(rows(9))
    scan = Scanner(
        FakeMux({f"up{n}" for n in range(9)}),
        store,
        limits=ClaimLimits(9, 60, 9, probe_seconds=5),
        rules=Rules(),
        stopping=asyncio.Event(),
        clock=lambda: float(next(seconds)),
    )
    report = await scan.scan()
    assert sorted(reasons(store)) == ["t0", "t1", "t2", "t3"]
    assert (store.released, store.put_behind) == ([f"t{n}" for n in range(4, 9)], [])
    assert report.is_full


class Newer(FakeStore):
    """A database in which a lesson names an upload that may be newer than its tracked one."""

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Wait, with `names_newer` as the reason for the first lesson."""
        claims = [c.claim for s in settlements for c in s.claims]
        return [
            Outcome(
                "waiting",
                tracking_id=claim.id,
                lesson_id=f"l{claim.id}",
                reason="names_newer" if claim.id == "t0" else "upload_waiting",
            )
            for claim in claims
        ]


@pytest.mark.parametrize("fault", [None, MuxUnavailable("connection", "down")])
async def test_a_lesson_that_names_a_newer_upload_is_adopted_within_the_scan(
    fault: Unavailable | None,
) -> None:
    """Only this lesson; if that fails, the scan succeeds and the periodic adoption does it."""
    adopted: list[Sequence[Item]] = []

    async def adopt(items: Sequence[Item]) -> None:
        adopted.append(items)
        if fault is not None:
            raise fault

    mux = FakeMux({"up0", "up1", "up2"})
    report = await scanner(mux, Newer(rows(3)), adopt=adopt).scan()
    assert adopted == [[{"lesson_id": "lt0"}]]
    assert (dict(report.outcomes), report.released) == ({"waiting": 3}, 0)


async def test_no_row_waits_while_others_are_probed_again() -> None:
    """Of 180 rows that no list covers and whose state does not change, the last is probed too."""
    world = World()
    world.track([world.add(has_asset=False) for _ in range(180)])
    for _ in range(400):
        world.add()
    await world.work(until=150)
    looks = Counter(row.check_count for row in world.rows.values())
    assert (looks[0], max(looks)) == (0, 2)


async def test_a_row_with_an_empty_id_records_no_environment() -> None:
    """It fails, also beside a video without an upload; the environment still does not match."""
    store = FakeStore([replace(CLAIM, id="t9", upload_id=""), *rows(3)], "env2")
    without_upload = replace(listed(""), upload_id=None)
    await scanner(FakeMux(pages=[Page((without_upload,), None)]), store).scan()
    others = {f"t{n}": "wrong_environment" for n in range(3)}
    assert reasons(store) == {"t9": "invalid_id", **others}
    assert set(store.environments) == {None}


async def test_when_settling_fails_the_rows_are_released() -> None:
    """They are due again for the next scan; no lease hides them."""
    store = FakeStore(rows(2), fault=SupabaseUnavailable("timeout", "x"))
    with pytest.raises(SupabaseUnavailable):
        await scanner(FakeMux(), store).scan()
    assert store.released == ["t0", "t1"]


@dataclass
class SlowStore(FakeStore):
    """A store whose settle calls wait until a test releases them, in any order."""

    under_way: dict[str, asyncio.Future[None]] = field(default_factory=dict)

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle when the test says so; the page's name is its first asset."""
        name = settlements[0].observation.asset_id or ""
        self.under_way[name] = asyncio.get_running_loop().create_future()
        await self.under_way[name]
        return await super().settle(settlements, environment_id)

    async def until(self, *names: str) -> None:
        """Wait until exactly these pages were begun."""
        for _ in range(100):
            await asyncio.sleep(0)
        assert set(self.under_way) == set(names)


def sweeping(*pages: Page) -> tuple[SlowStore, asyncio.Task[ScanReport]]:
    """Start a scan of nine rows that sweeps these pages."""
    store = SlowStore(rows(9))
    mux = FakeMux({f"up{n}" for n in range(9)}, pages=pages)
    return store, asyncio.create_task(scanner(mux, store).scan())


PAGES = [Page((listed(f"up{n}"),), None) for n in range(3)]


async def test_two_pages_are_settled_at_a_time() -> None:
    """The third waits until one of them is settled."""
    store, scan = sweeping(*PAGES)
    await store.until("as-up0", "as-up1")
    store.under_way["as-up1"].set_result(None)
    await store.until("as-up0", "as-up1", "as-up2")
    scan.cancel()
    await asyncio.gather(scan, return_exceptions=True)


async def test_a_page_that_fails_ends_the_scan_and_the_others_are_settled() -> None:
    """A page under way is settled, no further page is begun, and the other rows are released."""
    store, scan = sweeping(*PAGES)
    await store.until("as-up0", "as-up1")
    store.under_way["as-up0"].set_exception(SupabaseUnavailable("timeout", "x"))
    await store.until("as-up0", "as-up1")
    assert not scan.done()
    store.under_way["as-up1"].set_result(None)
    with pytest.raises(SupabaseUnavailable):
        await scan
    assert set(reasons(store)) == {"t1"}
    assert store.released == ["t0", *(f"t{n}" for n in range(2, 9))]


async def test_a_scan_that_is_cancelled_cancels_the_pages_under_way() -> None:
    """A worker that stops does not wait for a database that hangs."""
    store, scan = sweeping(*PAGES)
    await store.until("as-up0", "as-up1")
    scan.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scan
    assert all(page.cancelled() for page in store.under_way.values())
    assert store.released == [f"t{n}" for n in range(9)]


@pytest.mark.parametrize("fails", [False, True])
async def test_in_an_outage_the_pages_under_way_are_settled_first(*, fails: bool) -> None:
    """Then the outage is raised, or the fault of the database, which matters more."""
    store = SlowStore(rows(3))
    mux = FakeMux(pages=PAGES[:1], is_out_after=1)
    scan = asyncio.create_task(scanner(mux, store).scan())
    await store.until("as-up0")
    assert not scan.done()
    if fails:
        store.under_way["as-up0"].set_exception(SupabaseUnavailable("timeout", "x"))
    else:
        store.under_way["as-up0"].set_result(None)
    with pytest.raises(SupabaseUnavailable if fails else MuxUnavailable):
        await scan
    assert set(reasons(store)) == (set() if fails else {"t0"})


async def test_a_release_that_hangs_is_not_waited_for(mocker: MockerFixture) -> None:
    """The rows are due when their lease ends, and the fault is raised."""
    mocker.patch("worker.scan.scanner.RELEASE_TIMEOUT_SECONDS", 0.01)
    store = FakeStore(rows(2), fault=SupabaseUnavailable("timeout", "x"), hangs=True)
    with pytest.raises(SupabaseUnavailable):
        await scanner(FakeMux(), store).scan()
    assert store.released == []


async def test_when_a_further_claim_fails_the_claimed_rows_are_released() -> None:
    """No row stays leased for a scan that does not take place."""
    store = FakeStore(rows(9), claims=1)
    with pytest.raises(SupabaseUnavailable):
        await scanner(FakeMux(), store, size=5).scan()
    assert store.released == [f"t{n}" for n in range(5)]


async def test_a_cancelled_scan_releases_its_rows(probes_only: None) -> None:
    """A shutdown that does not wait for a hanging request loses no row."""
    store = FakeStore(rows(2))
    mux = FakeMux({"up0", "up1"}, hang_at="up1")
    scan = asyncio.create_task(scanner(mux, store).scan())
    await store.has_settled.wait()
    scan.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scan
    assert store.released == ["t1"]


@pytest.mark.parametrize(
    ("recorded", "known", "reason", "settled_with"),
    [
        ("env1", set(), "upload_not_found", "env1"),
        ("env2", set(), "wrong_environment", None),
        (None, set(), "wrong_environment", None),
        (None, {"up1"}, "upload_not_found", "env1"),
        ("env2", {"up1"}, "upload_not_found", "env1"),
    ],
)
async def test_a_404_counts_only_in_the_recorded_environment(
    probes_only: None,
    recorded: str | None,
    known: set[str],
    reason: str,
    settled_with: str | None,
) -> None:
    """It is the one where an id of ours was last found, also in this scan; then it is recorded."""
    store = FakeStore(rows(2), recorded=recorded)
    await scanner(FakeMux(known), store).scan()
    assert reasons(store)["t0"] == reason
    assert store.environments == [settled_with]


@pytest.mark.parametrize(
    ("size", "lease", "rate", "claimed"),
    [(200, 60, 4, 40), (10, 60, 4, 10), (200, 60, 1000, 200), (200, 1, 0.1, 1)],
)
def test_probes_take_at_most_half_a_lease(
    size: int, lease: float, rate: float, claimed: int
) -> None:
    """With three requests a row, and at least one row."""
    limits = ClaimLimits(size, lease, claimed, 30, rate)
    assert ClaimLimits.within_lease(size, lease, rate, 30) == limits
    assert ClaimLimits.within_lease(size, lease, rate, 0.2).probe_seconds == 5


def test_outcomes_of_a_newer_database_are_read() -> None:
    """Fields that this version does not know are ignored."""
    row: dict[str, Any] = {"outcome": "published", "lesson_id": "l1", "mood": "good"}
    assert Outcome.from_json(row) == Outcome("published", lesson_id="l1")


async def test_whole_pages_are_settled() -> None:
    """Also uploads without a claim: another row may wait for them."""
    store = FakeStore(rows(3))
    mux = FakeMux(pages=[Page(tuple(listed(f"up{n}") for n in (7, 2, 1, 0)), None)])
    report = await scanner(mux, store).scan()
    assert [s.observation.upload_id for s in store.settled] == ["up7", "up2", "up1", "up0"]
    assert [len(s.claims) for s in store.settled] == [0, 1, 1, 1]
    assert (report.claimed, report.released, report.requests) == (3, 0, 1)


def foreign_pages(count: int) -> list[Page]:
    """Return pages of assets that are not tracked here."""
    return [Page((listed(f"x{n}"),), None) for n in range(count)]


@pytest.mark.parametrize(("count", "pages"), [(1, 0), (2, 1), (3, INITIAL_PAGE_BUDGET + 1)])
async def test_the_lists_are_read_for_more_than_one_row(count: int, pages: int) -> None:
    """Rows that no list covers are probed; for two of them one page is read before, at most."""
    store = FakeStore(rows(count))
    mux = FakeMux({f"up{n}" for n in range(count)}, pages=foreign_pages(20))
    report = await scanner(mux, store).scan()
    assert reasons(store) == {f"t{n}": "upload_waiting" for n in range(count)}
    assert (report.requests, report.left_to_others) == (pages + count, False)


async def test_unclaimed_rows_keep_the_sweep_going() -> None:
    """They earn a page too; the sweep ends with the list."""
    store = FakeStore(rows(3), unclaimed_rows=1)
    mux = FakeMux({"up0", "up1", "up2"}, pages=foreign_pages(12))
    report = await scanner(mux, store).scan()
    assert report.requests == 12 + 1 + 3
    # Each of the twelve pages, and the page of probes.
    assert (report.claimed, report.unclaimed) == (3, 13)
    assert report.outcomes == {"waiting": 3, "published": 13}


async def test_a_claimed_row_that_is_gone_is_reported() -> None:
    """Its observation matches no row; the same is not reported of foreign assets."""

    class Emptied(FakeStore):
        async def settle(
            self, settlements: Sequence[Settlement], environment_id: str | None
        ) -> list[Outcome]:
            seen = [s.observation for s in settlements]
            return [Outcome("unmatched", upload_id=s.upload_id, asset_id=s.asset_id) for s in seen]

    page = Page((listed("x0"), listed("up0"), listed("x1")), None)
    report = await scanner(FakeMux(pages=[page]), Emptied(rows(3))).scan()
    assert report.outcomes == {"unmatched": 3}


async def test_a_claimed_row_is_counted_once() -> None:
    """With its page; when it is settled it earns nothing more."""
    store = FakeStore(rows(8))
    page = Page(tuple(listed(f"up{n}", "signed") for n in range(4)), None)
    mux = FakeMux(pages=[page, *foreign_pages(20)])
    await scanner(mux, store).scan()
    swept = [s.observation for s in store.settled if s.observation.source == "sweep"]
    assert len([seen for seen in swept if seen.upload_id not in {"up0", "up1", "up2", "up3"}]) == (
        INITIAL_PAGE_BUDGET - 1 + 4
    )


async def test_an_id_of_ours_in_a_list_records_the_environment() -> None:
    """From that page on a 404 counts."""
    store = FakeStore(rows(4), recorded="env2")
    mux = FakeMux(pages=[*foreign_pages(1), Page((listed("up0"),), None)])
    await scanner(mux, store).scan()
    assert reasons(store) == {
        "t0": "asset_ready",
        **{f"t{n}": "upload_not_found" for n in (1, 2, 3)},
    }
    # The second page of assets, the page of uploads, the three probes.
    assert store.environments == [None, "env1", "env1", "env1"]


async def test_rows_left_to_another_worker_are_reported() -> None:
    """While another worker is the leader, this one sends no request, and its report says why."""
    mux = FakeMux()
    report = await scanner(mux, FakeStore(rows(1), left_to_others=True)).scan()
    assert (report.claimed, report.left_to_others, mux.requests) == (0, True, 0)


async def test_a_list_of_foreign_assets_records_no_environment() -> None:
    """They prove nothing about our ids: a 404 still does not count."""
    store = FakeStore(rows(3), recorded="env2")
    mux = FakeMux(pages=[Page((listed("up8"), listed("up9")), None)])
    await scanner(mux, store).scan()
    assert set(reasons(store).values()) == {"wrong_environment"}
    assert set(store.environments) == {None}


async def test_unknown_values_of_foreign_assets_are_not_logged(mocker: MockerFixture) -> None:
    """An unknown policy is logged where it matches a claimed row."""
    warning = mocker.patch("worker.telemetry.outcome_log.log.warning")
    store = FakeStore(rows(3))
    page = Page((listed("up9", "strange"), listed("up0", "odd")), None)
    await scanner(FakeMux(pages=[page]), store, telemetry=Telemetry(OutcomeLog())).scan()
    warning.assert_called_once_with("mux.unknown_value", kind="policy", value="odd")


async def test_rows_that_no_list_covers_are_probed_within_the_lease() -> None:
    """Of nine rows that match no page, three are probed; the others are due at once."""
    store = FakeStore(rows(9))
    mux = FakeMux({f"up{n}" for n in range(9)})
    scan = Scanner(
        mux, store, limits=ClaimLimits(20, 60, 3), rules=Rules(), stopping=asyncio.Event()
    )
    report = await scan.scan()
    assert sorted(reasons(store)) == ["t0", "t1", "t2"]
    assert store.released == [f"t{n}" for n in range(3, 9)]
    assert (report.claimed, report.released, report.is_full) == (9, 6, True)


class Reported(Telemetry):
    """Keeps the pages that were settled in another environment than the recorded one."""

    def __init__(self) -> None:
        super().__init__()
        self.mismatches: list[tuple[list[str | None], str, str | None]] = []

    def environment_mismatched(
        self, settlements: Sequence[Settlement], environment: str, recorded: str | None
    ) -> None:
        """Keep a page."""
        uploads = [settlement.observation.upload_id for settlement in settlements]
        self.mismatches.append((uploads, environment, recorded))


async def test_a_page_of_another_environment_is_reported() -> None:
    """With both environments; one of the recorded environment is not."""
    there, here = Reported(), Reported()
    await scanner(FakeMux(), FakeStore(rows(1), recorded="env2"), telemetry=there).scan()
    await scanner(FakeMux(), FakeStore(rows(1)), telemetry=here).scan()
    assert (there.mismatches, here.mismatches) == ([(["up0"], "env1", "env2")], [])


class WhileEventsArrive(FakeStore):
    """A database that says that webhooks arrive."""

    async def claim(self, limits: ClaimLimits) -> ClaimedBatch:
        """Lease rows."""
        return replace(await super().claim(limits), events_arrive=True)


async def test_while_webhooks_arrive_a_row_that_waits_is_left_to_them() -> None:
    """A minute and a half after its second check, give or take a tenth."""
    store = WhileEventsArrive(rows(1))
    await scanner(FakeMux({"up0"}), store).scan()
    ((claimed,),) = (settlement.claims for settlement in store.settled)
    assert claimed.pause_seconds == pytest.approx(90, rel=0.11)


async def test_each_scan_reports_its_own_requests_and_seconds(
    probes_only: None, mocker: MockerFixture
) -> None:
    """Not those of the scans before it."""
    store, mux = FakeStore([]), FakeMux({"up0", "up1"})
    scan = scanner(mux, store)
    times = iter([1000.0] * 3 + [1000.5] + [2000.0] * 3 + [2003.0])
    mocker.patch("worker.scan.scanner.time", SimpleNamespace(monotonic=lambda: next(times)))
    reports = []
    for count in (1, 2):
        store.due = rows(count)
        reports.append(await scan.scan())
    assert [(report.requests, report.seconds) for report in reports] == [(1, 0.5), (2, 3.0)]


def with_time_for(count: int, store: FakeStore) -> Scanner:
    """Return a scanner that probes a limited number of rows."""
    mux = FakeMux({f"up{n}" for n in range(9)})
    limits = ClaimLimits(20, 60, count)
    return Scanner(mux, store, limits=limits, rules=Rules(), stopping=asyncio.Event())


async def test_a_single_row_that_is_left_is_a_reason_for_the_next_scan_at_once() -> None:
    """It does not wait for the interval."""
    report = await with_time_for(1, FakeStore(rows(2))).scan()
    assert (report.released, report.is_full) == (1, True)


class CannotRelease(FakeStore):
    """A database that fails when rows are handed back."""

    async def release(self, claims: Sequence[Claim]) -> int:
        """Fail."""
        raise SupabaseUnavailable("timeout", "x")


async def test_rows_that_cannot_be_released_are_due_when_their_lease_ends() -> None:
    """The scan ends as it would have, with its own error if it has one, and none was released."""
    report = await with_time_for(1, CannotRelease(rows(2))).scan()
    assert (report.claimed, report.released, report.is_full) == (2, 0, False)
    with pytest.raises(MuxUnavailable):
        await scanner(FakeMux(is_out_after=0), CannotRelease(rows(2))).scan()


async def test_a_list_is_read_for_few_rows_where_more_are_due(mocker: MockerFixture) -> None:
    """Its pages cover those that were not claimed, too."""
    mocker.patch("worker.scan.scanner.CLAIMS_PER_SWEEP", 1)
    mux = FakeMux({"up0"})
    report = await scanner(mux, FakeStore(rows(2)), size=1).scan()
    assert (report.claimed, report.requests) == (1, 2)


class FailsOnAll(FakeMux):
    """A Mux that fails for every upload, and answers the control request."""

    async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
        """Fail."""
        raise self.fault


@pytest.mark.parametrize(
    ("count", "pauses"), [(2, [5, 7.5, 11.25, 16.875]), (3, [5, 7.5, 7.5, 7.5])]
)
async def test_faults_are_counted_of_so_many_rows(
    probes_only: None, mocker: MockerFixture, count: int, pauses: list[float]
) -> None:
    """Of more than that the counts begin again, so that memory stays flat."""
    mocker.patch("worker.scan.scanner.MAX_FAULT_COUNTS", 2)
    store = FakeStore([])
    scan, found = scanner(FailsOnAll(), store), []
    for _ in pauses:
        store.due = rows(count)
        await scan.scan()
        found.append(store.settled[-1].claims[0].pause_seconds)
    assert found == [pytest.approx(pause, rel=0.11) for pause in pauses]


async def test_a_list_that_is_rate_limited_is_an_outage() -> None:
    """Without a control request, and no row is probed."""
    store = FakeStore(rows(3))
    mux = FakeMux(lists_fail=True, fault=MuxUnavailable("rate_limited", "slower"))
    with pytest.raises(MuxUnavailable):
        await scanner(mux, store).scan()
    assert (mux.controls, mux.requests, reasons(store)) == (0, 1, {})


async def test_a_database_that_fails_after_mux_is_what_the_scan_ends_with() -> None:
    """A page is still being settled when Mux fails, and then the database fails as well."""
    store = SlowStore(rows(9))
    mux = FakeMux(pages=PAGES[:1], is_out_after=1)
    scan = asyncio.create_task(scanner(mux, store).scan())
    await store.until("as-up0")
    assert (mux.controls, scan.done()) == (1, False)
    store.under_way["as-up0"].set_exception(SupabaseUnavailable("timeout", "x"))
    with pytest.raises(SupabaseUnavailable):
        await scan
