"""Draw the chart of the last day: lessons published and failed in each hour. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HOURS = 24
HEIGHT, MARGIN_TOP = 112, 14
STEP, BAR_WIDTH = 30, 22
MIN_BAR_HEIGHT = 2.0


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
class Chart:
    """The day, oldest hour first; published upwards from `base`, failed downwards."""

    bars: tuple[Bar, ...]
    base: float

    @property
    def published(self) -> int:
        """Return how many lessons were published."""
        return sum(bar.published for bar in self.bars)

    @property
    def failed(self) -> int:
        """Return how many lessons failed."""
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
        text = f"In the last day {self.published:,} were published and {self.failed:,} failed."
        best = max(self.bars, key=lambda bar: bar.published)
        if best.published:
            text += f" Most in one hour: {best.published:,} published, {best.when}."
        return text


def draw(hours: Iterable[Mapping[str, Any]], counted_seconds: float | None = None) -> Chart:
    """Return the chart, all bars on one scale; hours before `counted_seconds` were not counted."""
    by_age = {int(hour["hours_ago"]): hour for hour in hours}
    ups = [int(by_age.get(ago, {}).get("published", 0)) for ago in range(HOURS)]
    downs = [int(by_age.get(ago, {}).get("failed", 0)) for ago in range(HOURS)]
    scale = HEIGHT / max(1, max(ups) + max(downs))
    bars = tuple(
        Bar(
            ago,
            ups[ago],
            downs[ago],
            (HOURS - 1 - ago) * STEP + (STEP - BAR_WIDTH) // 2,
            _height(ups[ago], scale),
            _height(downs[ago], scale),
            counted_seconds is None or ago * 3600 < counted_seconds,
        )
        for ago in reversed(range(HOURS))
    )
    base = MARGIN_TOP + (scale * max(ups) if max(ups) + max(downs) else HEIGHT)
    return Chart(bars, round(base, 1))


def _height(count: int, scale: float) -> float:
    """Return a bar's height; a bar for at least one lesson is visible."""
    return 0.0 if not count else max(MIN_BAR_HEIGHT, round(count * scale, 1))
