import io
from dataclasses import dataclass, field
from typing import Any

import pytest
from pytest_mock import MockerFixture

from tests.unit.log_lines import logged
from tests.unit.scan.test_observe import FakeMux, created, ready
from worker import wording
from worker.errors import MuxUnavailable
from worker.model import Observation, OnSent, ignore
from worker.scan.adopter import Adopter, Item
from worker.supabase.lessons import LessonStore
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import LogThrottle
from worker.telemetry.outcome_log import OutcomeLog

Json = dict[str, Any]


@dataclass
class Database:
    """A database that returns each lesson's next answer, and records the calls."""

    answers: dict[str, list[Json]]
    recorded: str | None = "env1"
    items: list[list[Json]] = field(default_factory=list)
    options: list[Json] = field(default_factory=list)

    async def call(self, function: str, params: Json) -> Any:
        """Answer a call of `LessonStore`."""
        if function == "worker_doctor":
            return {"environment_id": self.recorded}
        assert function == "worker_adopt"
        self.items.append(params.pop("adoptions"))
        self.options.append(params)
        return [
            {"lesson_id": item["lesson_id"], **self.answers[item["lesson_id"]].pop(0)}
            for item in self.items[-1]
        ]


def adopter_of(mux: FakeMux, database: Database) -> Adopter:
    """Return an adopter that logs what it does."""
    return Adopter(mux, LessonStore(database.call), Telemetry(OutcomeLog()))


def items(*lesson_ids: str) -> list[Item]:
    """Return lessons as they are given to the adopter."""
    return [{"lesson_id": lesson_id} for lesson_id in lesson_ids]


def asks(upload_id: str | None = None, asset_id: str | None = None) -> Json:
    """Return the answer with which the database asks for an id to be identified."""
    return {"outcome": "ask", "upload_id": upload_id, "asset_id": asset_id}


UNCHANGED: Json = {"outcome": "unchanged"}


@pytest.mark.parametrize(
    ("asked_for", "sent", "known"),
    [
        pytest.param(
            asks("up1"), ["asset of up1"],
            {"id": "up1", "upload_id": "up1", "asset_id": "as1"}, id="an upload's",
        ),
        pytest.param(
            asks("up2"), ["asset of up2", "upload up2"],
            {"id": "up2", "upload_id": "up2", "asset_id": None}, id="of an upload without asset",
        ),
        pytest.param(
            asks("as1"), ["asset of as1", "upload as1", "asset as1"],
            {"id": "as1", "upload_id": "up1", "asset_id": "as1"}, id="an asset's in a placeholder",
        ),
        pytest.param(
            asks(asset_id="as1"), ["asset as1"],
            {"id": "as1", "upload_id": "up1", "asset_id": "as1"}, id="a real asset's",
        ),
        pytest.param(
            asks(asset_id="as2"), ["asset as2"],
            {"id": "as2", "upload_id": None, "asset_id": "as2"}, id="of no direct upload",
        ),
        pytest.param(
            asks("gone"), ["asset of gone", "upload gone", "asset gone"],
            {"id": "gone", "is_missing": True}, id="one that Mux does not know",
        ),
    ],
)  # fmt: skip
async def test_mux_is_asked_only_what_an_id_is(
    asked_for: Json, sent: list[str], known: Json
) -> None:
    """The result goes to the database, which decides."""
    waiting = Observation("upload", "waiting", "probe", upload_id="up2")
    mux = FakeMux(created("up1", "as1"), ready("as1", "up1"), ready("as2"), waiting)
    database = Database({"l1": [asked_for, UNCHANGED], "l2": [UNCHANGED]})
    adoptions = await adopter_of(mux, database).adopt(items("l1", "l2"))
    assert mux.sent == sent
    assert database.items == [items("l1", "l2"), [{"lesson_id": "l1", **known}]]
    names = {adoption.lesson_id: adoption.outcome.name for adoption in adoptions}
    assert names == {"l1": "unchanged", "l2": "unchanged"}


async def test_lessons_that_name_the_same_id_are_asked_about_once() -> None:
    """Each gets the answer."""
    mux = FakeMux(ready("as1", "up1"))
    database = Database({f"l{n}": [asks("up1"), UNCHANGED] for n in range(3)})
    await adopter_of(mux, database).adopt(items("l0", "l1", "l2"))
    assert mux.sent == ["asset of up1"]
    assert [item["lesson_id"] for item in database.items[1]] == ["l0", "l1", "l2"]


async def test_the_second_call_is_like_the_first() -> None:
    """What an operator wants, and the backfill; not what is known of another id."""
    wishes = {"by_hand": True, "takes_drafts": False, "retries_failed": True}
    given = {"lesson_id": "l1", "id": "old", "upload_id": "old", "asset_id": "older", **wishes}
    database = Database({"l1": [asks("gone"), UNCHANGED]})
    await adopter_of(FakeMux(), database).adopt([given], backfill="run 1")
    assert database.items[1] == [{"lesson_id": "l1", "id": "gone", "is_missing": True, **wishes}]
    assert database.options == [{"dry_run": False, "backfill": "run 1", "lease_seconds": None}] * 2


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
    mux = FakeMux()
    await adopter_of(mux, database).adopt(items(*database.answers))
    assert mux.sent == []
    info: Json = {"level": "info"}
    assert logged(out) == [
        {**info, "event": "lesson.adopted", "lesson_id": "l1", "upload_id": "up2"},
        {**info, "event": "lesson.adopted", "lesson_id": "l2", "upload_id": "up2"},
        {**info, "event": "lesson.restored", "lesson_id": "l2", **video},
        {**info, "event": "lesson.restored", "lesson_id": "l3", **video},
    ]


@pytest.mark.parametrize(("recorded", "sent"), [("env2", []), (None, ["asset as1"])])
async def test_in_another_environment_nothing_is_asked(
    recorded: str | None, sent: list[str]
) -> None:
    """There every id would seem unknown; the lesson is adopted with the right token."""
    mux = FakeMux(ready("as1"))
    database = Database({"l1": [asks(asset_id="as1"), UNCHANGED]}, recorded)
    (adoption,) = await adopter_of(mux, database).adopt(items("l1"))
    assert mux.sent == sent
    assert adoption.outcome.name == ("unchanged" if sent else "ask")
    assert len(database.items) == 1 + len(sent)


async def test_an_outage_of_mux_is_raised_and_leaves_the_lesson_for_later() -> None:
    """The database gets nothing that Mux did not return."""
    mux = FakeMux()
    mux.is_down_after = 0
    database = Database({"l1": [asks(asset_id="as1")]})
    with pytest.raises(MuxUnavailable):
        await adopter_of(mux, database).adopt(items("l1"))
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
    several = {"outcome": "disputed", "reason": "several_instructors"}
    database = Database({"l1": [disputed] * 4, "l2": [several]})
    adopter = adopter_of(FakeMux(), database)
    for now[0], lessons in ((0, ["l1"]), (60, ["l1", "l2"]), (3599, ["l1"]), (3601, ["l1"])):
        await adopter.adopt(items(*lessons))
    lines = logged(out)
    assert [line["lesson_id"] for line in lines] == ["l1", "l2", "l1"]
    assert lines[0] == {
        "level": "warning",
        "event": "adoption.failed",
        "lesson_id": "l1",
        "reason": "lesson_mismatch",
        "message": wording.FAILURES["lesson_mismatch"],
    }
    reason, message = "several_instructors", wording.BACKFILL_RESULTS["several_instructors"]
    assert lines[1] == {**lines[0], "lesson_id": "l2", "reason": reason, "message": message}


async def test_an_id_that_mux_does_not_answer_about_holds_up_no_other_lesson(
    out: io.StringIO,
) -> None:
    """Its own lesson waits, and it is logged once an hour; the control request decides."""

    class PartlyDown(FakeMux):
        async def asset_of(self, upload_id: str, on_sent: OnSent = ignore) -> Observation | None:
            if upload_id == "bad":
                raise MuxUnavailable("server_error", "Mux failed.")
            return await super().asset_of(upload_id, on_sent)

    mux = PartlyDown(ready("as1", "up1"))
    bad, good = asks("bad"), asks("up1")
    database = Database({"l1": [bad, bad], "l2": [good, UNCHANGED, good, UNCHANGED]})
    adopter = adopter_of(mux, database)
    for _ in range(2):
        adoptions = await adopter.adopt(items("l1", "l2"))
        assert {a.lesson_id: a.outcome.name for a in adoptions} == {"l1": "ask", "l2": "unchanged"}
        assert database.items.pop() == [
            {"lesson_id": "l2", "id": "up1", "upload_id": "up1", "asset_id": "as1"}
        ]
    assert mux.sent == ["control", "asset of up1"] * 2
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
    adopter = adopter_of(FakeMux(), database)
    for lessons in (["l1", "l2"], ["l1"]):
        await adopter.adopt(items(*lessons))
    error: Json = {"level": "error", "event": "lesson.refused", "message": "no"}
    assert logged(out) == [
        {**error, "lesson_id": "l1", "sqlstate": "P0001", "raised_by": "rule()"},
        {"level": "info", "event": "lesson.adopted", "lesson_id": "l2", "upload_id": "up2"},
        {**error, "lesson_id": "l2", "sqlstate": "23514"},
    ]


async def test_an_asset_that_mux_does_not_answer_about_is_logged_as_one(out: io.StringIO) -> None:
    """Ids about which Mux answers before and after it are adopted, each once."""

    class PartlyDown(FakeMux):
        async def asset(self, asset_id: str, on_sent: OnSent = ignore) -> Observation:
            if asset_id == "bad":
                raise MuxUnavailable("server_error", "Mux failed.")
            return await super().asset(asset_id, on_sent)

    mux = PartlyDown(ready("as1"), ready("as3"))
    database = Database(
        {
            "l1": [asks(asset_id="as1"), UNCHANGED],
            "l2": [asks(asset_id="bad")],
            "l3": [asks(asset_id="as3"), UNCHANGED],
        }
    )
    await adopter_of(mux, database).adopt(items("l1", "l2", "l3"))
    identified = [
        {"lesson_id": f"l{n}", "id": f"as{n}", "upload_id": None, "asset_id": f"as{n}"}
        for n in (1, 3)
    ]
    assert sorted(database.items[1], key=lambda item: str(item["lesson_id"])) == identified
    assert [{name: line.get(name) for name in ("lesson_id", "upload_id", "asset_id")}
            for line in logged(out)] == [
        {"lesson_id": "l2", "upload_id": None, "asset_id": "bad"}
    ]  # fmt: skip
