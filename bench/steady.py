"""Measure the latency while uploads keep arriving, and its cost, with and without webhooks."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench.answers import Answer, Bar, Bars, Detail, Line, Lines, Row, quantile
from bench.browsers import Browsers, Tab
from bench.sizes import Sizes
from bench.stage import PROBING_WORKER, WORKER, stage
from bench.sweep_cases import DAY_HOURS, school_day
from bench.traffic import (
    Day,
    Range,
    Traffic,
    fill_up,
    follow,
    measure,
    web_settings,
    webhooks_to,
)

PER_SECOND = 5
ROWS_PER_REQUEST = 100
INTERVAL_SECONDS = 5.0
SOON: Range = (5.0, 25.0)
LATER: Range = (20.0, 120.0)
COMPARED = 200
PROBES, BROWSERS = "one GET a lesson", "report's browsers"
WEBHOOKS = "with webhooks"
COST = "ready to published, p50 / p95 in seconds; Mux requests a second"

HOW = """\
A number of uploads is in flight at any time: a new one replaces each whose lesson was published.
Mux has {older:,} older assets as well, and its limits hold (5 GET a second). The worker's settings
are the defaults. Each way has its own Postgres, PostgREST and Mux. What is measured at the same
time: 1 to 20 in flight and the special cases, each upload ready after a random {soon[0]:g} to
{soon[1]:g} s, for {small:g} s; 100 and 200 in flight, ready after {later[0]:g} to {later[1]:g} s,
for {middle:g} s; and 1,000 in flight for {crowd:g} s. Before that the uploads begin one after the
other, and the first of them are published. Uploads that Mux encodes for minutes are in flight
all the while. The day of a small school, 12 uploads at random times, is simulated with a clock of
its own; a real worker beside it has as many uploads within {small:g} s.

Beside 200 in flight run the worker with its sweep switched off, which sends a request for each
upload, and browsers that poll as the report's `useAssetStatusPolling` does, one GET of the asset a
poll, with every page open until the end. The limit in theory is one request a second (from 500 in
flight on, a scan each {interval:g} s), each of which answers for a hundred uploads: a ready upload
then waits half of that on average."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to get lessons published, and how many uploads it has in flight."""

    name: str
    in_flight: int
    ready_after_seconds: Range
    way: str = WORKER
    has_webhooks: bool = False
    workers: int = 1
    file_after_seconds: float = 0.0
    is_day: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self, sizes: Sizes) -> Iterator[Traffic]:
        """Run it without uploads."""
        with stage(PER_SECOND) as here, ExitStack() as running:
            values = (here, self.in_flight, self.ready_after_seconds, self.file_after_seconds)
            traffic = (
                Day(*values, day_seconds=sizes.few_seconds) if self.is_day else Traffic(*values)
            )
            here.mux.state.seed(sizes.older_assets)
            if self.way == BROWSERS:
                browsers = running.enter_context(Browsers(here))
                traffic.opened = lambda lesson, asset_id: browsers.open(Tab(lesson, asset_id))
                yield traffic
                return
            web = web_settings() if self.has_webhooks else {}
            for _ in range(self.workers):
                running.enter_context(here.worker(self.way, **web, **self.settings))
            if web:
                running.enter_context(webhooks_to(here, web))
            yield traffic


def _both(in_flight: int, ready_after: Range) -> tuple[Case, Case]:
    return (
        Case(str(in_flight), in_flight, ready_after),
        Case(f"{in_flight}, {WEBHOOKS}", in_flight, ready_after, has_webhooks=True),
    )


FILE_AFTER_SECONDS = 60.0
SPECIAL = (
    Case("20, three workers", 20, SOON, workers=3),
    Case("20, `SCAN_INTERVAL_SECONDS` 0.5", 20, SOON, settings={"SCAN_INTERVAL_SECONDS": "0.5"}),
    Case("20, `SCAN_INTERVAL_SECONDS` 60", 20, SOON, settings={"SCAN_INTERVAL_SECONDS": "60"}),
    Case("5, the file sent 60 s later", 5, SOON, file_after_seconds=FILE_AFTER_SECONDS),
)
DAY = Case("12 uploads of a day", 12, SOON, is_day=True)
LONG = "20, each encoded for {:g} s, with webhooks"
FEW = (
    *(case for number in (1, 2, 5, 20) for case in _both(number, SOON)),
    *SPECIAL,
    DAY,
)
MANY = (
    *_both(100, LATER),
    *_both(COMPARED, LATER),
    Case(PROBES, COMPARED, LATER, PROBING_WORKER),
    Case(BROWSERS, COMPARED, LATER, BROWSERS),
)
CROWD = _both(1000, LATER)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one case."""

    case: Case
    traffic: Traffic

    @property
    def half(self) -> float:
        """Return the median seconds from ready to published."""
        return quantile(self.traffic.waits, 0.5)


def steady(sizes: Sizes) -> Answer:
    """Measure all cases, those of a group at the same time, and one beside all groups."""
    encode = sizes.encode_seconds
    long = Case(LONG.format(encode), 20, (encode, encode + 20), has_webhooks=True)
    with long.running(sizes) as traffic:
        fill_up([traffic], 1.0)
        traffic.begin()
        seen = [
            *_group(FEW, sizes, sizes.few_fill_seconds, sizes.few_seconds),
            *_group(MANY, sizes, sizes.fill_seconds, sizes.steady_seconds),
            *_group(CROWD, sizes, sizes.fill_seconds, sizes.crowd_seconds),
        ]
        traffic.record()
        traffic.end()
    return _answer(sizes, [*seen, Seen(long, traffic)])


def _group(cases: Sequence[Case], sizes: Sizes, fill: float, seconds: float) -> list[Seen]:
    with ExitStack() as running:
        traffic = [running.enter_context(case.running(sizes)) for case in cases]
        fill_up([each for each in traffic if not isinstance(each, Day)], fill)
        follow(traffic, fill)
        measure(traffic, seconds)
    seen = [Seen(case, each) for case, each in zip(cases, traffic, strict=True)]
    assert [each.case.name for each in seen if not each.traffic.waits] == []
    return seen


def _limit(in_flight: int) -> tuple[float, float]:
    """Return the seconds between two looks at an upload, and the requests a second, in theory."""
    pages = max(1, in_flight // ROWS_PER_REQUEST)
    seconds = min(float(pages), INTERVAL_SECONDS)
    return seconds, pages / seconds


def _answer(sizes: Sizes, seen: list[Seen]) -> Answer:
    how = HOW.format(
        older=sizes.older_assets,
        soon=SOON,
        later=LATER,
        small=sizes.few_seconds,
        middle=sizes.steady_seconds,
        crowd=sizes.crowd_seconds,
        interval=INTERVAL_SECONDS,
    )
    by_name = {each.case.name: each for each in seen}
    compared = [by_name[name] for name in (str(COMPARED), PROBES, BROWSERS)]
    return Answer(
        "Latency: from ready to published",
        how,
        tuple(_rows(by_name, sizes)),
        (_detail(seen),),
        {"steady": _waits_chart(compared), "requests": _requests_chart(compared)},
    )


def _rows(by_name: dict[str, Seen], sizes: Sizes) -> Iterator[Row]:
    for number in (1, 2, 5, 20, 100, COMPARED, 1000):
        ours, told = by_name[str(number)], by_name[f"{number}, {WEBHOOKS}"]
        others = [by_name[name] for name in (PROBES, BROWSERS) if number == COMPARED]
        look, rate = _limit(number)
        yield Row(
            f"{number:,} in flight: {COST}",
            _cost(ours),
            "; ".join(
                [f"{WEBHOOKS}: {_cost(told)}", *(f"{o.case.name}: {_cost(o)}" for o in others)]
            ),
            "; ".join(
                f"p50 {o.half / ours.half:.1f}, requests {_ratio(o, ours):.1f}" for o in others
            ),
            f"{look * 0.5:.1f} / {look * 0.95:.1f}; {rate:.0f}",
            is_headline=number in (1, COMPARED),
        )
    ours, *others = (by_name[name] for name in (str(COMPARED), PROBES, BROWSERS))
    yield Row(
        f"{COMPARED} in flight: requests that Mux refused",
        _refused(ours),
        "; ".join(f"{other.case.name}: {_refused(other)}" for other in others),
        limit="0%",
    )
    names = [case.name for case in SPECIAL]
    for name in (*names, LONG.format(sizes.encode_seconds)):
        case = by_name[name].case
        usual = f"{case.in_flight}: {_cost(by_name[str(case.in_flight)])}"
        yield Row(f"{case.name}: the same", _cost(by_name[case.name]), usual)
    yield _day_row(by_name[DAY.name], sizes)


def _day_row(real: Seen, sizes: Sizes) -> Row:
    day = school_day()
    return Row(
        f"12 uploads in {DAY_HOURS:g} hours, simulated: ready to published, p50 / p95 in seconds; "
        "Mux requests a day",
        f"{quantile(day.waits, 0.5):.2f} / {quantile(day.waits, 0.95):.2f}; {day.requests}",
        f"real, all within {sizes.few_seconds:g} s: {real.traffic.quantiles(0.5, 0.95)}; "
        f"{real.traffic.requests}",
    )


def _cost(seen: Seen) -> str:
    return f"{seen.traffic.quantiles(0.5, 0.95)}; {seen.traffic.per_second:.2f}"


def _ratio(other: Seen, ours: Seen) -> float:
    return other.traffic.per_second / ours.traffic.per_second


def _refused(seen: Seen) -> str:
    return f"{seen.traffic.refused / max(1, seen.traffic.requests):.0%}"


def _detail(seen: list[Seen]) -> Detail:
    heads = ("In flight", "Published", "p50", "p95", "p99", "Most", "Mux requests", "429")
    return Detail(
        heads,
        tuple(
            (
                each.case.name,
                f"{len(each.traffic.waits):,}",
                *(f"{each.traffic.quantiles(share)} s" for share in (0.5, 0.95, 0.99, 1)),
                f"{each.traffic.requests:,}",
                f"{each.traffic.refused:,}",
            )
            for each in seen
        ),
    )


def _waits_chart(compared: list[Seen]) -> Lines:
    lines = [
        Line(
            each.case.name if each.case.way != WORKER else "worker",
            tuple((quantile(each.traffic.waits, n / 100), float(n)) for n in range(100)),
            is_ours=each is compared[0],
        )
        for each in compared
    ]
    best = Line("one request a second", ((0, 0), (_limit(COMPARED)[0], 100)), is_limit=True)
    title = f"{COMPARED} uploads in flight: ready to published"
    return Lines(title, "seconds", "published, %", (*lines, best))


def _requests_chart(compared: list[Seen]) -> Bars:
    bars = tuple(
        Bar(
            each.case.name if each.case.way != WORKER else "worker",
            each.traffic.per_second,
            each is compared[0],
        )
        for each in compared
    )
    title = f"{COMPARED} uploads in flight: requests to Mux"
    return Bars(title, "requests a second", bars, PER_SECOND, f"Mux allows {PER_SECOND}")
