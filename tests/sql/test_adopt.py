from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.racing import Action, Scene, Stage
from tests.sql.service import PUBLISH, Service, fact
from worker.local.stack import LocalSupabase

pytestmark = pytest.mark.stack

Json = dict[str, Any]


def item(course: Course, lesson: UUID, **more: Any) -> Json:
    """Build an item of `worker_adopt` for a lesson as it is."""
    state = course.state(lesson)
    lesson_ids = {
        "lesson_id": str(lesson),
        "lesson_status": state["status"],
        "lesson_asset_id": state["mux_asset_id"],
        "lesson_playback_id": state["mux_playback_id"],
    }
    try:
        row = course.row(lesson)
    except AssertionError:
        return {**lesson_ids, **more}
    was = {"row_id": str(row["id"]), "row_upload_id": row["upload_id"]}
    was |= {"row_tracked_at": row["tracked_at"].isoformat(), "row_status": row["status"]}
    return {**lesson_ids, **was, **more}


def adopt(service: Service, *items: Json) -> list[Json]:
    """Adopt, on the service's connection."""
    found = service.connection.execute("select worker_adopt(%s)", [Jsonb(list(items))]).fetchone()
    assert found is not None
    told: list[Json] = found[0]
    return told


def untracked(service: Service, walk: int, at_most: int) -> set[str]:
    """Give the lessons that a pass of the adoption looks at."""
    query = "select worker_untracked(%s, %s)"
    found = service.connection.execute(query, [walk, at_most]).fetchone()
    assert found is not None
    return {told["lesson_id"] for told in found[0]}


def test_the_adoption_looks_at_a_lesson_of_each_instructor_in_turn(
    course: Course, service: Service
) -> None:
    """Hundreds of placeholders that lead nowhere do not hide the one lesson of another."""
    ids = [UUID(int=n) for n in range(1, 41)]
    for one in ids:
        course.lesson(id=one, mux_asset_id=f"temp_gone{one.int}")
    other = course.lesson(course.bert, id=UUID(int=99), mux_asset_id="temp_up1")
    assert untracked(service, 100, 4) == {*map(str, ids[:3]), str(other)}


def test_the_adoption_looks_first_at_what_it_has_looked_at_least(
    course: Course, service: Service
) -> None:
    """What was looked at a day ago comes after what never was, and the older look first."""
    lessons = [course.lesson(id=UUID(int=n), mux_asset_id=f"temp_gone{n}") for n in range(1, 6)]
    for lesson, days in zip(lessons, (2, 3, 4, None, None), strict=True):
        if days is not None:
            service.connection.execute(
                "insert into mux_private.backfill_findings (lesson_id, found_at, asset_id, kind)"
                " select id, now() - make_interval(days => %s), mux_asset_id, 'upload_not_found'"
                " from lessons where id = %s",
                [days, lesson],
            )
    assert untracked(service, 100, 3) == {str(lessons[n]) for n in (3, 4, 2)}


def test_the_adoption_goes_on_past_lessons_that_it_can_do_nothing_about(
    course: Course, service: Service
) -> None:
    """A part of the table is stayed at for as many passes as it may need, and no longer."""
    for n in range(1, 7):
        course.lesson(id=UUID(int=n), mux_asset_id=f"temp_gone{n}")
    last = course.lesson(id=UUID(int=7), mux_asset_id="temp_up1")
    passes = [untracked(service, 6, 2) for _ in range(5)]
    assert passes[:4] == [{str(UUID(int=1)), str(UUID(int=2))}] * 4
    assert passes[4] == {str(last)}


def test_an_untracked_lesson_is_tracked_and_leased(course: Course, service: Service) -> None:
    """The claim is one that settles; nobody else is handed the row meanwhile."""
    lesson = course.lesson(mux_asset_id="temp_up1")
    (told,) = adopt(service, item(course, lesson, upload_id="up1", temp_asset_id="temp_up1"))
    claim = told["claim"]
    assert (told["outcome"], claim["upload_id"], claim["lesson_status"]) == (
        "adopted",
        "up1",
        "draft",
    )
    assert service.claim() == []
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    assert [event["event"] for event in course.events(lesson)] == ["tracked", "published"]


def test_a_row_goes_over_to_another_upload(course: Course, service: Service) -> None:
    """What the old upload left behind is gone, and its clocks begin anew."""
    lesson = course.tracked_lesson("old", status="error", error_type="gave_up", check_count=9)
    course.backdate(lesson, 9000)
    (told,) = adopt(service, item(course, lesson, upload_id="new"))
    row = course.row(lesson)
    names = ("upload_id", "status", "error_type", "check_count", "mux_asset_id")
    assert told["outcome"] == "adopted"
    assert tuple(row[name] for name in names) == ("new", "processing", None, 0, None)
    assert row["tracked_at"] > row["created_at"]


@pytest.mark.parametrize(
    "change",
    [
        "update lessons set mux_asset_id = 'temp_up2'",
        "update lessons set status = 'archived'",
        "update mux_asset_tracking set upload_id = 'up3'",
        "delete from mux_asset_tracking",
        "delete from lessons",
    ],
)
def test_what_was_changed_meanwhile_is_left_alone(
    course: Course, service: Service, change: str
) -> None:
    """The lesson, or its row, is no longer what was decided about."""
    lesson = course.tracked_lesson("up1", status="error")
    old = item(course, lesson, upload_id="new")
    service.connection.execute("reset role")
    service.connection.execute(change.encode())
    (told,) = adopt(service, old)
    assert told["outcome"] in ("changed", "gone")


def test_what_somebody_holds_is_busy(
    course: Course, service: Service, connections: Connections
) -> None:
    """Neither the lesson nor the row is waited for; the others are adopted."""
    lessons = [course.tracked_lesson(f"up{n}", status="error") for n in range(3)]
    items = [item(course, lesson, upload_id=f"new{n}") for n, lesson in enumerate(lessons)]
    other = connections.transaction()
    other.execute("select from lessons where id = %s for update", [lessons[0]])
    other.execute("select from mux_asset_tracking where lesson_id = %s for update", [lessons[1]])
    assert [told["outcome"] for told in adopt(service, *items)] == ["busy", "busy", "adopted"]


TRACKS_NEW = "insert into mux_asset_tracking (lesson_id, upload_id) values (%s, 'new')"


def test_what_the_app_begins_to_track_meanwhile_stays_tracked(
    supabase: LocalSupabase, course: Course
) -> None:
    """Her insert was not to be seen yet when the lesson was read: her new upload is what counts."""
    lesson = course.lesson(mux_asset_id="temp_old")
    old = item(course, lesson, upload_id="old")
    adoption = Action("adopt", None, lambda connection, _: adopt(Service(connection), old)[0])
    with Stage(supabase) as stage:
        stage.holder.execute(TRACKS_NEW, [lesson])
        stage.one.starts(adoption, Scene(None), and_commits=True)
        stage.holder.commit()
        outcome = stage.one.told()["outcome"]
    assert outcome in ("changed", "busy")
    assert course.row(lesson)["upload_id"] == "new"


def test_an_insert_of_the_app_is_not_waited_for_long(
    course: Course, service: Service, connections: Connections
) -> None:
    """Its lesson is busy, and can be saved by the app; the others are adopted."""
    lessons = [course.lesson(mux_asset_id=f"temp_up{n}") for n in range(2)]
    items = [item(course, lesson, upload_id=f"up{n}") for n, lesson in enumerate(lessons)]
    app = connections.transaction()
    app.execute(TRACKS_NEW, [lessons[0]])
    assert [told["outcome"] for told in adopt(service, *items)] == ["busy", "adopted"]
    app.execute("update lessons set title = 'saved' where id = %s", [lessons[0]])
    app.commit()
    assert course.row(lessons[0])["upload_id"] == "new"


def test_a_ready_row_gives_the_status_back_once(course: Course, service: Service) -> None:
    """The ids every time; with another upload the status has its turn again."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    statuses = []
    for upload in ("up1", "up1", "up2"):
        if upload == "up2":
            course.track(lesson, "up2")
            service.settle(fact(PUBLISH, "up2", "as1"))
        service.connection.execute(
            "update lessons set status = 'draft', mux_asset_id = 'temp_x', mux_playback_id = null"
        )
        (told,) = adopt(service, item(course, lesson, upload_id=upload, asset_id="as1"))
        state = course.state(lesson)
        assert (told["adopted"], state["mux_asset_id"], state["mux_playback_id"]) == (
            "given_back",
            "as1",
            "play-as1",
        )
        statuses.append(state["status"])
    assert statuses == ["published", "draft", "published"]


@pytest.mark.parametrize("ids", [{}, {"upload_id": "temp_x"}, {"upload_id": "a b"}])
def test_an_item_without_an_id_is_refused_alone(
    course: Course, service: Service, ids: Json
) -> None:
    """The others go on."""
    bad, good = course.lesson(), course.lesson()
    told = adopt(service, item(course, bad, **ids), item(course, good, asset_id="as1"))
    assert [one["outcome"] for one in told] == ["refused", "adopted"]
    assert course.row(good)["upload_id"] == "migrated"
