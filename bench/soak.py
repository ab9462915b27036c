"""Watch what a worker holds in an hour of work: `make soak`, or `python -m bench.soak MINUTES`.

The worker has webhooks, and the default settings otherwise. An upload begins every second, pages of
the dashboard are read, and every half minute something is disturbed for three seconds. Lessons are
deleted when they are three minutes old, so that as many exist at any time, and everything that the
worker holds must stay what it was. Writes docs/promises.md and docs/images/soak.svg.
"""

import argparse
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.answers import Line, Lines, Panels
from bench.charts import draw
from bench.counted import FILE_VARIABLE
from bench.report_file import machine
from bench.samples import BOUNDS, Samples, gauges_of_worker
from bench.soak_traffic import Pace, Traffic
from bench.stage import CHECKOUT, Stage, stage
from bench.traffic import wait_for_port, web_settings
from bench.trend import Trend, span_means
from bench.writing import replace_block, table

WORKER = "bench.counted"
WARM_UP_SHARE = 1 / 6
SAMPLE_SECONDS = 1.0
CHART_POINTS = 240
START_TIMEOUT_SECONDS = 60.0
MUX_GETS_PER_SECOND = 5
HEADS = ("Held by the worker", "At the start", "At the end", "Growth an hour", "Verdict")
PAGE_HEAD = "# Promises\n\nWhat the worker promises, and the runs that show it.\n\n"

HOW = """\
A worker with webhooks, the Dockerfile's `MALLOC_MMAP_THRESHOLD_` and otherwise the default settings
ran for {minutes:g} minutes: {uploads:,} uploads, one a second;
{visits:,} pages of the dashboard, the metrics and the health check;
{faults} disturbances, one after the other: Mux unavailable, silent, or cutting connections;
Supabase cutting connections before and after the commit; PostgREST stopped; clients that connect
and send nothing; forged webhooks. Lessons were deleted after three minutes, {deleted:,} of them, so
that as many existed at any time. At the end every lesson was published.

The first {warm_up:.0f} minutes are left out. The growth is the slope of a line through the means of
twenty equal spans, by least squares, with its standard error. "Flat": zero lies in its 95 %
confidence interval, or the slope is negative or below the bound in brackets. Dead rows are those of
the tables that have as many rows at any time; the audit and the upload history are to grow. The
blocks are those that Python gives to objects: a leak shows there first, while resident memory also
has the gaps between them."""


@contextmanager
def soaking(here: Stage, pace: Pace, **settings: str) -> Iterator[tuple[Traffic, Samples]]:
    """Run a worker while the block lasts, with its traffic and the samples of what it holds."""
    settings = {
        **web_settings(),
        "OPS_TOKEN": secrets.token_urlsafe(),
        "MALLOC_MMAP_THRESHOLD_": "131072",  # as in the Dockerfile
        **settings,
    }
    with tempfile.TemporaryDirectory() as directory:
        counts = Path(directory) / "counts"
        with here.worker(WORKER, **settings, **{FILE_VARIABLE: str(counts)}) as process:
            wait_for_port(settings, START_TIMEOUT_SECONDS)
            samples = Samples(gauges_of_worker(process, counts, here.db))
            yield Traffic(here, settings, pace), samples


def soak(minutes: float) -> tuple[Traffic, Samples]:
    """Watch a worker for some minutes; raise if a lesson was not published."""
    with (
        stage(MUX_GETS_PER_SECOND) as here,
        soaking(here, Pace()) as (traffic, samples),
        traffic.running(),
    ):
        samples.take_for(minutes * 60, SAMPLE_SECONDS)
    return traffic, samples


def report(minutes: float, traffic: Traffic, trends: Mapping[str, Trend]) -> str:
    """Return what was seen as Markdown."""
    warm_up = minutes * WARM_UP_SHARE
    how = HOW.format(
        minutes=minutes,
        uploads=traffic.uploads,
        visits=traffic.visits,
        faults=traffic.faults,
        deleted=traffic.deleted,
        warm_up=warm_up,
    )
    rows = [_row(name, trend, warm_up / 60, minutes / 60) for name, trend in trends.items()]
    picture = "![What the worker held in the course of the run](images/soak.svg)"
    return f"## What the worker holds\n\n{how}\n\n{table(HEADS, rows)}\n\n{machine()}\n\n{picture}"


def _row(name: str, trend: Trend, first: float, last: float) -> tuple[str, ...]:
    bound = BOUNDS[name]
    start, end = (trend.intercept + trend.per_hour * at for at in (first, last))
    return (
        name,
        f"{start:,.1f}",
        f"{end:,.1f}",
        f"{trend.per_hour:+,.2f} ± {trend.error:,.2f}",
        f"{'grows' if trend.grows(bound) else 'flat'} ({bound:,g})",
    )


def chart(minutes: float, samples: Samples, trends: Mapping[str, Trend]) -> Panels:
    """Return a small chart of each gauge, with the line through it."""
    first, last = minutes * WARM_UP_SHARE, minutes
    charts = []
    for name, trend in trends.items():
        points = tuple(
            (at * 60, value) for at, value in span_means(samples.points[name], CHART_POINTS)
        )
        line = tuple((at, trend.intercept + trend.per_hour * at / 60) for at in (first, last))
        lines = (Line("seen", points, is_ours=True), Line("slope", line, is_limit=True))
        charts.append(Lines(name, "minutes", "", lines))
    return Panels("What the worker held in the course of the run", tuple(charts))


def main(argv: Sequence[str] | None = None) -> int:
    """Soak, write the page and the picture, print the block; 1 if something grows."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=60.0)
    parser.add_argument("--page", type=Path, default=CHECKOUT / "docs" / "promises.md")
    arguments = parser.parse_args(argv)
    page: Path = arguments.page
    traffic, samples = soak(arguments.minutes)
    trends = samples.trends(arguments.minutes * WARM_UP_SHARE / 60)
    block = report(arguments.minutes, traffic, trends)
    images = page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    draw(chart(arguments.minutes, samples, trends), images / "soak.svg")
    if not page.exists():
        page.write_text(f"{PAGE_HEAD}<!-- soak: written by make soak -->\n<!-- end -->\n")
    replace_block(page, "soak", block)
    print(block)
    return int(any(trend.grows(BOUNDS[name]) for name, trend in trends.items()))


if __name__ == "__main__":
    sys.exit(main())
