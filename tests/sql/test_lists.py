"""The lists of lessons that the commands and the dashboard show."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.course import Course
from tests.sql.service import FAIL, PUBLISH, Json, Service, fact

pytestmark = pytest.mark.stack

DELETED = {
    "verdict": "mark_deleted",
    "reason": "asset_deleted",
    "message": "It was deleted.",
}


def page(service: Service, state: str = "all", **params: Any) -> Json:
    """Return a page of a list."""
    given = {"state": state, **params}
    arguments = ", ".join(f"{name} => %s" for name in given)
    query = f"select worker_list_lessons({arguments})".encode()
    row = service.connection.execute(query, list(given.values())).fetchone()
    assert row is not None
    result: Json = row[0]
    return result


def ids(found: Json) -> list[str]:
    """Return the lessons of a page."""
    return [lesson["lesson_id"] for lesson in found["lessons"]]


def walk(service: Service, state: str, **params: Any) -> list[str]:
    """Return the lessons of all pages."""
    found = page(service, state, **params)
    listed = ids(found)
    while found["next"] is not None:
        found = page(service, state, **params, after=found["next"])
        listed += ids(found)
    return listed


def texts(lessons: list[UUID]) -> list[str]:
    """Return ids as the lists have them."""
    return [str(lesson) for lesson in lessons]


def entitle(db: psycopg.Connection, lesson: UUID, title: str) -> None:
    """Give a lesson a title."""
    db.execute("update lessons set title = %s where id = %s", [title, lesson])


def test_each_lesson_is_in_one_list(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """By its state, which the list of all says for each; an untracked one is in that alone."""
    lessons = {state: course.tracked_lesson(f"up-{state}") for state in ("waiting", "stuck")}
    course.backdate(lessons["stuck"], 3600)
    lessons["failed"] = course.tracked_lesson("up-failed")
    service.settle(fact(FAIL, "up-failed"))
    for state in ("published", "unplayable", "ready"):
        lessons[state] = course.tracked_lesson(f"up-{state}")
        service.settle(fact(PUBLISH, f"up-{state}", f"as-{state}"))
    service.settle(fact(DELETED, "up-unplayable", "as-unplayable"))
    db.execute("update lessons set status = 'draft' where id = %s", [lessons["ready"]])
    untracked = course.lesson()

    for state in ("waiting", "stuck", "failed", "unplayable"):
        assert ids(page(service, state)) == [str(lessons[state])]
    done = [lessons[state] for state in ("ready", "unplayable", "published")]
    assert ids(page(service, "published")) == texts(done)
    states = {x["lesson_id"]: x["state"] for x in page(service)["lessons"]}
    expected = {str(lesson): state for state, lesson in lessons.items()}
    assert states == {**expected, str(untracked): "untracked"}
    assert service.summary()["unplayable"] == 1


def test_a_list_says_what_is_known_of_each_lesson(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """Its title, its instructor, why it failed and since when; and how it was published."""
    failed = course.tracked_lesson("up1")
    entitle(db, failed, "Sourdough")
    service.settle(fact(FAIL, "up1"))
    (lesson,) = page(service, "failed")["lessons"]
    assert [lesson[x] for x in ("title", "state", "status", "event")] == [
        "Sourdough",
        "failed",
        "draft",
        None,
    ]
    assert lesson["owner"] == str(course.anna)
    assert lesson["row"]["error_message"] == "not a video"
    assert 0 <= lesson["since_seconds"] < 60

    done = course.tracked_lesson("up2")
    course.backdate(done, 60)
    service.settle(fact(PUBLISH, "up2", "as2"))
    (published,) = page(service, "published")["lessons"]
    assert published["lesson_id"] == str(done)
    assert published["event"]["event"] == "published"
    assert 60 <= published["event"]["waited_seconds"] < 120


@pytest.mark.parametrize("state", ["failed", "waiting", "stuck", "unplayable", "published", "all"])
def test_pages_follow_each_other(
    service: Service, course: Course, db: psycopg.Connection, state: str
) -> None:
    """No lesson is left out or repeated, also where many have the same time, or none."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(7)]
    if state == "failed":
        service.settle(*(fact(FAIL, f"up{n}") for n in range(7)))
        db.execute("update mux_asset_tracking set settled_at = null where upload_id < 'up3'")
    elif state == "stuck":
        for lesson in lessons:
            course.backdate(lesson, 3600)
    elif state != "waiting":
        service.settle(*(fact(PUBLISH, f"up{n}", f"as{n}") for n in range(7)))
        if state == "unplayable":
            service.settle(*(fact(DELETED, f"up{n}", f"as{n}") for n in range(7)))
    for at_most in (1, 3, 7, 8):
        listed = walk(service, state, at_most=at_most)
        assert sorted(listed) == sorted(texts(lessons))
    assert page(service, state, at_most=7)["next"] is None or state == "published"
    if state == "failed":
        unknown = {str(lessons[n]) for n in range(3)}
        assert set(walk(service, state, at_most=2)[4:]) == unknown


def test_the_latest_failure_and_the_oldest_upload_are_first(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """What failed by when; what waits or is stuck by its age."""
    for n in range(3):
        course.tracked_lesson(f"bad{n}")
        service.settle(fact(FAIL, f"bad{n}"))
    failed = page(service, "failed")["lessons"]
    assert [x["row"]["upload_id"] for x in failed] == ["bad2", "bad1", "bad0"]
    for state, seconds in (("waiting", 60), ("stuck", 3600)):
        lessons = [course.tracked_lesson(f"{state}{n}") for n in range(3)]
        for n, lesson in enumerate(lessons):
            course.backdate(lesson, seconds * (n + 1))
        assert ids(page(service, state)) == texts(lessons[::-1])


def test_a_search_finds_titles_instructors_and_ids(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """A part of the title in any case; the beginning of the instructor's id; a lesson's id."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(3)]
    for lesson, title in zip(lessons, ("Sourdough", "Dough, 50% rye_", "Pizza"), strict=True):
        entitle(db, lesson, title)
    assert set(ids(page(service, search="DOUGH"))) == set(texts(lessons[:2]))
    assert ids(page(service, "waiting", search="0% rye_")) == texts(lessons[1:2])
    assert ids(page(service, search="50_")) == []
    assert ids(page(service, search=str(lessons[2]))) == texts(lessons[2:])
    owner = str(course.anna)
    assert set(ids(page(service, search=owner[:13]))) == set(texts(lessons))
    assert ids(page(service, "failed", search="dough")) == []
    assert len(ids(page(service, search=""))) == 3


def test_a_search_reads_a_bounded_part_and_continues(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """A page without a lesson has a next, as long as there is something left to read."""
    last = course.lesson(id=UUID("ffffffff-0000-4000-8000-000000000000"))
    entitle(db, last, "Focaccia")
    db.execute(
        "insert into lessons (id, creator_id, title) "
        "select md5('x' || n)::uuid, %s, 'x' from generate_series(1, 6000) n "
        "where md5('x' || n) < 'f'",
        [course.anna],
    )
    first = page(service, search="focaccia")
    assert (ids(first), first["next"] is None) == ([], False)
    assert walk(service, "all", search="focaccia") == [str(last)]


def test_one_error_type_is_listed_alone(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """Unknown stands for failures without a type, also where they are counted and retried."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(3)]
    service.settle(*(fact(FAIL, f"up{n}") for n in range(2)))
    db.execute("update mux_asset_tracking set status = 'error' where upload_id = 'up2'")
    assert set(ids(page(service, "failed", error_type="asset_errored"))) == set(texts(lessons[:2]))
    assert ids(page(service, "failed", error_type="unknown")) == texts(lessons[2:])
    counts = service.connection.execute("select worker_failures()").fetchone()
    assert counts == ({"asset_errored": 2, "unknown": 1},)
    retried = service.connection.execute(
        "select worker_retry(error_type => 'unknown', operator => 'ines')"
    ).fetchone()
    assert retried == (texts(lessons[2:]),)


@pytest.mark.parametrize(
    ("state", "params"),
    [
        ("broken", {}),
        (None, {}),
        ("failed", {"at_most": 0}),
        ("failed", {"at_most": 501}),
        ("failed", {"after": "x"}),
        ("published", {"after": "1/x"}),
        ("all", {"after": "no key"}),
    ],
)
def test_a_call_that_makes_no_sense_says_what_is_needed(
    service: Service, state: str | None, params: Json
) -> None:
    """As PT400, for PostgREST."""
    with pytest.raises(psycopg.Error, match="needs") as caught:
        page(service, state, **params)  # type: ignore[arg-type]
    assert caught.value.sqlstate == "PT400"


def test_the_day_counts_lessons_and_how_long_ready_videos_waited(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """A lesson that failed three times counts once; the hour and the day have their own times."""
    lesson = course.lesson()
    insert = (
        "insert into mux_asset_events "
        "(happened_at, actor, event, lesson_id, tracking_id, observation) "
        "select now() - %s::interval, 'test', %s, %s, %s, "
        "jsonb_build_object('looked_before', now() - %s::interval - %s::interval)"
    )
    rows = [
        *((timedelta(hours=5, minutes=n), "failed", 0) for n in range(3)),
        (timedelta(minutes=5), "published", 2),
        (timedelta(hours=7), "published", 4),
        (timedelta(hours=30), "published", 9),
    ]
    for age, event, seconds in rows:
        db.execute(insert, [age, event, lesson, lesson, age, timedelta(seconds=seconds)])
    row = service.connection.execute("select worker_overview() -> 'day'").fetchone()
    assert row is not None
    day = row[0]
    assert (day["published"], day["failed"]) == (2, 1)
    waits = day["ready_to_published"]
    assert waits["hour"] == {"count": 1, "p50": 2, "p95": 2, "p99": 2}
    assert (waits["day"]["count"], waits["day"]["p50"]) == (2, 3)
