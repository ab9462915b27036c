"""The size of each measurement, for a full and for a quick run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of lessons, seconds, and repetitions."""

    rounds: int = 3
    drain_lessons: int = 10_000
    slow_lessons: int = 500
    in_flight: int = 200
    older_assets: int = 5_000
    ready_after_seconds: tuple[float, float] = (20, 120)
    warm_up_seconds: float = 300
    steady_seconds: float = 420
    idle_seconds: float = 300
    hurried_seconds: float = 180
    starts: int = 7
    webhook_events: int = 3_000


FULL = Sizes()
QUICK = Sizes(
    rounds=1,
    drain_lessons=1_000,
    slow_lessons=20,
    in_flight=60,
    ready_after_seconds=(5, 20),
    warm_up_seconds=40,
    steady_seconds=20,
    idle_seconds=20,
    hurried_seconds=10,
    starts=2,
    webhook_events=400,
)
