"""Draw the chart of the last day: lessons published and failed in each hour. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HOURS = 24
HEIGHT, MARGIN_TOP, MARGIN_BOTTOM, LEFT = 132, 10, 28, 40
STEP, BAR_WIDTH = 16, 12
MIN_BAR_HEIGHT = 2.0
MAX_STEPS = 4
"""Into how many steps the scale is divided, at most, up and down together."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour: its counts, and the position and heights of its two bars."""

    hours_ago: int
    published: int
    failed: int
    x: int
    up: float
    down: float
    is_counted: bool

    @property
    def when(self) -> str:
        """Return which hour it is."""
        return "the last hour" if self.hours_ago == 0 else f"{self.hours_ago} h ago"


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the scale: its number of lessons, and where it is."""

    value: int
    y: float


@dataclass(frozen=True, slots=True)
class Chart:
    """The day, oldest hour first; published upwards from `base`, failed downwards."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    base: float
    left: int = LEFT
    step: int = STEP
    bar_width: int = BAR_WIDTH
    width: int = LEFT + HOURS * STEP
    height: int = MARGIN_TOP + HEIGHT + MARGIN_BOTTOM

    @property
    def published(self) -> int:
        """Return how many lessons were published."""
        return sum(bar.published for bar in self.bars)

    @property
    def failed(self) -> int:
        """Return how many times lessons failed."""
        return sum(bar.failed for bar in self.bars)

    @property
    def is_complete(self) -> bool:
        """Whether all hours were counted."""
        return all(bar.is_counted for bar in self.bars)

    @property
    def description(self) -> str:
        """Return in words what the chart shows."""
        if not self.published + self.failed:
            return "Nothing was published and nothing failed in the last day."
        up = max(self.bars, key=lambda bar: bar.published)
        down = max(self.bars, key=lambda bar: bar.failed)
        most = [f"{up.published:,} published, {up.when}"] if up.published else []
        most += [f"{down.failed:,} failed, {down.when}"] if down.failed else []
        return f"Most in one hour: {'; '.join(most)}."

    def x_of(self, hours_ago: int) -> int:
        """Return where so many hours ago are."""
        return self.left + (HOURS - hours_ago) * STEP


def draw(hours: Iterable[Mapping[str, Any]], counted_seconds: float | None = None) -> Chart:
    """Return the chart, all bars on one scale; hours before `counted_seconds` were not counted."""
    by_age = {int(hour["hours_ago"]): hour for hour in hours}
    ups = [int(by_age.get(ago, {}).get("published", 0)) for ago in range(HOURS)]
    downs = [int(by_age.get(ago, {}).get("failed", 0)) for ago in range(HOURS)]
    step = _step(max(ups), max(downs))
    highest, lowest = _steps(max(ups), step) or 1, _steps(max(downs), step)
    scale = HEIGHT / ((highest + lowest) * step)
    base = round(MARGIN_TOP + highest * step * scale, 1)
    bars = tuple(
        Bar(
            ago,
            ups[ago],
            downs[ago],
            LEFT + (HOURS - 1 - ago) * STEP + (STEP - BAR_WIDTH) // 2,
            _height(ups[ago], scale),
            _height(downs[ago], scale),
            counted_seconds is None or ago * 3600 < counted_seconds,
        )
        for ago in reversed(range(HOURS))
    )
    ticks = tuple(
        Tick(abs(number) * step, round(base - number * step * scale, 1))
        for number in range(highest, -lowest - 1, -1)
    )
    return Chart(bars, ticks, base)


def _step(most_up: int, most_down: int) -> int:
    """Return the smallest round number of which `MAX_STEPS` suffice."""
    step = 1
    while _steps(most_up, step) + _steps(most_down, step) > MAX_STEPS:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def _steps(count: int, step: int) -> int:
    return -(-count // step)


def _height(count: int, scale: float) -> float:
    """Return a bar's height; a bar for at least one lesson is visible."""
    return 0.0 if not count else max(MIN_BAR_HEIGHT, round(count * scale, 1))
