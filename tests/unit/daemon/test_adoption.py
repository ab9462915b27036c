import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pytest_mock import MockerFixture

from tests.unit.log_lines import logged
from tests.unit.scan.test_observe import FakeMux, created, ready
from worker import wording
from worker.daemon.adoption import Adopter, PeriodicAdoption
from worker.errors import (
    MuxUnavailable,
    StatementTimeout,
    SupabaseNeedsOperator,
    SupabaseUnavailable,
)
from worker.model import Observation, OnSent, ignore
from worker.supabase.lessons import LessonStore
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import LogThrottle
from worker.telemetry.outcome_log import OutcomeLog

Json = dict[str, Any]


class Mux(FakeMux):
    """A Mux with an environment."""

    async def environment(self) -> str:
        """Return the token's environment."""
        return "env1"


@dataclass
class Database:
    """A database that returns each lesson's next answer, and records the calls."""

    answers: dict[str, list[Json]]
    home: str | None = "env1"
    items: list[list[Json]] = field(default_factory=list)

    async def call(self, function: str, params: Json) -> Any:
        """Answer a call of `LessonStore`."""
        if function == "worker_doctor":
            return {"environment_id": self.home}
        assert (function, params["lease_seconds"]) == ("worker_adopt", None)
        self.items.append(params["adoptions"])
        return [
            {"lesson_id": item["lesson_id"], **self.answers[item["lesson_id"]].pop(0)}
            for item in params["adoptions"]
        ]


def adopter_of(mux: Mux, database: Database) -> Adopter:
    """Return an adopter that logs what it does."""
    return Adopter(mux, LessonStore(database.call), Telemetry(OutcomeLog()))


def asks(id_: str, kind: str) -> Json:
    """Return the answer with which the database asks for an id to be identified."""
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
    """The result goes to the database, which decides."""
    mux = Mux(created("up1", "as1"), ready("as1", "up1"), ready("as2"))
    database = Database({"l1": [asked_for, UNCHANGED], "l2": [UNCHANGED]})
    await adopter_of(mux, database).adopt(["l1", "l2"])
    assert mux.sent == asked
    assert database.items == [
        [{"lesson_id": "l1"}, {"lesson_id": "l2"}],
        [{"lesson_id": "l1", **known}],
    ]


async def test_an_adoption_that_the_database_can_judge_asks_mux_nothing(out: io.StringIO) -> None:
    """What was adopted is logged, and a restored video as well, alone or beside it."""
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
    await adopter_of(mux, database).adopt(list(database.answers))
    assert mux.sent == []
    info: Json = {"level": "info"}
    assert logged(out) == [
        {**info, "event": "lesson.adopted", "lesson_id": "l1", "upload_id": "up2"},
        {**info, "event": "lesson.adopted", "lesson_id": "l2", "upload_id": "up2"},
        {**info, "event": "lesson.restored", "lesson_id": "l2", **video},
        {**info, "event": "lesson.restored", "lesson_id": "l3", **video},
    ]


@pytest.mark.parametrize(("home", "asked"), [("env2", []), (None, ["asset as1"])])
async def test_in_another_environment_nothing_is_asked(home: str | None, asked: list[str]) -> None:
    """There every id would seem unknown; the lesson is adopted with the right token."""
    mux = Mux(ready("as1"))
    database = Database({"l1": [asks("as1", "asset"), UNCHANGED]}, home)
    await adopter_of(mux, database).adopt(["l1"])
    assert mux.sent == asked
    assert len(database.items) == 1 + len(asked)


async def test_an_outage_of_mux_is_raised_and_leaves_the_lesson_for_later() -> None:
    """The database gets nothing that Mux did not return."""
    mux = Mux()
    mux.is_down_after = 0
    database = Database({"l1": [asks("as1", "asset")]})
    with pytest.raises(MuxUnavailable):
        await adopter_of(mux, database).adopt(["l1"])
    assert len(database.items) == 1


async def test_a_video_of_another_instructor_is_logged_once_an_hour(
    out: io.StringIO, mocker: MockerFixture
) -> None:
    """For each lesson, with what to do."""
    now = [0.0]
    mocker.patch(
        "worker.telemetry.outcome_log.LogThrottle",
        lambda seconds: LogThrottle(seconds, lambda: now[0]),
    )
    disputed = {"outcome": "disputed", "reason": "lesson_mismatch"}
    database = Database({"l1": [disputed] * 4, "l2": [disputed]})
    adopter = adopter_of(Mux(), database)
    for now[0], lessons in ((0, ["l1"]), (60, ["l1", "l2"]), (3599, ["l1"]), (3601, ["l1"])):
        await adopter.adopt(lessons)
    lines = logged(out)
    assert [line["lesson_id"] for line in lines] == ["l1", "l2", "l1"]
    assert lines[0] == {
        "level": "warning",
        "event": "adoption.failed",
        "lesson_id": "l1",
        "reason": "lesson_mismatch",
        "message": wording.FAILURES["lesson_mismatch"],
    }


async def test_an_id_that_mux_does_not_answer_about_holds_up_no_other_lesson(
    out: io.StringIO,
) -> None:
    """Its own lesson waits, and it is logged once an hour; the control request decides."""

    class PartlyDown(Mux):
        async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
            if upload_id == "bad":
                raise MuxUnavailable("server_error", "Mux failed.")
            return await super().upload(upload_id, on_sent)

    mux = PartlyDown(created("up1", "as1"))
    bad, good = asks("bad", "either"), asks("up1", "either")
    database = Database({"l1": [bad, bad], "l2": [good, UNCHANGED, good, UNCHANGED]})
    adopter = adopter_of(mux, database)
    for _ in range(2):
        await adopter.adopt(["l1", "l2"])
        assert database.items.pop() == [
            {"lesson_id": "l2", "id": "up1", "upload_id": "up1", "asset_id": "as1"}
        ]
    assert mux.sent == ["control", "upload up1"] * 2
    assert logged(out) == [
        {
            "level": "warning",
            "event": "mux.id_failed",
            "lesson_id": "l1",
            "upload_id": "bad",
            "reason": "server_error",
            "message": "Mux does not answer about the id that this lesson names.",
        }
    ]


async def test_what_the_database_would_not_adopt_or_restore_is_logged_once_an_hour(
    out: io.StringIO,
) -> None:
    """For each SQLSTATE, with the function of the app that raised it."""
    refused = {"outcome": "refused", "sqlstate": "P0001", "message": "no", "raised_by": "rule()"}
    by_check = {**refused, "lesson_id": "l2", "sqlstate": "23514", "raised_by": None}
    adopted = {"outcome": "adopted", "upload_id": "up2", "asset_id": None, "restored": by_check}
    database = Database({"l1": [refused] * 2, "l2": [adopted]})
    adopter = adopter_of(Mux(), database)
    for lessons in (["l1", "l2"], ["l1"]):
        await adopter.adopt(lessons)
    error: Json = {"level": "error", "event": "lesson.refused", "message": "no"}
    assert logged(out) == [
        {**error, "lesson_id": "l1", "sqlstate": "P0001", "raised_by": "rule()"},
        {"level": "info", "event": "lesson.adopted", "lesson_id": "l2", "upload_id": "up2"},
        {**error, "lesson_id": "l2", "sqlstate": "23514"},
    ]


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
    database: Walked, scans_are_well: Callable[[], bool] = lambda: True
) -> list[tuple[int, int]]:
    """Run the adoption until the database sets `stopping`; return how far each run went."""
    lessons = LessonStore(database.call)
    adopter = Adopter(Mux(), lessons)
    adoption = PeriodicAdoption(
        adopter, lessons, 0.0, database.stopping, scans_are_well, Telemetry(OutcomeLog())
    )
    async with adoption.running():
        await asyncio.wait_for(database.stopping.wait(), 60)
    return database.walks


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


REVOKED = SupabaseNeedsOperator("42501", "Apply sql/900_grants.sql.")


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
    calls: list[Json] = []

    async def call(function: str, params: Json) -> list[Any]:
        calls.append({function: params})
        if function == "worker_untracked":
            return ["l1", "l2"]
        return [{"outcome": "unchanged", **item} for item in params["adoptions"]]

    lessons = LessonStore(call)
    adopter = Adopter(Mux(), lessons)
    await PeriodicAdoption(adopter, lessons, 5.0, asyncio.Event(), lambda: True).adopt()
    assert calls == [
        {"worker_untracked": {"walk": 2000, "at_most": 50}},
        {
            "worker_adopt": {
                "adoptions": [{"lesson_id": "l1"}, {"lesson_id": "l2"}],
                "lease_seconds": None,
            }
        },
    ]
