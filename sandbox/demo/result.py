"""Read the lessons of the demo from the database, and check how each ended."""

from collections.abc import Iterator
from typing import Any

import psycopg

from sandbox.demo.screen import LessonRow
from sandbox.demo.script import DemoLesson, Script


class LessonTitles:
    """The titles of all lessons, also of those that are created on the page."""

    def __init__(self, db: psycopg.Connection) -> None:
        self._db = db
        self._titles: dict[str, str] = {}

    def __call__(self, lesson_id: str) -> str:
        """Return the title of a lesson; of one that is gone, its id."""
        if lesson_id not in self._titles:
            row = self._db.execute(
                "select title from lessons where id::text = %s", [lesson_id]
            ).fetchone()
            if row is None:
                return lesson_id
            self._titles[lesson_id] = row[0]
        return self._titles[lesson_id]


def lesson_rows(script: Script, db: psycopg.Connection) -> list[LessonRow]:
    """Return the script's lessons as they are now; others are created on the page."""
    rows = db.execute(
        "select l.id, l.title, l.status, coalesce(t.error_type, t.status::text), "
        "l.mux_playback_id, "
        "extract(epoch from coalesce(t.settled_at, now()) - t.tracked_at)::float "
        "from lessons l join mux_asset_tracking t on t.lesson_id = l.id order by l.created_at"
    ).fetchall()
    instructors = {lesson.lesson_id: lesson.plan.instructor for lesson in script.lessons.values()}
    return [
        LessonRow(title, instructors[str(lesson_id)], status, tracking, playback or "", seconds)
        for lesson_id, title, status, tracking, playback, seconds in rows
        if str(lesson_id) in instructors
    ]


def count_by_source(script: Script, db: psycopg.Connection) -> list[tuple[str, int]]:
    """Count the published lessons by the source of the observation."""
    return db.execute(
        "select observation ->> 'source', count(*) from mux_asset_events "
        "where event in ('published', 'attached') and lesson_id = any(%s::uuid[]) "
        "group by 1 order by 1",
        [[lesson.lesson_id for lesson in script.lessons.values()]],
    ).fetchall()


def find_errors(script: Script, db: psycopg.Connection) -> list[str]:
    """Return a sentence for each difference between a lesson and its plan."""
    return [
        error for lesson in script.lessons.values() for error in _check_lesson(script, lesson, db)
    ]


def _check_lesson(script: Script, lesson: DemoLesson, db: psycopg.Connection) -> Iterator[str]:
    row = db.execute(
        "select l.status, t.status::text, t.error_type, t.mux_asset_id, l.mux_asset_id, "
        "l.mux_playback_id, (select e.observation ->> 'source' from mux_asset_events e "
        "where e.lesson_id = l.id order by e.id desc limit 1) "
        "from lessons l join mux_asset_tracking t on t.lesson_id = l.id where l.id = %s",
        [lesson.lesson_id],
    ).fetchone()
    status, tracking, error_type, tracked_asset, *ids, source = row or (None,) * 7
    title = f"“{lesson.plan.title}”"
    if lesson.plan.by_webhook != (source == "webhook"):
        yield f"The source of {title} is {source}."
    expected_ids = script.expected_ids(lesson)
    if expected_ids is None:
        expected: tuple[Any, ...] = ("draft", "error", lesson.plan.error_type)
    else:
        expected = ("published", "ready", None)
        if (tracked_asset, *ids) != (expected_ids[0], *expected_ids):
            yield f"{title} has the ids {ids}, not {list(expected_ids)}."
    if (status, tracking, error_type) != expected:
        yield f"{title} is {(status, tracking, error_type)}, not {expected}."
