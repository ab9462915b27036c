import asyncio
import io
from types import SimpleNamespace
from typing import Any, cast

from tests.unit.log_lines import told
from worker.adoption import Adoption
from worker.errors import StatementTimeout, SupabaseUnavailable


class Database:
    """A database that cuts off long walks; asks for a stop after so many of them."""

    def __init__(self, fault: SupabaseUnavailable, longest_walk: int, passes: int) -> None:
        self.walks: list[tuple[int, int]] = []
        self.stopping = asyncio.Event()
        self._fault = fault
        self._longest_walk = longest_walk
        self._passes = passes

    async def call(self, function: str, params: dict[str, Any]) -> list[Any]:
        """Find nothing, if it is found in time."""
        assert function == "worker_untracked"
        self.walks.append((params["walk"], params["at_most"]))
        if len(self.walks) == self._passes:
            self.stopping.set()
        if params["walk"] > self._longest_walk:
            raise self._fault
        return []


async def adopts(database: Database) -> list[tuple[int, int]]:
    """Run the adoption until the database asks for a stop; give how far each pass went."""
    settings = SimpleNamespace(
        playback_policies=("public",), give_up_after_seconds=60.0, scan_interval_seconds=0.0
    )
    adoption = Adoption(
        cast(Any, None), cast(Any, database), cast(Any, settings), database.stopping
    )
    async with adoption.beside():
        await asyncio.wait_for(database.stopping.wait(), 5)
    return database.walks


async def test_what_the_database_cuts_off_is_gone_past_in_smaller_steps(out: io.StringIO) -> None:
    """One bad stretch of lessons does not hold up the others for good; it is said once."""
    fault = StatementTimeout("57014", "worker_untracked exceeds the statement timeout.")
    assert await adopts(Database(fault, 20, 6)) == [
        (2000, 50),
        (200, 5),
        (20, 1),
        (200, 5),
        (20, 1),
        (200, 5),
    ]
    assert told(out) == [
        {
            "level": "warning",
            "event": "adoption.failed",
            "reason": "57014",
            "message": "worker_untracked exceeds the statement timeout. The next pass looks at "
            "200 lessons.",
        }
    ]


async def test_however_often_it_is_cut_off_a_pass_looks_at_some_lessons(out: io.StringIO) -> None:
    """The walk never shrinks to nothing, from which it could not grow again."""
    fault = StatementTimeout("57014", "worker_untracked exceeds the statement timeout.")
    assert await adopts(Database(fault, 0, 9)) == [(2000, 50), (200, 5), *[(20, 1)] * 7]
    assert len(told(out)) == 1


async def test_an_outage_is_left_to_the_scan_to_tell(out: io.StringIO) -> None:
    """Nothing is said, and nothing changes."""
    fault = SupabaseUnavailable("connection", "down")
    assert await adopts(Database(fault, 0, 3)) == [(2000, 50)] * 3
    assert told(out) == []
