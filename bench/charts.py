"""Draw the charts, each as an SVG that can be read on a light page and on a dark one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.answers import Bars, Chart, Groups, Lines, Panels

OURS, OTHERS, INK, PAPER = "#0969da", "#a0a7b0", "#24292f", "#ffffff"
LIMIT = "#cf222e"
STYLES = ("-", "--", ":")
WIDTH = 7.2
ROOM_FOR_NUMBERS = 1.18
BAR_HEIGHT = 0.36
PANEL_COLUMNS = 2
PANEL_HEIGHT = 1.5
_ON_PAPER = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
"""The background that keeps a number readable on the limit's line."""


def draw(chart: Chart, file: Path) -> None:
    """Write a chart to a file."""
    os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp())
    match chart:
        case Bars():
            _draw_bars(chart, file)
        case Groups():
            _draw_groups(chart, file)
        case Lines():
            _draw_lines(chart, file)
        case Panels():
            _draw_panels(chart, file)


@contextmanager
def _axes(file: Path, title: str, height: float) -> Iterator[Any]:
    """Return the axes of a picture with one chart."""
    with _figure(file, title, height) as figure:
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        yield axes


@contextmanager
def _figure(file: Path, title: str, height: float) -> Iterator[Any]:
    """Return a picture with its own background, so that the page's colour does not matter."""
    import matplotlib  # noqa: PLC0415  # in the extra `bench`
    from matplotlib.figure import Figure  # noqa: PLC0415

    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "bench",  # the same picture is the same file
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
            "font.size": 10,
            "text.color": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )
    figure = Figure(figsize=(WIDTH, height), facecolor=PAPER, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    yield figure
    figure.savefig(file, metadata={"Date": None})


def _draw_bars(chart: Bars, file: Path) -> None:
    height = 1.3 + BAR_HEIGHT * len(chart.bars)
    with _axes(file, chart.title, height) as axes:
        names = [bar.name for bar in chart.bars]
        values = [bar.value for bar in chart.bars]
        colours = [OURS if bar.is_ours else OTHERS for bar in chart.bars]
        drawn = axes.barh(names, values, color=colours)
        axes.bar_label(drawn, [_short(value) for value in values], padding=4, bbox=_ON_PAPER)
        _to_the_right(axes, [*values, chart.limit or 0.0], chart.unit, chart.is_logarithmic)
        if chart.limit is not None:
            axes.axvline(chart.limit, color=LIMIT, linestyle="--", label=chart.limit_name)
            _legend(axes)


def _draw_groups(chart: Groups, file: Path) -> None:
    size = len(chart.bars) + 0.8
    with _axes(file, chart.title, 1.3 + 0.24 * size * len(chart.names)) as axes:
        for number, (name, values) in enumerate(chart.bars.items()):
            places = [size * group + number for group in range(len(values))]
            colour = OTHERS if number else OURS
            drawn = axes.barh(places, values, height=0.9, color=colour, label=name)
            axes.bar_label(
                drawn, [_short(value) for value in values], padding=4, fontsize=8, bbox=_ON_PAPER
            )
        middle = (len(chart.bars) - 1) / 2
        axes.set_yticks([size * g + middle for g in range(len(chart.names))], chart.names)
        reach = len(chart.bars) / 2
        for group, limit in enumerate(chart.limits):
            place = size * group + middle
            label = chart.limit_name if group == 0 else None
            axes.vlines(limit, place - reach, place + reach, color=LIMIT, label=label)
        longest = [value for values in chart.bars.values() for value in values]
        _to_the_right(axes, [*longest, *chart.limits], chart.unit, is_logarithmic=True)
        _legend(axes)


def _draw_lines(chart: Lines, file: Path) -> None:
    with _axes(file, chart.title, 3.2) as axes:
        styles = iter(STYLES)
        for line in chart.lines:
            across, up = zip(*line.points, strict=True)
            colour = LIMIT if line.is_limit else OURS if line.is_ours else INK
            style = "--" if line.is_limit else next(styles)
            axes.plot(across, up, color=colour, linestyle=style, label=line.name)
        axes.set_xlabel(chart.across)
        axes.set_ylabel(chart.up)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        _legend(axes)


def _draw_panels(chart: Panels, file: Path) -> None:
    rows = -(-len(chart.charts) // PANEL_COLUMNS)
    with _figure(file, chart.title, 0.6 + PANEL_HEIGHT * rows) as figure:
        for number, panel in enumerate(chart.charts, 1):
            axes = figure.add_subplot(rows, PANEL_COLUMNS, number)
            axes.spines[["top", "right"]].set_visible(False)
            for line in panel.lines:
                across, up = zip(*line.points, strict=True)
                colour, style = (LIMIT, "--") if line.is_limit else (OURS, "-")
                axes.plot(across, up, color=colour, linestyle=style, linewidth=1)
            axes.set_title(panel.title, fontsize=9, loc="left")
            axes.tick_params(labelsize=8)
            axes.set_xlabel(panel.across, fontsize=8)
            axes.set_ylim(bottom=0)
            axes.set_xlim(left=0)


def _to_the_right(axes: Any, values: list[float], unit: str, is_logarithmic: bool) -> None:
    """Draw horizontal bars, the first one on top, with space for their numbers."""
    axes.invert_yaxis()
    if is_logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(min(0.5, *values), max(values) * 3)
    else:
        axes.set_xlim(0, max(values) * ROOM_FOR_NUMBERS)
    axes.set_xlabel(unit)


def _legend(axes: Any) -> None:
    axes.figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
