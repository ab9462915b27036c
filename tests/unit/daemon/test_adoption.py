import asyncio
import io
from collections.abc import Callable
from typing import Any

import pytest
from pytest_mock import MockerFixture

from tests.unit.log_lines import logged
from tests.unit.scan.test_observe import FakeMux
from worker.daemon.adoption import PeriodicAdoption
from worker.errors import StatementTimeout, SupabaseNeedsOperator, SupabaseUnavailable
from worker.scan.adopter import Adopter
from worker.supabase.lessons import LessonStore
from worker.telemetry.hooks import Telemetry
from worker.telemetry.outcome_log import OutcomeLog

Json = dict[str, Any]

REVOKED = SupabaseNeedsOperator("42501", "Apply sql/900_grants.sql.")


class Walked:
    """A database that fails over long walks, and sets `stopping` after the last of them."""

    def __init__(self, fault: SupabaseUnavailable, longest_walk: int, passes: int) -> None:
        self.walks: list[tuple[int, int]] = []
        self.stopping = asyncio.Event()
        self._fault = fault
        self.longest_walks = [longest_walk] * passes

    async def call(self, function: str, params: Json) -> list[Any]:
        """Find nothing, or fail if the walk is too long."""
        assert function == "worker_untracked"
        self.walks.append((params["walk"], params["at_most"]))
        if len(self.walks) == len(self.longest_walks):
            self.stopping.set()
        if params["walk"] > self.longest_walks[len(self.walks) - 1]:
            raise self._fault
        return []


async def adopts(
    database: Walked, scans_are_well: Callable[[], bool] = lambda: True, interval: float = 0.0
) -> list[tuple[int, int]]:
    """Run the adoption until the database sets `stopping`; return how far each run went."""
    lessons = LessonStore(database.call)
    adopter = Adopter(FakeMux(), lessons)
    adoption = PeriodicAdoption(
        adopter, lessons, interval, database.stopping, scans_are_well, Telemetry(OutcomeLog())
    )
    async with adoption.running():
        await asyncio.wait_for(database.stopping.wait(), 60)
    return database.walks


async def test_the_first_run_is_beside_the_first_scans_and_the_next_minutes_later(
    mocker: MockerFixture,
) -> None:
    """One scan interval after the start, then sixty; at most five minutes."""
    for interval, expected in (
        (0.5, [0.5, 30.0, 30.0]),
        (5.0, [5.0, 300.0, 300.0]),
        (600.0, [300.0] * 3),
    ):
        database = Walked(SupabaseUnavailable("connection", "down"), 0, 2)
        pauses: list[float] = []

        async def pause(seconds: float, _: asyncio.Event, pauses: list[float] = pauses) -> None:
            pauses.append(seconds)

        mocker.patch("worker.daemon.adoption.sleep_unless_stopping", pause)
        await adopts(database, interval=interval)
        assert pauses == expected


async def test_a_worker_that_stops_at_once_adopts_nothing() -> None:
    """It does not wait for the first run either."""
    database = Walked(REVOKED, 0, 1)
    database.stopping.set()
    assert await adopts(database, interval=5.0) == []


async def test_after_a_statement_timeout_the_steps_are_smaller(out: io.StringIO) -> None:
    """A few lessons that take too long do not stop the others; it is logged once."""
    fault = StatementTimeout("57014", "worker_untracked exceeds the statement timeout.")
    assert await adopts(Walked(fault, 20, 6)) == [
        (2000, 50),
        (200, 5),
        (20, 1),
        (200, 5),
        (20, 1),
        (200, 5),
    ]
    assert logged(out) == [
        {
            "level": "warning",
            "event": "adoption.failed",
            "reason": "57014",
            "message": "worker_untracked exceeds the statement timeout. The next run looks at "
            "200 lessons.",
        }
    ]


async def test_after_many_timeouts_a_run_still_looks_at_some_lessons(out: io.StringIO) -> None:
    """The step never shrinks to nothing, from which it could not grow again."""
    fault = StatementTimeout("57014", "worker_untracked exceeds the statement timeout.")
    assert await adopts(Walked(fault, 0, 9)) == [(2000, 50), (200, 5), *[(20, 1)] * 7]
    assert len(logged(out)) == 1


async def test_an_outage_is_left_to_the_scan_to_log(out: io.StringIO) -> None:
    """Nothing is logged, and nothing changes."""
    fault = SupabaseUnavailable("connection", "down")
    assert await adopts(Walked(fault, 0, 3)) == [(2000, 50)] * 3
    assert logged(out) == []


async def test_a_fault_of_its_own_that_needs_an_operator_is_logged_once(out: io.StringIO) -> None:
    """A grant that only its functions miss, for example: no scan would meet it."""
    assert await adopts(Walked(REVOKED, 0, 3)) == [(2000, 50)] * 3
    assert logged(out) == [
        {
            "level": "error",
            "event": "adoption.failed",
            "reason": "42501",
            "message": "Apply sql/900_grants.sql.",
        }
    ]


async def test_a_fault_that_scans_meet_as_well_is_left_to_them(out: io.StringIO) -> None:
    """It is logged once scans are well and it is still there."""
    database = Walked(REVOKED, 0, 5)
    await adopts(database, lambda: len(database.walks) > 5)
    assert logged(out) == []
    database = Walked(REVOKED, 0, 5)
    await adopts(database, lambda: len(database.walks) > 3)
    assert [line["event"] for line in logged(out)] == ["adoption.failed"]


async def test_a_fault_that_comes_back_is_logged_again(out: io.StringIO) -> None:
    """After a run that succeeded."""
    database = Walked(REVOKED, 0, 4)
    database.longest_walks = [0, 0, 2000, 0]
    await adopts(database)
    assert len(logged(out)) == 2


async def test_the_lessons_that_a_walk_finds_are_adopted() -> None:
    """All of them, with one call."""
    calls: list[tuple[str, Json]] = []

    async def call(function: str, params: Json) -> list[Any]:
        calls.append((function, params))
        if function == "worker_untracked":
            return ["l1", "l2"]
        return [{"outcome": "unchanged", **item} for item in params["adoptions"]]

    lessons = LessonStore(call)
    adopter = Adopter(FakeMux(), lessons)
    await PeriodicAdoption(adopter, lessons, 5.0, asyncio.Event(), lambda: True).adopt()
    assert calls == [
        ("worker_untracked", {"walk": 2000, "at_most": 50}),
        (
            "worker_adopt",
            {
                "adoptions": [{"lesson_id": "l1"}, {"lesson_id": "l2"}],
                "dry_run": False,
                "backfill": None,
                "lease_seconds": None,
            },
        ),
    ]


async def test_a_programming_error_stops_the_worker() -> None:
    """It is raised at the end, and not swallowed by the task."""
    stopping = asyncio.Event()

    async def call(function: str, params: Json) -> list[Any]:
        raise KeyError(function)

    lessons = LessonStore(call)
    adoption = PeriodicAdoption(Adopter(FakeMux(), lessons), lessons, 0.0, stopping, lambda: True)
    with pytest.raises(KeyError):
        async with adoption.running():
            await asyncio.wait_for(stopping.wait(), 5)
