"""The whole story on every shape of the app's table: track, publish, fail, adopt, delete, undo."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from sandbox.supabase.databases import OWNER
from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA, BERT
from tests.sql.installing import DOWN, catalog
from tests.sql.instructor import NO_SUCH_LESSON, Instructor, refusal
from tests.sql.lesson_shapes import ALL, REPORT, SHAPES, Shape, app_database
from tests.sql.lesson_story import UPSERT, Story, fetch
from tests.sql.service import FAIL, PUBLISH, WAIT, Json, Service, fact, looked_at
from tests.sql.test_lesson_shapes import parse
from worker.adapter.quoting import quote_name
from worker.adapter.render import optional_script, scripts
from worker.doctor import checks, grants
from worker.doctor.checks import Check
from worker.project_key import WORKER_ROLE
from worker.sql_files import optional_files
from worker.supabase.errors import REQUIRED_SCHEMA

pytestmark = pytest.mark.stack

TEMPLATE, DATABASE = "shape", "story"
CLOSED = "42501"

OFTEN = 7
"""Postgres keeps a plan from the sixth call on."""

KEY = "uuid primary key default gen_random_uuid()"
CREATE_WITH_LETTER = """
    insert into lessons (id, creator_id, title, status, mux_asset_id, mux_playback_id)
    select chr(case when mod(n, 2) = 0 then 65 else 97 end + n::integer), %(owner)s, 'A lesson',
           %(status)s, %(asset)s, %(playback)s
    from nextval('lesson_numbers') n returning id"""

MORE_SHAPES = (
    Shape(
        "varchar keys, ordered as people do",
        "create sequence lesson_numbers maxvalue 25;"
        + REPORT.replace(KEY, 'varchar(30) collate "en-x-icu" primary key'),
        create=CREATE_WITH_LETTER,
        key_type="text",
        no_key="",
        columns=ALL,
    ),
    Shape(
        "domains",
        "create domain lesson_id as uuid; create domain word as text check (value <> '');"
        + REPORT.replace(KEY, f"lesson_id {KEY.removeprefix('uuid ')}")
        .replace("creator_id uuid", "creator_id word")
        .replace("status text", "status word"),
        columns=ALL,
    ),
)
"""What the page says of types beside its table of shapes."""


@dataclass(frozen=True)
class Installed:
    """A database of an app with all of sql/, and its catalog as it was before."""

    shape: Shape
    before: dict[str, list[tuple[object, ...]]]


@pytest.fixture(scope="module", params=(*SHAPES, *MORE_SHAPES), ids=str)
def installed(
    request: pytest.FixtureRequest, shared_supabase: LocalSupabase
) -> Iterator[Installed]:
    """Yield a template with what `mux-worker sql` prints for the shape."""
    shape: Shape = request.param
    with app_database(shared_supabase, shape) as dsn:
        before = catalog(dsn)
        run_all(dsn, list(scripts(parse(shape.options)).values()))
        yield Installed(shape, before)


@pytest.fixture
def story(installed: Installed, shared_supabase: LocalSupabase) -> Iterator[Story]:
    """Yield a copy of the template, and connections of all roles to it."""
    shape, options = installed.shape, parse(installed.shape.options)
    copy_template(shared_supabase)
    try:
        with ExitStack() as stack:
            db, service, anna, bert = (
                stack.enter_context(shared_supabase.connect(role, DATABASE))
                for role in (None, "service_role", "authenticated", "authenticated")
            )
            schema = quote_name(options.lessons.schema)
            db.execute(f"set search_path = {schema}, public, extensions".encode())
            users = Instructor(anna, ANNA), Instructor(bert, BERT)
            for user, sub in zip(users, (shape.anna, shape.bert), strict=True):
                user.claim(sub=sub, role="authenticated")
            yield Story(shape, options, db, Service(service), *users)
    finally:
        shared_supabase.drop_database(DATABASE)


def copy_template(supabase: LocalSupabase) -> None:
    """Create the database of a test."""
    template = conninfo_to_dict(supabase.dsn(database=TEMPLATE))["dbname"]
    copy = conninfo_to_dict(supabase.dsn(database=DATABASE))["dbname"]
    statement = "create database {} template {} owner {} strategy file_copy"
    names = (sql.Identifier(str(name)) for name in (copy, template, OWNER))
    with supabase.connect("supabase_admin") as admin:
        admin.execute(sql.SQL(statement).format(*names))


def run_all(dsn: str, statements: list[str]) -> None:
    """Run scripts as the owner, on one connection."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for script in statements:
            connection.execute(script.encode())


def test_the_doctor_finds_no_fault(installed: Installed, shared_supabase: LocalSupabase) -> None:
    """With any name of the table and any owner, with and without a status."""
    shape = installed.shape
    with shared_supabase.connect("service_role", TEMPLATE) as service:
        facts: Json = fetch(service, "select worker_doctor()")
        table = fetch(service, "select mux_private.lessons_table()::text")
    found = judged(facts)
    assert [check for check in found if check.health != "ok"] == []
    assert facts["lessons"] == table
    assert facts["lessons"] in found[3].detail
    assert ("service_role" in found[6].detail) is not shape.has_owner


def judged(facts: Json) -> list[Check]:
    """Return the checks of what differs by the shape or by the role of the key."""
    return [
        checks.check_role(facts, None, 0),
        checks.check_schema(facts, REQUIRED_SCHEMA),
        checks.check_objects(facts),
        checks.check_lessons(facts),
        checks.check_triggers(facts),
        grants.check_functions(facts),
        grants.check_app_functions(facts),
        grants.check_anon(facts),
    ]


OF_OWNER = """
    select format('alter function %s security definer set search_path = %I, public',
                  p.oid::regprocedure, p.pronamespace::regnamespace)
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_language l on l.oid = p.prolang
    where t.tgrelid = mux_private.lessons_table() and not t.tgisinternal
      and p.pronamespace <> 'mux_private'::regnamespace and l.lanname = 'plpgsql'"""
"""Has the app's triggers run with their owner's rights."""


def test_the_workers_own_role_serves_it_as_well(
    story: Story, shared_supabase: LocalSupabase
) -> None:
    """With what `mux-worker sql` prints for it, though no policy of the app shows it a lesson.

    Where a trigger of the app is in the way, and only there, the doctor warns before.
    """
    hide_everything(story)
    script = optional_script(story.options, optional_files()["worker_role"])
    run_all(story.db.info.dsn, [script, script])
    lessons, doubtful = [story.lesson(), story.lesson()], ["nothing was checked"]
    with shared_supabase.connect(WORKER_ROLE, DATABASE) as connection:
        worker = Service(connection)
        for number, lesson in enumerate(lessons):
            story.track(lesson, f"up{number}")
            found = judged(fetch(connection, "select worker_doctor()"))
            doubtful = [check.name for check in found if check.health != "ok"]
            assert doubtful in ([], ["triggers"])
            assert [row["lesson_id"] for row in worker.claim()] == [lesson]
            outcome = "refused" if doubtful else story.done
            assert worker.outcomes(fact(PUBLISH, f"up{number}", f"as{number}")) == [outcome]
            for (statement,) in story.db.execute(OF_OWNER.encode()).fetchall():
                story.db.execute(statement.encode())
    assert doubtful == []
    assert story.state(lessons[1]) == story.changed("published", "as1")


def test_an_upload_is_published_for_its_instructor_alone(story: Story) -> None:
    """By RPC and by a bare upsert, though the app's own policies hide lessons and parents."""
    hide_everything(story)
    shape, uploads = story.shape, ["up1", "up2"]
    lessons = [story.lesson(), story.lesson("published")]
    story.grow_old()
    assert story.track(lessons[0], "up1")["status"] == "processing"
    story.upsert(lessons[1], "up2")
    claimed = {row["upload_id"]: row for row in story.service.claim()}
    assert [(claimed[up]["lesson_id"], claimed[up]["lesson_status"]) for up in uploads] == [
        (lessons[0], shape.draft),
        (lessons[1], shape.published),
    ]
    verdicts = [
        fact(PUBLISH, up, asset, claimed=[looked_at(claimed[up], PUBLISH)], lesson_references=named)
        for up, asset, named in (
            ("up1", "as1", [lessons[0], shape.no_key]),
            ("up2", "as2", [shape.anna, lessons[0]]),
        )
    ]
    outcomes = [(o["outcome"], o["lesson_id"]) for o in story.service.settle(*verdicts)]
    assert outcomes == [(story.done, lessons[0]), ("attached", lessons[1])]
    assert story.service.outcomes(*verdicts) == ["unchanged", "unchanged"]
    for lesson, asset in zip(lessons, ("as1", "as2"), strict=True):
        assert story.state(lesson) == story.changed("published", asset)
        (row,) = story.tracking(lesson)
        assert (row["status"], row["next_check_at"]) == ("ready", None)
    words = [(shape.draft, shape.published), (shape.published, shape.published)]
    assert [story.events(lesson) for lesson in lessons] == [
        [("tracked", story.owner, None, None), (story.done, story.owner, *words[0])],
        [("tracked", story.owner, None, None), ("attached", story.owner, *words[1])],
    ]
    if shape.has_owner:
        expect_theirs_alone(story, lessons[0])
    else:
        expect_nobodys(story, lessons[0])


def hide_everything(story: Story) -> None:
    """Let the app's own policies show no lesson and no parent to anybody."""
    story.lesson()
    tables = (story.shape.lessons, *story.shape.parents)
    story.open(tables, "select")
    for table in tables:
        story.db.execute(f"alter table {table} enable row level security".encode())
        assert fetch(story.db, f"select count(*) from {table}") == 1
        assert fetch(story.anna.connection, f"select count(*) from {table}") == 0


def expect_theirs_alone(story: Story, lesson: str) -> None:
    """Expect that Anna sees what is hers, and that Bert sees and gets nothing of it."""
    anna, bert, other = story.anna, story.bert, story.lesson(owner=story.shape.bert)
    assert (seen(anna), seen(bert)) == ((2, 4), (0, 0))
    status = anna.check_asset_status(lesson)
    assert (status["status"], status["playbackId"]) == ("ready", "play-as1")
    assert anna.publish_lesson(lesson) == {"playable": True}
    assert refusal(bert.check_asset_status, lesson) == NO_SUCH_LESSON
    assert refusal(bert.track_upload, lesson, "up3") == NO_SUCH_LESSON
    assert refusal(bert.publish_lesson, lesson) == NO_SUCH_LESSON
    assert refusal(bert.check_asset_status, story.shape.no_key) == NO_SUCH_LESSON
    assert refusal(bert.connection.execute, UPSERT, [lesson, "up3", None])[0] == CLOSED
    assert bert.connection.execute("delete from mux_asset_tracking").rowcount == 0

    bert.track_upload(other, "up1")
    assert story.settle(PUBLISH, "up1", other) == "failed"
    assert bert.check_asset_status(other)["error"]["type"] == "lesson_mismatch"
    assert story.state(other)["asset_id"] is None
    assert (seen(anna), seen(bert)) == ((2, 4), (1, 2))


def seen(instructor: Instructor) -> tuple[int, int]:
    """Return how many tracking rows and audit rows an instructor sees."""
    rows = fetch(instructor.connection, "select count(*) from mux_asset_tracking")
    return rows, fetch(instructor.connection, "select count(*) from mux_asset_events")


def expect_nobodys(story: Story, lesson: str) -> None:
    """Expect that without owners signed-in users see nothing and may call nothing."""
    anna = story.anna
    assert refusal(anna.check_asset_status, lesson)[0] == CLOSED
    assert refusal(anna.track_upload, lesson, "up3")[0] == CLOSED
    assert refusal(anna.publish_lesson, lesson)[0] == CLOSED
    assert refusal(anna.connection.execute, UPSERT, [lesson, "up3", None])[0] == CLOSED
    assert refusal(seen, anna)[0] == CLOSED
    assert refusal(story.track, story.shape.no_key, "up3") == NO_SUCH_LESSON


def test_a_failure_is_told_a_lesson_published_by_hand_and_all_undone(
    story: Story, installed: Installed
) -> None:
    """What failed is tried again; by hand, a lesson gets its asset; the undo leaves no trace."""
    shape, failed = story.shape, story.lesson()
    story.track(failed, "up1")
    assert story.settle(FAIL, "up1", failed) == "failed"
    assert story.events(failed)[-1] == ("failed", story.owner, None, None)
    assert story.state(failed)["status"] == shape.draft
    assert story.ask("worker_failures()") == {"asset_errored": 1}
    (shown,) = story.ask("worker_overview() #> '{lists,failed,lessons}'")
    assert [shown[name] for name in ("lesson_id", "status", "title")] == [
        *(failed, shape.draft, shape.title)
    ]
    assert story.ask("worker_retry(after => %s, operator => 'me')", failed) == []
    assert story.ask("worker_retry(operator => 'me')") == [failed]
    assert story.ask("worker_make_due(%s, 'me')", failed)["outcome"] == "made_due"
    assert story.settle(FAIL, "up1", failed) == "failed"
    if shape.has_owner:
        error = story.anna.check_asset_status(failed)["error"]
        assert error == {"message": "not a video", "type": "asset_errored"}
        expect_published_by_hand(story)
    ready = Jsonb(fact(PUBLISH, "up1", "as1"))
    (outcome,) = story.ask("worker_publish(%s, null, 'me')", ready)
    assert (outcome["outcome"], outcome["lesson_id"]) == (story.done, failed)
    assert story.state(failed) == story.changed("published", "as1")
    expect_undone(story, installed)


def expect_published_by_hand(story: Story) -> None:
    """Expect it for the owner alone, tracked or not; the worker adds the playback id."""
    by_hand = story.lesson()
    story.track(by_hand, "up2")
    assert story.settle(WAIT, "up2", by_hand) == "waiting"
    story.grow_old()
    assert refusal(story.bert.publish_lesson, by_hand) == NO_SUCH_LESSON
    assert story.anna.publish_lesson(by_hand) == {"playable": False}
    assert story.state(by_hand) == {**story.changed("published", "as2"), "playback_id": None}
    words = (story.shape.draft, story.shape.published)
    assert story.events(by_hand)[-1] == (story.done, story.owner, *words)
    assert story.settle(PUBLISH, "up2", by_hand) == "attached"
    assert story.state(by_hand) == story.changed("published", "as2")
    events = story.events(by_hand)
    assert story.anna.publish_lesson(by_hand) == {"playable": True}
    assert story.events(by_hand) == events

    untracked = story.lesson(asset_id="as3")
    assert story.anna.publish_lesson(untracked) == {"playable": False}
    assert story.settle(PUBLISH, "up3", untracked) == "attached"
    assert story.state(untracked) == story.changed("published", "as3")


def expect_undone(story: Story, installed: Installed) -> None:
    """Undo all; expect the catalog as before, but for grants to the service role, and all rows."""
    query = f"select * from {story.shape.lessons} order by 1"
    rows, dsn = story.rows(query), story.db.info.dsn
    run_all(dsn, [file.read_text() for file in sorted(DOWN.glob("*.sql"), reverse=True)])
    after, before = catalog(dsn), installed.before
    granted = {*after["column grants"]} - {*before["column grants"]}
    assert {table for table, *_ in granted} == {story.shape.lessons.removeprefix("public.")}
    assert {**after, "column grants": before["column grants"]} == before
    assert story.rows(query) == rows


def test_untracked_lessons_are_found_adopted_and_restored(story: Story) -> None:
    """The backfill reads lessons by key, adopts them and counts; the adoption does it by and by."""
    script = optional_script(story.options, optional_files()["lesson_indexes"])
    run_all(story.db.info.dsn, script.replace(" concurrently", "").split(";\n"))
    waiting = [story.placeholder(f"up{n}") for n in range(5)]
    others = [story.lesson("published", asset_id="as8"), story.lesson("published", asset_id="as9")]
    assert sorted(story.keys_in_order()) == sorted([*waiting, *others])
    found, walked = walk(story)
    assert walked == len(story.keys_in_order())
    assert found == [key for key in story.keys_in_order() if key in waiting]
    assert sorted(story.ask("worker_untracked()")) == sorted(waiting)

    lesson = waiting[0]
    (answer,) = adopt(story, lesson, lease=60)
    claim = answer["claim"]
    assert (answer["outcome"], claim["lesson_id"], claim["lesson_status"]) == (
        *("adopted", lesson),
        story.shape.draft,
    )
    assert story.service.claim() == []
    verdict = fact(PUBLISH, "up0", "as0", claimed=[looked_at(claim, PUBLISH)])
    assert story.service.outcomes(verdict) == [story.done]
    assert story.state(lesson) == story.changed("published", "as0")
    expect_known_by_key(story, lesson)

    stale = {"asset": "temp_up0", "playback": "temp_playback_up0"}
    for status in ("published", "draft"):  # a draft that is saved again is meant
        story.save(lesson, status=story.shape.draft, **stale)
        story.grow_old()
        assert lesson in story.ask("worker_untracked()")
        (answer,) = adopt(story, lesson)
        assert (answer["outcome"], answer["lesson_id"]) == ("restored", lesson)
        assert story.state(lesson) == story.changed(status, "as0")
    assert [event for event, *_ in story.events(lesson)] == [
        *("tracked", story.done, "restored", "restored")
    ]

    story.track(lesson, "up6")
    assert story.settle(PUBLISH, "up6", lesson) == story.done
    story.save(lesson, status=story.shape.draft, asset="as0", playback="play-as0")  # an older video
    assert lesson in story.ask("worker_untracked()")
    assert adopt(story, lesson)[0]["outcome"] == "restored"
    assert story.state(lesson) == story.changed("published", "as6")

    expect_backfilled(story, waiting[1:])
    second = story.placeholder("up7")
    assert story.ask("mux_private.holders(array['up7', 'up0'])") == {"up7": [story.owner]}
    outcome = "disputed" if story.shape.has_owner else "adopted"
    copies = [story.placeholder(upload, owner=story.shape.bert) for upload in ("up0", "up7")]
    for lesson in (*copies, second):
        assert adopt(story, lesson)[0]["outcome"] == outcome


def expect_backfilled(story: Story, lessons: list[str]) -> None:
    """Expect that a backfill adopts lessons, counts them, and lists those that failed, by key."""
    run = story.ask("worker_backfill_begin()")["backfill"]
    items = Jsonb([{"lesson_id": lesson} for lesson in lessons])
    planned = story.ask("worker_adopt(%s, true)", items)
    answers = story.ask("worker_adopt(%s, backfill => %s)", items, run)
    for answer, plan, lesson in zip(answers, planned, lessons, strict=True):
        assert (answer["outcome"], answer["lesson_id"]) == ("adopted", lesson)
        assert (plan["outcome"], plan["upload_id"]) == ("adopted", answer["upload_id"])
        assert plan["is_draft"] == story.shape.has_status
    progress = "worker_backfill_progress(%s) -> 'counts'"
    assert story.ask(progress, run) == {"unanswered": len(lessons)}
    uploads = [answer["upload_id"] for answer in answers]
    verdicts = [fact(FAIL, upload) for upload in uploads[:3]]
    story.service.settle(*verdicts, *(fact(PUBLISH, up, f"as-{up}") for up in uploads[3:]))
    assert story.ask(progress, run) == {"asset_errored": 3, story.done: 1}
    failures = story.ask("worker_backfill_failures(%s) -> 'failures'", run)
    assert {one["lesson_id"] for one in failures} == {*lessons[:3]}
    page = story.ask("worker_backfill_failures(%s, null, 2)", run)
    rest = story.ask("worker_backfill_failures(%s, %s, 2)", run, page["next"])
    assert page["failures"] + rest["failures"] == failures
    story.ask("worker_backfill_end(%s)", run)
    assert story.ask("worker_backfill_begin()")["is_resumed"] is False


def walk(story: Story) -> tuple[list[str], int]:
    """Read as the backfill does, two lessons a step; return the candidates, and how many of all."""
    found: list[str] = []
    walked, after = 0, None
    while True:
        step = story.ask("worker_backfill_candidates(%s, 2)", after)
        found += step["lesson_ids"]
        walked += step["walked"]
        if (after := step["next"]) is None:
            return found, walked


def adopt(story: Story, lesson: str, lease: float | None = None) -> list[Json]:
    """Adopt a lesson."""
    items = Jsonb([{"lesson_id": lesson}])
    answers: list[Json] = story.ask("worker_adopt(%s, lease_seconds => %s)", items, lease)
    return answers


def expect_known_by_key(story: Story, lesson: str) -> None:
    """Expect that what commands and dashboard call takes and returns the key as text."""
    shape = story.shape
    for known in (lesson, "up0", "as0"):
        (one,) = story.ask("worker_find_lessons(%s)", known)
        assert [one[name] for name in ("lesson_id", "owner", "status", "is_published")] == [
            *(lesson, story.owner, shape.published, shape.has_status)
        ]
    shown = story.ask("worker_lesson(%s)", lesson)
    assert (shown["lesson_id"], shown["title"]) == (lesson, shape.title)
    for events in (shown["events"], story.ask("worker_lesson_events(%s)", lesson)):
        assert [(event["event"], event["lesson_id"]) for event in events] == [
            ("tracked", lesson),
            (story.done, lesson),
        ]
    (listed,) = story.ask("worker_overview() #> '{lists,published,lessons}'")
    assert [listed[name] for name in ("lesson_id", "title", "owner")] == [
        *(lesson, shape.title, story.owner)
    ]
    assert listed["event"]["event"] == story.done
    searches = [lesson, *filter(None, (story.owner, shape.title))]
    for search in searches:
        found = story.ask("worker_list_lessons(search => %s)", search)["lessons"]
        assert lesson in [one["lesson_id"] for one in found]
    assert story.ask("worker_lesson(%s)", shape.no_key) is None
    assert story.ask("worker_lesson_events(%s)", shape.no_key) == []
    assert story.ask("worker_retry(array[%s], operator => 'me')", shape.no_key) == []
    assert story.ask("worker_make_due(%s, 'me')", shape.no_key)["outcome"] == "unchanged"
    assert adopt(story, shape.no_key)[0]["reason"] == "deleted"
    assert story.ask("worker_backfill_candidates(%s)", shape.no_key)["walked"] > 0
    assert story.ask("worker_backfill_failures(now(), %s)", shape.no_key)["failures"] == []


def test_columns_change_their_types_and_lessons_are_deleted(story: Story) -> None:
    """Sessions that hold plans go on; a deleted lesson takes its row and its schedule along."""
    changes, shape = story.shape.columns, story.shape
    lessons = [story.lesson() for _ in range(OFTEN + len(changes) + 1)]
    other = story.lesson(owner=shape.bert)
    stories = [publish_one(story, lesson, n) for n, lesson in enumerate(lessons[:OFTEN])]
    for number, (table, column) in enumerate(changes, OFTEN):
        change_type(story.db, table, column)
        stories.append(publish_one(story, lessons[number], number))
    assert stories == [stories[0]] * len(stories)

    story.track(lessons[-1], "up99")
    story.open((shape.lessons,), "select, delete")
    story.db.execute(
        f"create policy everything on {shape.lessons} to authenticated using (true)".encode()
    )
    for lesson in lessons:
        query = f"delete from {shape.lessons} where {story.key}::text = %s"
        assert story.anna.connection.execute(query.encode(), [lesson]).rowcount == 1
        assert story.ask("worker_lesson(%s)", lesson) is None
        assert story.events(lesson)[0] == ("tracked", story.owner, None, None)
    assert story.rows("select from mux_asset_tracking") == []
    assert story.rows("select from mux_private.schedule") == []
    query = "select distinct lesson_id, owner, count(*) over () from mux_private.upload_history"
    assert [tuple(row.values()) for row in story.rows(query)] == [(None, story.owner, len(lessons))]
    assert story.ask("worker_overview() #> '{lists,published,lessons}'") == []
    if shape.has_owner:  # whose a video is outlives the lesson
        story.bert.track_upload(other, "up0")
        assert story.settle(PUBLISH, "up0", other) == "failed"


NEW_TYPES = {
    "text": "varchar(300)",
    "character varying": "text",
    "uuid": "text",
    "boolean": "text",
    "timestamp with time zone": "timestamptz(0)",
    "timestamp without time zone": "timestamptz",
}


def change_type(db: psycopg.Connection, table: str, column: str) -> None:
    """Give a column another type that holds the same values; an enum becomes text."""
    row = db.execute(
        """select pg_catalog.format_type(atttypid, null) from pg_attribute
        where attrelid = %s::regclass and attname = %s""",
        [table, column.strip('"')],
    ).fetchone()
    assert row is not None
    kind = NEW_TYPES.get(row[0], "text")
    cast = "" if "timestamp" in kind else "::text"
    db.execute(
        f"alter table {table} alter {column} drop default, "
        f"alter {column} type {kind} using {column}{cast}::{kind}".encode()
    )


def publish_one(story: Story, lesson: str, number: int) -> list[Any]:
    """Track an upload and publish it, and call the rest; return what does not vary."""
    upload, asset = f"up{number}", f"as{number}"
    story.track(lesson, upload)
    came: list[Any] = [story.settle(PUBLISH, upload, lesson), story.events(lesson)]
    assert story.state(lesson) == story.changed("published", asset)
    shown = story.ask("worker_lesson(%s)", lesson)
    came += [shown[name] for name in ("title", "owner", "status", "is_published")]
    if story.shape.has_owner:
        came.append(story.anna.check_asset_status(lesson)["status"])
        came.append(story.anna.publish_lesson(lesson))
        came.append(refusal(story.bert.publish_lesson, lesson))
    story.save(lesson, status=story.shape.draft, asset=f"temp_{upload}")
    came.append(adopt(story, lesson)[0]["outcome"])
    assert story.state(lesson) == story.changed("published", asset)
    assert story.ask("worker_untracked()") == []
    assert story.ask("worker_backfill_candidates(null, 1)")["walked"] == 1
    facts = story.ask("worker_doctor()")
    assert (facts["lessons_problems"], facts["differences"]) == ([], [])
    assert facts["lessons_denied"] is None
    return came
