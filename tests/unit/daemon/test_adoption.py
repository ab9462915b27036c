import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pytest_mock import MockerFixture

from tests.unit.log_lines import told
from tests.unit.scan.test_observe import FakeMux, created, ready
from worker import wording
from worker.daemon.adoption import Adopter, Adoption
from worker.errors import MuxUnavailable, StatementTimeout, SupabaseUnavailable
from worker.supabase.lessons import Books
from worker.telemetry.logs import Sparingly

Json = dict[str, Any]


class Mux(FakeMux):
    """A Mux with an environment."""

    async def environment(self) -> str:
        """Return the token's environment."""
        return "env1"


@dataclass
class Database:
    """A database that gives each lesson's next answer, and remembers what it was asked."""

    answers: dict[str, list[Json]]
    home: str | None = "env1"
    items: list[list[Json]] = field(default_factory=list)

    async def call(self, function: str, params: Json) -> Any:
        """Answer a call of `Books`."""
        if function == "worker_doctor":
            return {"environment_id": self.home}
        assert (function, params["lease_seconds"]) == ("worker_adopt", None)
        self.items.append(params["adoptions"])
        return [
            {"lesson_id": item["lesson_id"], **self.answers[item["lesson_id"]].pop(0)}
            for item in params["adoptions"]
        ]


def asks(id_: str, kind: str) -> Json:
    """Return the answer by which the database wants to know what an id is."""
    return {"outcome": "ask", "id": id_, "kind": kind}


UNCHANGED: Json = {"outcome": "unchanged"}


@pytest.mark.parametrize(
    ("asked_for", "asked", "known"),
    [
        pytest.param(
            asks("up1", "either"), ["upload up1"],
            {"id": "up1", "upload_id": "up1", "asset_id": "as1"}, id="an upload's",
        ),
        pytest.param(
            asks("as1", "either"), ["upload as1", "asset as1"],
            {"id": "as1", "upload_id": "up1", "asset_id": "as1"}, id="an asset's in a placeholder",
        ),
        pytest.param(
            asks("as1", "asset"), ["asset as1"],
            {"id": "as1", "upload_id": "up1", "asset_id": "as1"}, id="a real asset's",
        ),
        pytest.param(
            asks("as2", "asset"), ["asset as2"],
            {"id": "as2", "upload_id": None, "asset_id": "as2"}, id="of no direct upload",
        ),
        pytest.param(
            asks("gone", "either"), ["upload gone", "asset gone"],
            {"id": "gone", "missing": ["gone"]}, id="one that Mux does not know",
        ),
    ],
)  # fmt: skip
async def test_mux_is_asked_only_what_an_id_is(
    asked_for: Json, asked: list[str], known: Json
) -> None:
    """What that is worth, the database decides, which is given the answer."""
    mux = Mux(created("up1", "as1"), ready("as1", "up1"), ready("as2"))
    database = Database({"l1": [asked_for, UNCHANGED], "l2": [UNCHANGED]})
    await Adopter(mux, Books(database.call)).adopt(["l1", "l2"])
    assert mux.sent == asked
    assert database.items == [
        [{"lesson_id": "l1"}, {"lesson_id": "l2"}],
        [{"lesson_id": "l1", **known}],
    ]


async def test_an_adoption_that_the_database_can_judge_asks_mux_nothing(out: io.StringIO) -> None:
    """What was adopted is logged, and so is a video that was restored, alone or beside it."""
    video = {"upload_id": "up1", "asset_id": "as1", "playback_id": "play1"}
    adopted: Json = {"outcome": "adopted", "upload_id": "up2", "asset_id": None}
    restored = {"outcome": "restored", "lesson_id": "l2", **video}
    database = Database(
        {
            "l1": [{**adopted, "restored": None}],
            "l2": [{**adopted, "restored": restored}],
            "l3": [{"outcome": "restored", **video}],
            "l4": [UNCHANGED],
            "l5": [{"outcome": "left_alone", "reason": "has_video"}],
        }
    )
    mux = Mux()
    await Adopter(mux, Books(database.call)).adopt(list(database.answers))
    assert mux.sent == []
    info: Json = {"level": "info"}
    assert told(out) == [
        {**info, "event": "lesson.adopted", "lesson_id": "l1", "upload_id": "up2"},
        {**info, "event": "lesson.adopted", "lesson_id": "l2", "upload_id": "up2"},
        {**info, "event": "lesson.restored", "lesson_id": "l2", **video},
        {**info, "event": "lesson.restored", "lesson_id": "l3", **video},
    ]


@pytest.mark.parametrize(("home", "asked"), [("env2", []), (None, ["asset as1"])])
async def test_in_another_environment_nothing_is_asked(home: str | None, asked: list[str]) -> None:
    """There every id would seem unknown; the lesson has its turn with the right token."""
    mux = Mux(ready("as1"))
    database = Database({"l1": [asks("as1", "asset"), UNCHANGED]}, home)
    await Adopter(mux, Books(database.call)).adopt(["l1"])
    assert mux.sent == asked
    assert len(database.items) == 1 + len(asked)


async def test_an_outage_of_mux_is_raised_and_leaves_the_lesson_for_later() -> None:
    """The database is not given what Mux did not say."""
    mux = Mux()
    mux.is_down_after = 0
    database = Database({"l1": [asks("as1", "asset")]})
    with pytest.raises(MuxUnavailable):
        await Adopter(mux, Books(database.call)).adopt(["l1"])
    assert len(database.items) == 1


async def test_a_video_of_another_instructor_is_logged_once_an_hour(
    out: io.StringIO, mocker: MockerFixture
) -> None:
    """For each lesson; it says what to do."""
    now = [0.0]
    mocker.patch(
        "worker.daemon.adoption.Sparingly", lambda seconds: Sparingly(seconds, lambda: now[0])
    )
    disputed = {"outcome": "disputed", "reason": "lesson_mismatch"}
    database = Database({"l1": [disputed] * 4, "l2": [disputed]})
    adopter = Adopter(Mux(), Books(database.call))
    for now[0], lessons in ((0, ["l1"]), (60, ["l1", "l2"]), (3599, ["l1"]), (3601, ["l1"])):
        await adopter.adopt(lessons)
    lines = told(out)
    assert [line["lesson_id"] for line in lines] == ["l1", "l2", "l1"]
    assert lines[0] == {
        "level": "warning",
        "event": "adoption.failed",
        "lesson_id": "l1",
        "reason": "lesson_mismatch",
        "message": wording.FAILURES["lesson_mismatch"],
    }


class Walked:
    """A database that cuts off long walks; asks for a stop after so many of them."""

    def __init__(self, fault: SupabaseUnavailable, longest_walk: int, passes: int) -> None:
        self.walks: list[tuple[int, int]] = []
        self.stopping = asyncio.Event()
        self._fault = fault
        self._longest_walk = longest_walk
        self._passes = passes

    async def call(self, function: str, params: Json) -> list[Any]:
        """Find nothing, if it is found in time."""
        assert function == "worker_untracked"
        self.walks.append((params["walk"], params["at_most"]))
        if len(self.walks) == self._passes:
            self.stopping.set()
        if params["walk"] > self._longest_walk:
            raise self._fault
        return []


class NoAdopter:
    """Adopts nothing, since nothing is found."""

    async def adopt(self, lesson_ids: Sequence[str]) -> None:
        """Fail: there is nothing to adopt."""
        raise AssertionError("nothing was found")


async def adopts(database: Walked) -> list[tuple[int, int]]:
    """Run the adoption until the database asks for a stop; give how far each pass went."""
    settings = cast(Any, SimpleNamespace(scan_interval_seconds=0.0))
    adopter = cast(Any, NoAdopter())
    adoption = Adoption(adopter, Books(database.call), settings, database.stopping)
    async with adoption.beside():
        await asyncio.wait_for(database.stopping.wait(), 5)
    return database.walks


async def test_what_the_database_cuts_off_is_gone_past_in_smaller_steps(out: io.StringIO) -> None:
    """One bad stretch of lessons does not hold up the others for good; it is said once."""
    fault = StatementTimeout("57014", "worker_untracked exceeds the statement timeout.")
    assert await adopts(Walked(fault, 20, 6)) == [
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
    assert await adopts(Walked(fault, 0, 9)) == [(2000, 50), (200, 5), *[(20, 1)] * 7]
    assert len(told(out)) == 1


async def test_an_outage_is_left_to_the_scan_to_tell(out: io.StringIO) -> None:
    """Nothing is said, and nothing changes."""
    fault = SupabaseUnavailable("connection", "down")
    assert await adopts(Walked(fault, 0, 3)) == [(2000, 50)] * 3
    assert told(out) == []


async def test_the_lessons_that_a_walk_finds_are_adopted() -> None:
    """Those, and with one call."""
    calls: list[Json] = []

    async def call(function: str, params: Json) -> list[Any]:
        calls.append({function: params})
        if function == "worker_untracked":
            return ["l1", "l2"]
        return [{"outcome": "unchanged", **item} for item in params["adoptions"]]

    books = Books(call)
    settings = cast(Any, SimpleNamespace(scan_interval_seconds=5.0))
    await Adoption(Adopter(Mux(), books), books, settings, asyncio.Event()).adopt()
    assert calls == [
        {"worker_untracked": {"walk": 2000, "at_most": 50}},
        {
            "worker_adopt": {
                "adoptions": [{"lesson_id": "l1"}, {"lesson_id": "l2"}],
                "lease_seconds": None,
            }
        },
    ]
