"""Shapes of the app's table that cannot be served are refused, in words that say what can."""

import psycopg
import pytest

from tests.sql.installing import SQL, adapter, run
from tests.sql.lesson_shapes import SANDBOX_LESSONS
from worker.adapter.options import Options
from worker.adapter.quoting import RESERVED

pytestmark = pytest.mark.stack

TABLE = """
    create table lessons (
      id uuid primary key, creator_id uuid, course_id uuid, status text, title text,
      mux_asset_id text, mux_playback_id text, updated_at timestamptz
    );"""
COURSES = "create table courses (id uuid primary key, instructor_id uuid);"


def install(dsn: str, tables: str, **options: str) -> None:
    """Apply the preconditions and the adapter to an app's database."""
    run(dsn, SANDBOX_LESSONS)
    run(dsn, tables)
    run(dsn, (SQL / "010_preconditions.sql").read_text())
    run(dsn, adapter(Options.parse(options)))


@pytest.mark.parametrize(
    ("tables", "options", "problem"),
    [
        (
            TABLE.replace("id uuid primary key", "id uuid")
            .replace(
                "updated_at timestamptz", "updated_at timestamptz, primary key (id, updated_at)"
            )
            .replace(");", ") partition by range (updated_at);"),
            {},
            "it is partitioned by RANGE (updated_at) and should be by its key id, or not at all",
        ),
        (
            TABLE.replace("id uuid primary key", "id numeric primary key"),
            {},
            "column id is numeric and should be uuid, bigint, integer or text",
        ),
        (
            TABLE,
            {"key": "id:bigint"},
            "column id is uuid and should be bigint",
        ),
        (
            TABLE.replace("status text", "published_at timestamptz"),
            {"status": "published_at", "draft": "null", "published": "true"},
            "column published_at is timestamp with time zone and should be text, an enum or bool",
        ),
        (
            TABLE.replace("status text", "status text not null"),
            {"draft": "null"},
            "column status is text not null and cannot hold null",
        ),
        (
            TABLE.replace("status text", "is_published boolean"),
            {"status": "is_published"},
            (
                "column is_published is boolean and cannot hold draft (its words are true, false); "
                "column is_published is boolean and cannot hold published (its words are true, fal"
            ),
        ),
        (
            TABLE.replace("status text", "is_published boolean check (not is_published)"),
            {"status": "is_published", "draft": "false", "published": "true"},
            "check constraint lessons_is_published_check does not allow is_published true",
        ),
        (
            TABLE + "insert into lessons (id, status) values (gen_random_uuid(), 'draft')",
            {"draft": "new", "published": "o'clock"},
            "none of its rows has the status new or o'clock: they have draft",
        ),
        (
            TABLE.replace("mux_asset_id text", "mux_asset_id varchar(40)"),
            {"status": "none"},
            "column mux_asset_id is character varying(40) and cannot hold a Mux id of 64",
        ),
        (
            TABLE.replace("updated_at timestamptz", "updated_at bigint"),
            {},
            "column updated_at is bigint and should be timestamp with time zone or timestamp with",
        ),
        (
            TABLE,
            {"owner": "course_id:public.courses.instructor_id"},
            "table public.courses, where its owner should be found, does not exist",
        ),
        (
            TABLE + COURSES,
            {"owner": "course_id:public.courses.teacher_id"},
            "column teacher_id of public.courses is missing",
        ),
        (
            TABLE + COURSES.replace(" primary key", ""),
            {"owner": "course_id:public.courses.instructor_id"},
            "column course_id refers to no column of public.courses, which has no primary key",
        ),
        (
            TABLE + COURSES.replace("id uuid", "id text"),
            {"owner": "course_id:public.courses.instructor_id"},
            "operator does not exist: text = uuid",
        ),
    ],
)
def test_what_cannot_be_served_is_named(
    database: str, tables: str, options: dict[str, str], problem: str
) -> None:
    """The adapter stops with a sentence in the app's own names, and leaves nothing behind."""
    with pytest.raises(psycopg.Error) as refused:
        install(database, tables, **options)
    assert problem in (refused.value.diag.message_primary or "")
    with psycopg.connect(database) as connection:
        left = connection.execute("select to_regtype('mux_private.lesson')").fetchone()
    assert left == (None,)


def test_the_hint_says_how_to_find_the_options(database: str) -> None:
    """A table of other names needs no change, only the right options."""
    with pytest.raises(psycopg.Error) as refused:
        install(database, TABLE.replace("creator_id", "owner_id"))
    assert refused.value.diag.message_primary == (
        "public.lessons does not fit: column creator_id is missing"
    )
    assert "mux-worker sql --inspect" in (refused.value.diag.message_hint or "")


def test_a_key_that_changed_its_type_is_refused(database: str) -> None:
    """The types of our tables follow the key when the files are first applied, and only then."""
    install(database, TABLE)
    run(database, "alter table lessons alter id type text")
    with pytest.raises(psycopg.Error, match=r"column id of public\.lessons is text now, and"):
        run(database, adapter(Options()))


def test_names_and_words_are_quoted_as_sql_wants_it(database: str) -> None:
    """Capitals, blanks, quotes, percent signs, backslashes and reserved words."""
    options = Options.parse(
        {
            "lessons": "My Schema.les'sons%",
            "key": "order",
            "owner": 'user:My Schema.co"urses%s.100%',
            "status": "select",
            "draft": "it's",
            "published": "back\\slash",
            "asset": "a b",
            "playback": "%I",
            "updated": "when",
            "title": "l",
        }
    )
    run(database, SANDBOX_LESSONS)
    run(
        database,
        """create schema "My Schema";
        create table "My Schema"."co""urses%s" ("%" int primary key, "100%" text);
        create table "My Schema"."les'sons%" (
          "order" int primary key, "user" int references "My Schema"."co""urses%s",
          "select" text, "a b" text, "%I" text, "when" timestamptz, l text);
        insert into "My Schema"."co""urses%s" values (7, 'anna');
        insert into "My Schema"."les'sons%" values (1, 7, 'it''s', null, null, null, 'A lesson')""",
    )
    run(database, (SQL / "010_preconditions.sql").read_text())
    run(database, adapter(options))
    with psycopg.connect(database) as connection:
        connection.execute("select mux_private.write_video(1, true, 'as1', 'play1')")
        read = connection.execute(
            "select l.*, mux_private.lesson_title(1) from mux_private.lesson(1) l"
        ).fetchone()
    assert read == (1, "anna", "back\\slash", "as1", "play1", False, True, "A lesson")


def test_the_reserved_words_are_those_of_postgres(database: str) -> None:
    """Whatever this Postgres reserves is quoted."""
    query = "select word from pg_get_keywords() where catcode in ('R', 'T')"
    with psycopg.connect(database) as connection:
        reserved = {word for (word,) in connection.execute(query)}
    assert reserved <= RESERVED
