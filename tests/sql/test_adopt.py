from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.racing import Action, Scene, Stage
from tests.sql.service import PUBLISH, Service, fact

pytestmark = pytest.mark.stack

Json = dict[str, Any]


def item(lesson: UUID, named: str | None = None, **known: Any) -> Json:
    """Build an item of `worker_adopt`, with what Mux said of the id that the lesson named."""
    return {"lesson_id": str(lesson), **({"id": named} if named else {}), **known}


def adopt(service: Service, *items: Json, lease: float | None = None) -> list[Json]:
    """Adopt, on the service's connection."""
    query = b"select worker_adopt(%s, lease_seconds => %s)"
    found = service.connection.execute(query, [Jsonb(list(items)), lease]).fetchone()
    assert found is not None
    told: list[Json] = found[0]
    return told


def untracked(service: Service, walk: int, at_most: int) -> set[str]:
    """Return the lessons that a pass of the adoption looks at."""
    query = "select worker_untracked(%s, %s)"
    found = service.connection.execute(query, [walk, at_most]).fetchone()
    assert found is not None
    return set(found[0])


def outcomes(told: list[Json]) -> list[str]:
    """Give the outcomes' names."""
    return [one["outcome"] for one in told]


def test_the_adoption_looks_at_a_lesson_of_each_instructor_in_turn(
    course: Course, service: Service
) -> None:
    """Hundreds of placeholders that lead nowhere do not hide the one lesson of another."""
    ids = [UUID(int=n) for n in range(1, 41)]
    for one in ids:
        course.lesson(id=one, mux_asset_id=f"temp_gone{one.int}")
    other = course.lesson(course.bert, id=UUID(int=99), mux_asset_id="temp_up1")
    assert untracked(service, 100, 4) == {*map(str, ids[:3]), str(other)}


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
    (told,) = adopt(service, item(lesson), lease=60)
    claim = told["claim"]
    assert (told["outcome"], claim["upload_id"], claim["lesson_status"]) == (
        "adopted",
        "up1",
        "draft",
    )
    assert course.row(lesson)["temp_asset_id"] == "temp_up1"
    assert service.claim() == []
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    assert [event["event"] for event in course.events(lesson)] == ["tracked", "published"]


def test_without_a_lease_a_lesson_is_due_at_once(course: Course, service: Service) -> None:
    """Any worker may claim it."""
    lesson = course.lesson(mux_asset_id="temp_up1")
    assert outcomes(adopt(service, item(lesson))) == ["adopted"]
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_a_row_goes_over_to_another_upload(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """What the old upload left behind is gone, and its clocks begin again."""
    lesson = course.tracked_lesson("old", status="error", error_type="gave_up", check_count=9)
    course.backdate(lesson, 9000)
    db.execute("update lessons set mux_asset_id = 'temp_new'")
    (told,) = adopt(service, item(lesson))
    assert (told["outcome"], told["upload_id"]) == ("ask", "new")
    (told,) = adopt(service, item(lesson, "new", upload_id="new"))
    row = course.row(lesson)
    names = ("upload_id", "status", "error_type", "check_count", "mux_asset_id")
    assert told["outcome"] == "adopted"
    assert tuple(row[name] for name in names) == ("new", "processing", None, 0, None)
    assert row["tracked_at"] > row["created_at"]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("update lessons set mux_asset_id = 'temp_up2'", "ask"),
        ("update mux_asset_tracking set upload_id = 'new'", "tracked"),
        ("delete from lessons", "left_alone"),
    ],
)
def test_what_was_changed_meanwhile_is_judged_as_it_is_now(
    course: Course, service: Service, db: psycopg.Connection, change: str, outcome: str
) -> None:
    """What Mux said is about what the lesson named before."""
    lesson = course.tracked_lesson("up1")
    db.execute("update lessons set mux_asset_id = 'temp_new'")
    db.execute(change.encode())
    assert outcomes(adopt(service, item(lesson, "new", upload_id="new"))) == [outcome]


def test_what_somebody_holds_is_busy(
    course: Course, service: Service, connections: Connections, db: psycopg.Connection
) -> None:
    """Neither the lesson nor the row is waited for; the others are adopted."""
    lessons = [course.tracked_lesson(f"up{n}", status="error") for n in range(3)]
    for n, lesson in enumerate(lessons):
        db.execute("update lessons set mux_asset_id = %s where id = %s", [f"temp_new{n}", lesson])
    items = [item(lesson, f"new{n}", upload_id=f"new{n}") for n, lesson in enumerate(lessons)]
    other = connections.transaction()
    other.execute("select from lessons where id = %s for update", [lessons[0]])
    other.execute("select from mux_asset_tracking where lesson_id = %s for update", [lessons[1]])
    assert outcomes(adopt(service, *items)) == ["busy", "busy", "adopted"]


TRACKS_NEW = "insert into mux_asset_tracking (lesson_id, upload_id) values (%s, 'new')"


def test_what_the_app_begins_to_track_meanwhile_stays_tracked(
    supabase: LocalSupabase, course: Course
) -> None:
    """Her insert was not to be seen yet when the lesson was read: her new upload is what counts."""
    lesson = course.lesson(mux_asset_id="temp_old")
    old = item(lesson)
    adoption = Action("adopt", None, lambda connection, _: adopt(Service(connection), old)[0])
    with Stage(supabase) as stage:
        stage.holder.execute(TRACKS_NEW, [lesson])
        stage.one.starts(adoption, Scene(None), and_commits=True)
        stage.holder.commit()
        outcome = stage.one.result()["outcome"]
    assert outcome == "busy"
    assert course.row(lesson)["upload_id"] == "new"


def test_an_insert_of_the_app_is_not_waited_for_long(
    course: Course, service: Service, connections: Connections
) -> None:
    """Its lesson is busy, and can be saved by the app; the others are adopted."""
    lessons = [course.lesson(mux_asset_id=f"temp_up{n}") for n in range(2)]
    app = connections.transaction()
    app.execute(TRACKS_NEW, [lessons[0]])
    told = adopt(service, *(item(lesson) for lesson in lessons))
    assert outcomes(told) == ["busy", "adopted"]
    app.execute("update lessons set title = 'saved' where id = %s", [lessons[0]])
    app.commit()
    assert course.row(lessons[0])["upload_id"] == "new"


def test_a_ready_row_gives_the_status_back_once(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """The ids every time; with another upload the status has its turn again."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    told = []
    for upload in ("up1", "up1", "up2"):
        if upload == "up2":
            course.track(lesson, "up2")
            service.settle(fact(PUBLISH, "up2", "as2"))
        db.execute(
            "update lessons set status = 'draft', mux_asset_id = %s, mux_playback_id = null",
            [f"temp_{upload}"],
        )
        (one,) = adopt(service, item(lesson))
        state = course.state(lesson)
        told.append((one["outcome"], state["status"], state["mux_asset_id"]))
    assert told == [
        ("restored", "published", "as1"),
        ("restored", "draft", "as1"),
        ("restored", "published", "as2"),
    ]


@pytest.mark.parametrize("named", [None, "temp_", "temp_undefined", "temp_a b", "a b"])
def test_a_lesson_that_names_no_id_is_left_alone(
    course: Course, service: Service, named: str | None
) -> None:
    """The others go on."""
    bad, good = course.lesson(mux_asset_id=named), course.lesson(mux_asset_id="temp_up1")
    told = adopt(service, item(bad), item(good))
    assert outcomes(told) == ["left_alone", "adopted"]
    assert told[0]["reason"] == ("unreadable_id" if named else "names_nothing")


def test_an_item_that_is_none_is_refused_alone(course: Course, service: Service) -> None:
    """The others go on."""
    good = course.lesson(mux_asset_id="as1")
    nonsense = item(good, "as1", upload_id="up1", is_missing="perhaps")
    told = adopt(service, nonsense, item(good, "as1", asset_id="as1"))
    assert outcomes(told) == ["refused", "adopted"]
    assert course.row(good)["upload_id"] == "migrated"
