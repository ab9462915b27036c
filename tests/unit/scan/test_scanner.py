import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
from pytest_mock import MockerFixture

from bench.sweep_world import World
from tests.unit.test_decide import CLAIM
from worker.claim_limits import Batching
from worker.decide import Rules
from worker.errors import MuxUnauthorized, MuxUnavailable, SupabaseUnavailable, Unavailable
from worker.model import Claim, Claimed, Observation, Outcome, Page, PlaybackId, Settlement
from worker.mux.rate_limit import Sent, unheard
from worker.scan.scanner import Reconciler
from worker.scan.sweep import FEW, FIRST_CREDIT
from worker.telemetry.hooks import Telemetry
from worker.telemetry.outcome_log import OutcomeLog

NO_PAGE = Page((), None)
FAULTS = [
    MuxUnavailable("connection", "reset"),
    MuxUnavailable("timeout", "Mux did not answer in time."),
    MuxUnavailable("http_500", "Mux answered with 500."),
    MuxUnavailable("unreadable", "Mux answered about another id than was asked for."),
    MuxUnauthorized("http_401", "Mux refuses the access token."),
    MuxUnauthorized("http_403", "Mux refuses the access token."),
]


@dataclass
class FakeMux:
    """Knows a few uploads as waiting; all others are missing."""

    known: set[str] = field(default_factory=set)
    fault_at: str | None = None
    fault: Unavailable = field(default_factory=lambda: MuxUnavailable("connection", "down"))
    is_out_after: int = 10**9
    """Requests that it answers."""

    lists_fail: bool = False
    hang_at: str | None = None
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1000))
    controls: int = 0
    requests: int = 0
    pages: Sequence[Page] = (NO_PAGE,)

    async def upload(self, upload_id: str, sent: Sent = unheard) -> Observation:
        """Answer about an upload."""
        await self.turns.acquire()
        self.requests += 1
        sent()
        if self.requests > self.is_out_after or upload_id == self.fault_at:
            raise self.fault
        if upload_id == self.hang_at:
            await asyncio.Event().wait()
        status = "waiting" if upload_id in self.known else "missing"
        return Observation("upload", status, "probe", upload_id=upload_id)

    async def asset(self, asset_id: str, sent: Sent = unheard) -> Observation:
        """Answer that there is none: no row here has an asset."""
        sent()
        self.requests += 1
        return Observation("asset", "missing", "probe", asset_id=asset_id)

    async def asset_of(self, upload_id: str, sent: Sent = unheard) -> Observation | None:
        """Answer that there is none."""
        raise AssertionError("no row here is looked at for the first time")

    async def control(self) -> None:
        """Answer the control question, unless Mux is out."""
        self.controls += 1
        self.requests += 1
        if self.requests > self.is_out_after:
            raise self.fault

    async def assets(self, at: str | None) -> Page:
        """Give a page of the list; they are numbered from 0, and the last one is its end."""
        self.requests += 1
        if self.lists_fail:
            raise self.fault
        number = int(at or 0) + 1
        return replace(
            self.pages[number - 1], next=str(number) if number < len(self.pages) else None
        )

    async def uploads(self, at: str | None) -> Page:
        """Give an empty list."""
        self.requests += 1
        return NO_PAGE

    async def environment(self) -> str:
        """Give the token's environment."""
        return "env1"


@dataclass
class FakeStore:
    """Keeps due rows in order, and what was settled and handed back."""

    due: list[Claim]
    home: str | None = "env1"
    fault: Unavailable | None = None
    sweep: Literal["none", "ours", "others"] = "none"
    few: int | None = None
    come_along: int = 0
    withheld: int = 0
    claims: int | None = None
    hangs: bool = False
    settled: list[Settlement] = field(default_factory=list)
    environments: list[str | None] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    put_behind: list[str] = field(default_factory=list)
    has_settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def claim(self, batching: Batching, few: int) -> Claimed:
        """Lease rows."""
        self.few = few
        if self.claims is not None:
            self.claims -= 1
            if self.claims < 0:
                raise SupabaseUnavailable("timeout", "x")
        if self.sweep == "others":
            return Claimed((), None, "others")
        most = batching.most(self.sweep)
        taken, self.due = self.due[:most], self.due[most:]
        return Claimed(
            tuple(taken), self.home, self.sweep, more_are_due=bool(self.due or self.withheld)
        )

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Keep what is settled; each claimed row waits, and some that nobody claimed come along.

        What is left is about nobody, or is known of somebody.
        """
        if self.fault is not None:
            raise self.fault
        self.settled += settlements
        self.environments.append(environment_id)
        self.has_settled.set()
        claimed = [
            Outcome("waiting", tracking_id=c.claim.id) for s in settlements for c in s.claims
        ]
        strangers = [s.observation for s in settlements if not s.claims]
        come_along = self.come_along if settlements else 0
        return [
            *claimed,
            *(Outcome("published", tracking_id=f"o{n}") for n in range(come_along)),
            *(Outcome("unmatched", upload_id=s.upload_id, asset_id=s.asset_id) for s in strangers),
            *(Outcome("unchanged", tracking_id="o9", upload_id=s.upload_id) for s in strangers),
        ]

    async def release(self, claims: Sequence[Claim]) -> int:
        """Take rows back."""
        if self.hangs:
            await asyncio.Event().wait()
        self.released += [claim.id for claim in claims]
        self.put_behind += [claim.id for claim in claims if claim.due_at is None]
        return len(claims)


def rows(count: int) -> list[Claim]:
    """Make due rows t0, t1 … with the uploads up0, up1 …, in this order."""
    return [replace(CLAIM, id=f"t{n}", upload_id=f"up{n}", check_count=1) for n in range(count)]


def reconciler(mux: FakeMux, store: FakeStore, size: int = 10, **more: Any) -> Reconciler:
    """Put a reconciler on the fakes."""
    batching = Batching(size, 60, size)
    return Reconciler(
        mux, store, batching=batching, rules=Rules(), stopping=asyncio.Event(), **more
    )


def reasons(store: FakeStore) -> dict[str, str]:
    """Give what was decided for each claimed row."""
    return {c.claim.id: c.verdict.reason for s in store.settled for c in s.claims}


async def test_a_scan_settles_every_row_it_claimed() -> None:
    """And reports how many, what came of them, and what it asked Mux."""
    store = FakeStore(rows(3))
    report = await reconciler(FakeMux({"up0", "up1", "up2"}), store).scan()
    assert reasons(store) == {f"t{n}": "upload_waiting" for n in range(3)}
    assert (report.claimed, report.released, report.requests) == (3, 0, 3)
    assert (dict(report.outcomes), report.is_full) == ({"waiting": 3}, False)


async def test_an_empty_scan_asks_mux_nothing() -> None:
    """Not even who we are."""
    mux = FakeMux()
    report = await reconciler(mux, FakeStore([])).scan()
    assert (report.claimed, report.requests, mux.requests) == (0, 0, 0)


async def test_a_full_batch_is_told() -> None:
    """As many rows as could be claimed means that more may be due."""
    store = FakeStore(rows(3))
    report = await reconciler(FakeMux(), store, size=2).scan()
    assert (report.claimed, report.is_full) == (2, True)


async def test_a_batch_that_took_all_that_was_due_is_not_full() -> None:
    """The next scan has time."""
    report = await reconciler(FakeMux(), FakeStore(rows(2)), size=2).scan()
    assert (report.claimed, report.is_full) == (2, False)


async def test_for_a_sweep_all_that_is_due_is_claimed_first() -> None:
    """Five at a time, and the walk ends with the page that has the last of them."""
    store = FakeStore(rows(23), sweep="ours")
    pages = [
        Page(tuple(listed(f"up{n}") for n in range(20)), None),
        Page(tuple(listed(f"up{n}") for n in range(20, 23)), None),
        Page((listed("up99"),), None),
    ]
    mux = FakeMux(pages=pages)
    report = await reconciler(mux, store, size=5).scan()
    assert (report.claimed, report.is_full, report.requests) == (23, False, 2)
    assert len(reasons(store)) == 23


async def test_a_sweep_looks_for_so_many_rows_at_most(mocker: MockerFixture) -> None:
    """What is due beyond them is left for the next, which comes at once."""
    mocker.patch("worker.scan.scanner.CLAIMS_A_SWEEP", 2)
    store = FakeStore(rows(23), sweep="ours")
    report = await reconciler(FakeMux(pages=[Page((), None)]), store, size=5).scan()
    assert (report.claimed, report.is_full, len(store.due)) == (10, True, 13)


async def test_rows_that_others_hold_are_not_waited_for() -> None:
    """Where more are due and none can be had, the scan goes on with what it has."""
    store = FakeStore(rows(5), sweep="ours", withheld=3)
    report = await reconciler(FakeMux(pages=[Page((), None)]), store, size=5).scan()
    assert report.claimed == 5


async def test_when_mux_goes_down_the_rest_is_handed_back() -> None:
    """What was seen before is settled, the others are due again at once, and the fault is told."""
    store = FakeStore(rows(9))
    mux = FakeMux({f"up{n}" for n in range(9)}, is_out_after=4)
    with pytest.raises(MuxUnavailable):
        await reconciler(mux, store).scan()
    assert set(reasons(store)) | set(store.released) == {f"t{n}" for n in range(9)}
    assert len(reasons(store)) == 4
    assert set(reasons(store)).isdisjoint(store.released)


async def test_only_what_was_asked_for_without_an_answer_goes_behind_the_others() -> None:
    """A row that still waited for its turn as Mux went out has its place as before."""
    store = FakeStore(rows(9))
    mux = FakeMux(is_out_after=0, turns=asyncio.Semaphore(2))
    with pytest.raises(MuxUnavailable):
        await reconciler(mux, store).scan()
    assert store.put_behind == ["t0", "t1"]
    assert store.released == [f"t{n}" for n in range(9)]


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.reason)
async def test_what_fails_for_one_id_alone_is_the_fault_of_that_id(
    fault: Unavailable, count: int
) -> None:
    """One row due, or several: that row backs off, the others are settled."""
    store = FakeStore(rows(count))
    mux = FakeMux({f"up{n}" for n in range(count)}, fault_at="up0", fault=fault)
    report = await reconciler(mux, store).scan()
    others = {f"t{n}": "upload_waiting" for n in range(1, count)}
    assert reasons(store) == {"t0": "mux_fault", **others}
    assert (store.released, report.requests, mux.controls) == ([], count + 1, 1)


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.reason)
async def test_what_fails_for_everything_is_an_outage(fault: Unavailable, count: int) -> None:
    """No row is touched, and the control question is put once, however many rows fail."""
    store, mux = FakeStore(rows(count)), FakeMux(is_out_after=0, fault=fault)
    with pytest.raises(type(fault)):
        await reconciler(mux, store).scan()
    assert (reasons(store), len(store.released), mux.controls) == ({}, count, 1)


async def test_too_many_requests_are_never_the_fault_of_an_id() -> None:
    """A 429 is an outage without a question more."""
    store = FakeStore(rows(2))
    mux = FakeMux({"up1"}, fault_at="up0", fault=MuxUnavailable("rate_limited", "slower"))
    with pytest.raises(MuxUnavailable):
        await reconciler(mux, store).scan()
    assert mux.controls == 0
    assert "t0" not in reasons(store)


async def test_a_list_that_fails_costs_the_scan_only_the_list() -> None:
    """Where the control question is answered, its rows are probed; else it is an outage."""
    store = FakeStore(rows(3), sweep="ours")
    mux = FakeMux({"up0", "up1", "up2"}, lists_fail=True)
    await reconciler(mux, store).scan()
    assert reasons(store) == {f"t{n}": "upload_waiting" for n in range(3)}
    assert mux.controls == 1
    store = FakeStore(rows(3), sweep="ours")
    with pytest.raises(MuxUnavailable):
        await reconciler(FakeMux(lists_fail=True, is_out_after=0), store).scan()
    assert (reasons(store), len(store.released)) == ({}, 3)


async def test_a_row_whose_id_fails_again_and_again_backs_off_to_five_minutes() -> None:
    """5 s, times 1.5; the first answer resets it. No grace runs meanwhile."""
    mux = FakeMux({"up0"}, fault_at="up0")
    scans = reconciler(mux, store := FakeStore([]))
    pauses: list[float] = []
    for fails in (*[True] * 12, False, True):
        mux.fault_at = "up0" if fails else None
        store.due = rows(1)
        await scans.scan()
        (claimed,) = store.settled[-1].claims
        assert claimed.verdict.missing in (None, False)
        pauses.append(claimed.pause_seconds)
    expected = [*(min(5 * 1.5**n, 300) for n in range(12)), 7.5, 5]
    assert pauses == [pytest.approx(pause, rel=0.11) for pause in expected]


async def test_a_scan_probes_no_longer_than_its_interval() -> None:
    """What its probes had no time for keeps its place and is due again at once."""
    seconds = iter(range(100))
    store = FakeStore(rows(9))
    scan = Reconciler(
        FakeMux({f"up{n}" for n in range(9)}),
        store,
        batching=Batching(9, 60, 9, probe_seconds=5),
        rules=Rules(),
        stopping=asyncio.Event(),
        clock=lambda: float(next(seconds)),
    )
    report = await scan.scan()
    assert sorted(reasons(store)) == ["t0", "t1", "t2", "t3"]
    assert (store.released, store.put_behind) == ([f"t{n}" for n in range(4, 9)], [])
    assert report.is_full


class Newer(FakeStore):
    """A database in which every lesson names what may be newer than its tracked upload."""

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Wait, with the reason that the first lesson names something newer."""
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
async def test_a_lesson_that_names_something_newer_is_adopted_within_the_scan(
    fault: Unavailable | None,
) -> None:
    """It alone; if that fails, the scan is whole and the next adoption does it."""
    adopted: list[Sequence[str]] = []

    async def adopt(lesson_ids: Sequence[str]) -> None:
        adopted.append(lesson_ids)
        if fault is not None:
            raise fault

    scanner = reconciler(FakeMux({"up0", "up1", "up2"}), Newer(rows(3)), adopt=adopt)
    report = await scanner.scan()
    assert adopted == [["lt0"]]
    assert (dict(report.outcomes), report.released) == ({"waiting": 3}, 0)


async def test_no_row_waits_while_others_are_asked_for_again() -> None:
    """Of 180 that no list tells of and of which Mux has no news, the last has its turn too."""
    world = World()
    world.track([world.add(has_asset=False) for _ in range(180)])
    for _ in range(400):
        world.add()
    await world.work(until=150)
    looks = Counter(row.check_count for row in world.rows.values())
    assert (looks[0], max(looks)) == (0, 2)


async def test_a_row_with_an_empty_id_makes_no_home() -> None:
    """It fails, also beside a video without an upload, and the token stays under suspicion."""
    store = FakeStore([replace(CLAIM, id="t9", upload_id=""), *rows(3)], "env2", sweep="ours")
    without_upload = replace(listed(""), upload_id=None)
    await reconciler(FakeMux(pages=[Page((without_upload,), None)]), store).scan()
    others = {f"t{n}": "wrong_environment" for n in range(3)}
    assert reasons(store) == {"t9": "invalid_id", **others}
    assert set(store.environments) == {None}


async def test_when_settling_fails_the_rows_are_handed_back() -> None:
    """Due again, they show in the next pass whether it still fails; no lease hides them."""
    store = FakeStore(rows(2), fault=SupabaseUnavailable("timeout", "x"))
    with pytest.raises(SupabaseUnavailable):
        await reconciler(FakeMux(), store).scan()
    assert store.released == ["t0", "t1"]


async def test_a_database_that_takes_nothing_back_is_not_waited_for(mocker: MockerFixture) -> None:
    """The rows fall due with their lease, and the fault is told."""
    mocker.patch("worker.scan.scanner.RELEASE_WITHIN_SECONDS", 0.01)
    store = FakeStore(rows(2), fault=SupabaseUnavailable("timeout", "x"), hangs=True)
    with pytest.raises(SupabaseUnavailable):
        await reconciler(FakeMux(), store).scan()
    assert store.released == []


async def test_when_claiming_on_fails_what_is_claimed_is_handed_back() -> None:
    """Not one row is kept for a scan that does not take place."""
    store = FakeStore(rows(9), sweep="ours", claims=1)
    with pytest.raises(SupabaseUnavailable):
        await reconciler(FakeMux(), store, size=5).scan()
    assert store.released == [f"t{n}" for n in range(5)]


async def test_a_scan_that_is_cut_off_hands_back_what_is_open() -> None:
    """A shutdown that does not wait for a hanging request loses no row."""
    store = FakeStore(rows(2))
    mux = FakeMux({"up0", "up1"}, hang_at="up1")
    scan = asyncio.create_task(reconciler(mux, store).scan())
    await store.has_settled.wait()
    scan.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scan
    assert store.released == ["t1"]


@pytest.mark.parametrize(
    ("home", "known", "reason", "recorded"),
    [
        ("env1", set(), "upload_not_found", "env1"),
        ("env2", set(), "wrong_environment", None),
        (None, set(), "wrong_environment", None),
        (None, {"up1"}, "upload_not_found", "env1"),
        ("env2", {"up1"}, "upload_not_found", "env1"),
    ],
)
async def test_a_404_counts_only_at_home(
    home: str | None, known: set[str], reason: str, recorded: str | None
) -> None:
    """Home is where an id of ours was last found, in this pass included; then it is recorded."""
    store = FakeStore(rows(2), home=home)
    await reconciler(FakeMux(known), store).scan()
    assert reasons(store)["t0"] == reason
    assert store.environments == [recorded]


@pytest.mark.parametrize(
    ("size", "lease", "rate", "claimed"),
    [(200, 60, 4, 40), (10, 60, 4, 10), (200, 60, 1000, 200), (200, 1, 0.1, 1)],
)
def test_no_more_is_asked_for_alone_than_half_a_lease_has_time_for(
    size: int, lease: float, rate: float, claimed: int
) -> None:
    """Three requests a row at the most, and always at least one row."""
    assert Batching.within(size, lease, rate, 30) == Batching(size, lease, claimed, 30)
    assert Batching.within(size, lease, rate, 0.2).probe_seconds == 5


def test_outcomes_of_a_newer_database_are_read() -> None:
    """Fields that this version does not know are ignored."""
    row: dict[str, Any] = {"outcome": "published", "lesson_id": "l1", "mood": "good"}
    assert Outcome.from_json(row) == Outcome("published", lesson_id="l1")


def listed(upload: str, policy: str = "public") -> Observation:
    """Observe a ready asset in Mux's list."""
    playback_ids = (PlaybackId(f"play-{upload}", policy),)
    return Observation("asset", "ready", "sweep", upload, f"as-{upload}", playback_ids=playback_ids)


async def test_a_page_is_settled_whole_by_the_worker_that_sweeps() -> None:
    """Also what it says of uploads that nobody here claimed: some row may wait for them."""
    store = FakeStore(rows(3), sweep="ours")
    mux = FakeMux(pages=[Page(tuple(listed(f"up{n}") for n in (7, 2, 1, 0)), None)])
    report = await reconciler(mux, store).scan()
    assert [s.observation.upload_id for s in store.settled] == ["up7", "up2", "up1", "up0"]
    assert [len(s.claims) for s in store.settled] == [0, 1, 1, 1]
    assert (report.claimed, report.released, report.requests) == (3, 0, 1)


def strangers(count: int) -> list[Page]:
    """Make pages of assets that nobody here has tracked."""
    return [Page((listed(f"x{n}"),), None) for n in range(count)]


@pytest.mark.parametrize(("sweep", "asked"), [("none", 0), ("ours", FIRST_CREDIT + 1)])
async def test_only_the_sweeper_walks_the_lists(sweep: Literal["none", "ours"], asked: int) -> None:
    """And what no list told of is asked for, as it is by any other worker."""
    store = FakeStore(rows(3), sweep=sweep)
    mux = FakeMux({"up0", "up1", "up2"}, pages=strangers(20))
    report = await reconciler(mux, store).scan()
    assert reasons(store) == {f"t{n}": "upload_waiting" for n in range(3)}
    assert (report.requests, report.left_to_others) == (asked + 3, False)


async def test_what_comes_along_keeps_the_sweep_going() -> None:
    """Rows that nobody claimed are worth a page too; at the end of the list it ends."""
    store = FakeStore(rows(3), sweep="ours", come_along=1)
    mux = FakeMux({"up0", "up1", "up2"}, pages=strangers(12))
    report = await reconciler(mux, store).scan()
    assert report.requests == 12 + 1 + 3
    # Each of the twelve pages, and the page of what was asked for one by one.
    assert (report.claimed, report.unasked) == (3, 13)
    assert report.outcomes == {"waiting": 3, "published": 13}


async def test_a_claimed_row_that_is_gone_is_told() -> None:
    """Its fact is about nobody any more; the same said of strangers is no news."""

    class Emptied(FakeStore):
        async def settle(
            self, settlements: Sequence[Settlement], environment_id: str | None
        ) -> list[Outcome]:
            seen = [s.observation for s in settlements]
            return [Outcome("unmatched", upload_id=s.upload_id, asset_id=s.asset_id) for s in seen]

    page = Page((listed("x0"), listed("up0"), listed("x1")), None)
    report = await reconciler(FakeMux(pages=[page]), Emptied(rows(3), sweep="ours")).scan()
    assert report.outcomes == {"unmatched": 3}


async def test_a_claimed_row_is_counted_once() -> None:
    """When its page comes in; that it is settled is worth nothing more."""
    store = FakeStore(rows(8), sweep="ours")
    page = Page(tuple(listed(f"up{n}", "signed") for n in range(4)), None)
    mux = FakeMux(pages=[page, *strangers(20)])
    await reconciler(mux, store).scan()
    swept = [s.observation for s in store.settled if s.observation.source == "sweep"]
    assert len([seen for seen in swept if seen.upload_id not in {"up0", "up1", "up2", "up3"}]) == (
        FIRST_CREDIT - 1 + 4
    )


async def test_an_id_of_ours_in_a_list_makes_a_home() -> None:
    """From that page on, what is missing is missing."""
    store = FakeStore(rows(4), home="env2", sweep="ours")
    mux = FakeMux(pages=[*strangers(1), Page((listed("up0"),), None)])
    await reconciler(mux, store).scan()
    assert reasons(store) == {
        "t0": "asset_ready",
        **{f"t{n}": "upload_not_found" for n in (1, 2, 3)},
    }
    # The second page of assets, the page of uploads, the three that were asked for.
    assert store.environments == [None, "env1", "env1", "env1"]


async def test_what_is_left_to_others_is_told() -> None:
    """While another worker sweeps, this one asks nothing, and its report says why."""
    mux = FakeMux()
    store = FakeStore(rows(3), sweep="others")
    report = await reconciler(mux, store).scan()
    assert (report.claimed, report.left_to_others, mux.requests) == (0, True, 0)
    assert store.few == FEW


async def test_a_list_of_strangers_is_no_home() -> None:
    """Assets that nobody asked for prove nothing: in another environment a 404 still counts not."""
    store = FakeStore(rows(3), home="env2", sweep="ours")
    mux = FakeMux(pages=[Page((listed("up8"), listed("up9")), None)])
    await reconciler(mux, store).scan()
    assert set(reasons(store).values()) == {"wrong_environment"}
    assert set(store.environments) == {None}


async def test_what_strangers_carry_is_not_told(mocker: MockerFixture) -> None:
    """A policy nobody has heard of is told where a row of ours has it; else it is no news."""
    told = mocker.patch("worker.telemetry.outcome_log.log.warning")
    store = FakeStore(rows(3), sweep="ours")
    page = Page((listed("up9", "strange"), listed("up0", "odd")), None)
    telemetry = Telemetry(OutcomeLog())
    await reconciler(FakeMux(pages=[page]), store, telemetry=telemetry).scan()
    told.assert_called_once_with("mux.unknown_value", kind="policy", value="odd")


async def test_what_the_lists_do_not_tell_is_probed_as_far_as_the_lease_goes() -> None:
    """Of nine rows that no page is about, three are asked for; the rest is due again at once."""
    store = FakeStore(rows(9), sweep="ours")
    mux = FakeMux({f"up{n}" for n in range(9)})
    scan = Reconciler(
        mux, store, batching=Batching(20, 60, 3), rules=Rules(), stopping=asyncio.Event()
    )
    report = await scan.scan()
    assert sorted(reasons(store)) == ["t0", "t1", "t2"]
    assert store.released == [f"t{n}" for n in range(3, 9)]
    assert (report.claimed, report.released, report.is_full) == (9, 6, True)
