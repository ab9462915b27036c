"""An app changes the types of its own columns after the install: nothing of ours pins them."""

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.sql.instructor import Instructor
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack

# Not here: id, which keys refer to.
CHANGES = {
    "status": """
        create type lesson_status as enum ('draft', 'published', 'archived');
        alter table lessons drop constraint lesson_status_is_known, alter status drop default,
          alter status type lesson_status using status::lesson_status,
          alter status set default 'draft'""",
    "title": "alter table lessons alter title type varchar(200)",
    "mux_asset_id": "alter table lessons alter mux_asset_id type varchar(255)",
    "mux_playback_id": "alter table lessons alter mux_playback_id type varchar",
    "updated_at": "alter table lessons alter updated_at type timestamptz(0)",
    "created_at": "alter table lessons alter created_at type timestamp",
}
BOUND = {"status", "title"}
"""What the app's own trigger reads, which its own requests would fail over just so."""

OF_THE_APP = """
    drop trigger notify_students on lessons;
    drop policy "Visitors see published lessons" on lessons;
    alter policy "Users see published lessons and their own" on lessons
      using (creator_id = (select auth.uid()))"""
"""What of the app itself is bound to these columns, and has to be made again by it."""

OFTEN = 7
"""Postgres keeps a plan from the sixth call on."""


def everything(course: Course, service: Service, anna: Instructor) -> list[Any]:
    """Do all that the worker and the app do with lessons; give what came of it."""

    def ask(query: str, *values: object) -> Any:
        row = service.connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def adopt(*lessons: str, dry_run: bool = False) -> list[str]:
        items = [{"lesson_id": lesson, "by_hand": True} for lesson in lessons]
        answers = ask("select worker_adopt(%s, %s)", Jsonb(items), dry_run)
        return [answer["outcome"] for answer in answers]

    published, failed = course.tracked_lesson("up1"), course.tracked_lesson("up2")
    waiting, by_hand = course.tracked_lesson("up3"), course.lesson(mux_asset_id="as4")
    copy = course.lesson(mux_asset_id="temp_up9")
    claimed = {row["upload_id"]: row for row in service.claim()}
    came = [
        [row["lesson_status"] for row in claimed.values()],
        service.outcomes(
            fact(PUBLISH, "up1", "as1"),
            fact(FAIL, "up2"),
            fact(WAIT, "up3", claimed=[looked_at(claimed["up3"])]),
        ),
        service.release([claimed["up3"]]),
        anna.publish_lesson(by_hand),
        anna.track_upload(published, "up6", "temp_up6")["status"],
        anna.check_asset_status(failed)["error"],
        ask("select worker_lesson(%s::text) -> 'title'", waiting),
        ask("select worker_find_lessons('as1') -> 0 -> 'status'"),
        len(ask("select worker_backfill_candidates() -> 'lesson_ids'")),
        ask("select jsonb_array_length(worker_untracked())"),
        ask("select mux_private.holders(array['as4', 'up9'])"),
        adopt(str(by_hand), str(copy), dry_run=True),
        adopt(str(by_hand)),
        ask("select jsonb_array_length(worker_overview() #> '{lists,waiting,lessons}')"),
        ask("select jsonb_array_length(worker_retry(null, operator => 'me'))"),
        course.state(published)["status"],
    ]
    for lesson in (published, failed, waiting, by_hand, copy):
        course.delete(lesson)
    return came


@pytest.mark.parametrize("column", CHANGES)
def test_a_column_of_lessons_may_change_its_type(
    supabase: LocalSupabase, installed: str, column: str
) -> None:
    """The statement passes, and connections that hold plans go on as before."""
    with (
        psycopg.connect(installed, autocommit=True) as db,
        supabase.connect("service_role", "install") as worker,
        supabase.connect("authenticated", "install") as app,
    ):
        course, service = Course(db, anna=ANNA, bert=BERT), Service(worker)
        anna = Instructor(app, ANNA)
        before = [everything(course, service, anna) for _ in range(OFTEN)][-1]
        assert before[1] == ["published", "failed", "waiting"]
        if column in BOUND:
            db.execute(OF_THE_APP)
        db.execute(CHANGES[column].encode())
        assert everything(course, service, anna) == before


def test_nothing_of_ours_depends_on_what_an_app_may_change(db: psycopg.Connection) -> None:
    """Neither a function, nor a policy, nor a trigger of ours is bound to any column."""
    found = db.execute(
        """
        select distinct a.attname::text
        from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
        left join pg_policy p on d.classid = 'pg_policy'::regclass and p.oid = d.objid
        left join pg_trigger t on d.classid = 'pg_trigger'::regclass and t.oid = d.objid
        where d.refclassid = 'pg_class'::regclass and d.refobjid = 'lessons'::regclass
          and (d.classid = 'pg_proc'::regclass
               or coalesce(p.polrelid, 0) in (
                 'mux_asset_tracking'::regclass, 'mux_asset_events'::regclass)
               or t.tgfoid in (
                 select f.oid from pg_proc f where f.pronamespace = 'mux_private'::regnamespace))
        order by 1
        """
    ).fetchall()
    assert found == []
