"""The chart of the last day: what was published and what failed in each hour. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HOURS = 24
WIDTH, TALL, TOP = 720, 112, 14
STEP, BAR = 30, 22


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour: its numbers, and where its two bars stand."""

    hours_ago: int
    published: int
    failed: int
    x: int
    up: float
    down: float
    is_counted: bool

    @property
    def when(self) -> str:
        """Say which hour it is."""
        return "the last hour" if self.hours_ago == 0 else f"{self.hours_ago} h ago"


@dataclass(frozen=True, slots=True)
class Chart:
    """The day, the oldest hour first; published upwards from `base`, failed downwards."""

    bars: tuple[Bar, ...]
    base: float

    @property
    def published(self) -> int:
        """How many were published."""
        return sum(bar.published for bar in self.bars)

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(bar.failed for bar in self.bars)

    @property
    def is_whole(self) -> bool:
        """Whether all hours were counted."""
        return all(bar.is_counted for bar in self.bars)

    @property
    def sentence(self) -> str:
        """Say in words what the chart shows."""
        if not self.published + self.failed:
            return "Nothing was published and nothing failed in the last day."
        said = f"In the last day {self.published:,} published and {self.failed:,} failed."
        best = max(self.bars, key=lambda bar: bar.published)
        if best.published:
            said += f" Most in one hour: {best.published:,} published, {best.when}."
        return said


def draw(hours: Iterable[Mapping[str, Any]], counted_seconds: float | None = None) -> Chart:
    """Lay the bars out, all on one scale. Hours before `counted_seconds` were not counted."""
    told = {int(hour["hours_ago"]): hour for hour in hours}
    ups = [int(told.get(ago, {}).get("published", 0)) for ago in range(HOURS)]
    downs = [int(told.get(ago, {}).get("failed", 0)) for ago in range(HOURS)]
    each = TALL / max(1, max(ups) + max(downs))
    bars = tuple(
        Bar(
            ago,
            ups[ago],
            downs[ago],
            (HOURS - 1 - ago) * STEP + (STEP - BAR) // 2,
            _tall(ups[ago], each),
            _tall(downs[ago], each),
            counted_seconds is None or ago * 3600 < counted_seconds,
        )
        for ago in reversed(range(HOURS))
    )
    base = TOP + (each * max(ups) if max(ups) + max(downs) else TALL)
    return Chart(bars, round(base, 1))


def _tall(number: int, each: float) -> float:
    """Give a bar's height; what is there at all can be seen."""
    return 0.0 if not number else max(2.0, round(number * each, 1))
