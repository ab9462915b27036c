"""Measure the latency by scanning alone, while uploads keep arriving, and its cost."""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from bench.answers import Answer, Bar, Bars, Detail, Line, Lines, Row, quantile
from bench.browsers import Browsers, Tab
from bench.sizes import Sizes
from bench.stage import INSTRUCTOR, PROBING_WORKER, WORKER, Stage, stage
from sandbox.mux.timeline import Timeline

PER_SECOND = 5
LOOK_EVERY_SECONDS = 0.2
ROWS_PER_REQUEST = 100
LOOKS = ", at one request a second"

HOW = """\
{in_flight} uploads are in flight at any time. Each is ready after a random {low:g} to {high:g} s,
and a new one replaces it once its lesson is published. Mux has {older:,} older assets as well.
Mux's limits hold (5 GET a second), and the worker's settings are the defaults. The uploads begin
one after the other; after {warm_up:g} s more, {seconds:g} s are measured. Three ways run at the
same time, each with its own Postgres, PostgREST and Mux: the worker; the worker with its sweep
switched off, which sends a request for each upload; and browsers that poll as the report's
`useAssetStatusPolling` does, one GET of the asset a poll, with every page open until the end. The
limit in theory is one request a second, each of which answers for a hundred uploads: a ready upload
then waits {average:g} s on average. More frequent looks cost more requests."""


@dataclass(slots=True)
class Way:
    """One way to get lessons published, and what was seen of it."""

    name: str
    here: Stage
    chance: random.Random
    opened: Callable[[UUID, str], None] = lambda _lesson, _asset_id: None
    ready_at: dict[str, float] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    asked: int = 0
    refused: int = 0
    seconds: float = 0.0

    def upload(self, sizes: Sizes) -> None:
        """Upload one more video."""
        prepare = self.chance.uniform(*sizes.ready_after_seconds)
        timeline = Timeline(file_after_seconds=0, prepare_seconds=prepare)
        upload = self.here.mux.state.create_upload(timeline)
        asset_id = self.here.mux.state.upload(upload).asset_id or ""
        self.ready_at[upload] = time.time() + prepare
        lesson = uuid4()
        self.here.db.execute(
            "with lesson as (insert into lessons (id, creator_id, title) "
            "values (%s, %s, 'A lesson')) "
            "insert into mux_asset_tracking (lesson_id, upload_id) values (%s, %s)",
            [lesson, INSTRUCTOR, lesson, upload],
        )
        self.opened(lesson, asset_id)

    def look(self, sizes: Sizes) -> None:
        """Record what was published, and replace it."""
        rows = self.here.db.execute(
            "select upload_id, extract(epoch from coalesce(settled_at, updated_at)) "
            "from mux_asset_tracking where status = 'ready' and upload_id = any(%s)",
            [list(self.ready_at)],
        ).fetchall()
        for upload, at in rows:
            self.waits.append(max(0.0, float(at) - self.ready_at.pop(upload)))
            self.upload(sizes)

    def begin(self) -> None:
        """Discard the measurements of the warm-up."""
        self.waits.clear()
        self.here.mux.requests.clear()

    def end(self, seconds: float) -> None:
        """Count the requests to Mux in this time."""
        seen = self.here.mux.requests.all()
        self.asked, self.refused = len(seen), sum(request.status == 429 for request in seen)
        self.seconds = seconds


def steady(sizes: Sizes) -> Answer:
    """Measure three ways at the same time."""
    with ExitStack() as running:
        ways = [
            Way(name, running.enter_context(stage(PER_SECOND)), random.Random(1))
            for name in ("worker", "one GET a lesson", "report's browsers")
        ]
        running.enter_context(ways[0].here.worker(WORKER))
        running.enter_context(ways[1].here.worker(PROBING_WORKER))
        browsers = running.enter_context(Browsers(ways[2].here))
        ways[2].opened = lambda lesson, asset_id: browsers.open(Tab(lesson, asset_id))
        for way in ways:
            way.here.mux.state.seed(sizes.older_assets)
        _fill_up(ways, sizes)
        _go_on(ways, sizes, sizes.warm_up_seconds)
        for way in ways:
            way.begin()
        began = time.monotonic()
        _go_on(ways, sizes, sizes.steady_seconds)
        for way in ways:
            way.end(time.monotonic() - began)
    assert all(way.waits for way in ways)
    return _answer(sizes, ways)


def _fill_up(ways: list[Way], sizes: Sizes) -> None:
    """Begin the uploads one after the other; begun together, they would be asked about together."""
    longest = sizes.ready_after_seconds[1]
    for _ in range(sizes.in_flight):
        for way in ways:
            way.upload(sizes)
        _go_on(ways, sizes, longest / sizes.in_flight)


def _go_on(ways: list[Way], sizes: Sizes, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for way in ways:
            way.look(sizes)
        time.sleep(min(LOOK_EVERY_SECONDS, max(0.0, deadline - time.monotonic())))


def _answer(sizes: Sizes, ways: list[Way]) -> Answer:
    ours, others = ways[0], ways[1:]
    low, high = sizes.ready_after_seconds
    look_seconds = sizes.in_flight / ROWS_PER_REQUEST
    how = HOW.format(
        in_flight=sizes.in_flight,
        low=low,
        high=high,
        older=sizes.older_assets,
        warm_up=sizes.warm_up_seconds,
        seconds=sizes.steady_seconds,
        average=look_seconds / 2,
    )
    mix = f"{sizes.in_flight} uploads in flight"
    rates = {way.name: way.asked / way.seconds for way in ways}
    shares = (0.5, 0.95, 0.99)

    def waits(way: Way) -> str:
        return " / ".join(f"{quantile(way.waits, share):.1f}" for share in shares)

    half = quantile(ours.waits, 0.5)
    rows = (
        Row(
            f"{mix}: ready to published, p50 / p95 / p99 in seconds",
            waits(ours),
            "; ".join(f"{way.name}: {waits(way)}" for way in others),
            "p50: " + "; ".join(f"{quantile(way.waits, 0.5) / half:.1f}" for way in others),
            " / ".join(f"{share * look_seconds:.1f}" for share in shares) + LOOKS,
        ),
        Row(
            f"{mix}: Mux requests a second",
            f"{rates['worker']:.2f}",
            "; ".join(f"{way.name}: {rates[way.name]:.2f}" for way in others),
            "; ".join(f"{rates[way.name] / rates['worker']:.1f}" for way in others),
            "1",
        ),
        Row(
            f"{mix}: requests that Mux refused",
            f"{ours.refused / ours.asked:.0%}",
            "; ".join(f"{way.name}: {way.refused / way.asked:.0%}" for way in others),
            limit="0%",
        ),
    )
    return Answer(
        "Latency: from ready to published, by scanning alone",
        how,
        rows,
        (_detail(ways),),
        {
            "steady": _waits_chart(ways, mix, look_seconds),
            "requests": _requests_chart(ways, rates, mix),
        },
    )


def _detail(ways: list[Way]) -> Detail:
    return Detail(
        ("Way", "Published", "p50", "p95", "p99", "Most", "Mux requests", "429"),
        tuple(
            (
                way.name,
                str(len(way.waits)),
                *(f"{quantile(way.waits, share):.1f} s" for share in (0.5, 0.95, 0.99)),
                f"{max(way.waits):.1f} s",
                str(way.asked),
                str(way.refused),
            )
            for way in ways
        ),
    )


def _waits_chart(ways: list[Way], mix: str, look_seconds: float) -> Lines:
    lines = [
        Line(
            way.name,
            tuple((quantile(way.waits, n / 100), float(n)) for n in range(100)),
            is_ours=way is ways[0],
        )
        for way in ways
    ]
    best = Line("one request a second", ((0, 0), (look_seconds, 100)), is_limit=True)
    return Lines(f"{mix}: ready to published", "seconds", "published, %", (*lines, best))


def _requests_chart(ways: list[Way], rates: dict[str, float], mix: str) -> Bars:
    bars = tuple(Bar(way.name, rates[way.name], way is ways[0]) for way in ways)
    name = f"Mux allows {PER_SECOND}"
    return Bars(f"{mix}: requests to Mux", "requests a second", bars, PER_SECOND, name)
