"""The size of each measurement, for a full and for a quick run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of lessons, seconds, and repetitions."""

    rounds: int = 3
    drain_lessons: int = 10_000
    slow_lessons: int = 50
    older_assets: int = 5_000
    fill_seconds: float = 45
    few_fill_seconds: float = 32
    few_seconds: float = 180
    steady_seconds: float = 180
    crowd_seconds: float = 90
    encode_seconds: float = 600
    outage_seconds: float = 60
    idle_seconds: float = 60
    hurried_seconds: float = 30
    starts: int = 7
    webhook_events: int = 3_000


FULL = Sizes()
QUICK = Sizes(
    rounds=1,
    drain_lessons=1_000,
    slow_lessons=20,
    older_assets=500,
    fill_seconds=10,
    few_fill_seconds=5,
    few_seconds=60,
    steady_seconds=110,
    crowd_seconds=110,
    encode_seconds=60,
    outage_seconds=5,
    idle_seconds=20,
    hurried_seconds=10,
    starts=2,
    webhook_events=400,
)
