"""The mixes of due rows, and of what is at Mux, by which the sweep's thresholds are chosen."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from bench.sweep_world import Row, World

DAY_HOURS = 8.0
UPLOADS_A_DAY = 12


@dataclass(frozen=True, slots=True)
class Case:
    """A mix of due rows and of what is at Mux."""

    name: str
    story: str
    build: Callable[[], World]
    ideal: int
    """Requests that somebody would need who knows where everything is."""


def _world(videos: int) -> World:
    world = World()
    for _ in range(videos):
        world.add()
    return world


def _few_among_few() -> World:
    world = _world(10)
    world.track(world.videos[-3:])
    return world


def _the_newest() -> World:
    world = _world(100_000)
    world.track(world.videos[-100:])
    return world


def _the_oldest() -> World:
    world = _world(100_000)
    world.track(random.Random(2).sample(world.videos[:30_000], 50))
    return world


def _spread_thin() -> World:
    world = _world(100_000)
    world.track(random.Random(3).sample(world.videos[-40_000:], 200))
    return world


def _after_an_outage() -> World:
    world = _world(100_000)
    world.track(world.videos[-10_000:])
    return world


def _in_bursts() -> World:
    """Ours come by the hundred, another app's by the five hundred."""
    world = _world(100_000)
    world.track(
        video
        for first in range(88_000, 100_000, 600)
        for video in world.videos[first + 500 : first + 600]
    )
    return world


def _shared() -> World:
    world = _world(100_000)
    world.track(world.videos[-4_000::20])
    return world


def _shifting() -> World:
    """Half of the newest 300 uploads have no file yet; ten new ones come with every request."""
    world = _world(10_000)
    world.track([world.add(has_asset=number % 2 == 0) for number in range(300)])

    def ten_more() -> None:
        for number in range(10):
            world.add(has_asset=number % 2 == 0)

    world.when_asked = ten_more
    return world


CASES = (
    Case("3 of 10", "3 rows are due; Mux has 10 assets in all.", _few_among_few, 1),
    Case("the newest", "The newest 100 of 100,000 assets are due.", _the_newest, 1),
    Case("the oldest", "50 rows are due, all from the first third of 100,000.", _the_oldest, 50),
    Case("spread thin", "200 are due, anywhere among the newest 40,000.", _spread_thin, 200),
    Case("an outage", "10,000 are due and ready, the newest of 100,000.", _after_an_outage, 100),
    Case("shared", "200 are due; one asset in 20 is ours.", _shared, 40),
    Case("in bursts", "2,000 are due, 100 at a time behind 500 of another app.", _in_bursts, 120),
    Case(
        "no file yet",
        "300 are due, half of them uploads without a file; ten new uploads come with every "
        "request, so that pages shift.",
        _shifting,
        6,
    ),
)


@dataclass(frozen=True, slots=True)
class SchoolDay:
    """What a day with a few uploads cost, and the seconds that each ready video waited."""

    requests: int
    waits: list[float]


def school_day() -> SchoolDay:
    """Let the day of a small school pass; each of its uploads is ready after 1 to 10 minutes."""
    world, chance, waits = _world(10_000), random.Random(5), list[float]()
    seconds = DAY_HOURS * 3600
    starts = sorted(chance.uniform(0, seconds) for _ in range(UPLOADS_A_DAY))
    world.when_published = lambda row: waits.append(world.now - row.video.ready_at)
    for start in starts:
        asyncio.run(world.work(start))
        world.track([world.add(ready_at=world.now + chance.uniform(60, 600))])
    asyncio.run(world.work(seconds + 600))
    assert len(waits) == UPLOADS_A_DAY
    return SchoolDay(world.requests, waits)


def in_flight(count: int, published: Callable[[float], None]) -> World:
    """Return a world with uploads in flight among 10,000 assets; one that is published is replaced.

    Each is ready after 20 to 120 s. `published` is called with the seconds that one waited then.
    """
    world = _world(10_000)
    chance = random.Random(4)

    def one_more() -> None:
        world.track([world.add(ready_at=world.now + chance.uniform(20, 120))])

    def replaced(row: Row) -> None:
        published(world.now - row.video.ready_at)
        one_more()

    world.when_published = replaced
    for _ in range(count):
        one_more()
    return world
