"""Tables of lessons as apps have them: what each looks like, and the options that fit it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from sandbox.supabase.stack import LocalSupabase
from tests.sql.installing import run

ANNA = "aaaaaaaa-0000-4000-8000-000000000001"
BERT = "bbbbbbbb-0000-4000-8000-000000000002"

SANDBOX_LESSONS = "drop table lessons, notifications cascade; drop function notify_students()"


@dataclass(frozen=True)
class Shape:
    """One app: its tables, the options that fit, and how the app itself creates a lesson.

    `create` has the parameters owner, status, asset and playback, and returns the key as text.
    `anna` and `bert` are ids of users as the app has them. `no_key` is a text that is no key.
    `parents` are the tables between a lesson and its owner; `columns` are those, with their tables,
    whose types the app may change.
    """

    name: str
    tables: str
    options: tuple[str, ...] = ()
    lessons: str = "public.lessons"
    key: str = "id"
    create: str = """
        insert into lessons (creator_id, title, status, mux_asset_id, mux_playback_id)
        values (%(owner)s, 'A lesson', %(status)s, %(asset)s, %(playback)s) returning id::text"""
    key_type: str = "uuid"
    draft: str | None = "draft"
    published: str | None = "published"
    has_status: bool = True
    has_owner: bool = True
    anna: str = ANNA
    bert: str = BERT
    title: str | None = "A lesson"
    no_key: str = "00000000-0000-0000-0000-00000000000"
    parents: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    extension: str | None = None

    def __str__(self) -> str:
        """Return what a test calls it."""
        return self.name


def columns(*names: str, table: str = "public.lessons") -> tuple[tuple[str, str], ...]:
    """Return columns of a table whose types the app may change."""
    return tuple((table, name) for name in names)


WRITTEN = columns("status", "mux_asset_id", "mux_playback_id", "updated_at")
ALL = (*WRITTEN, *columns("creator_id", "title"))
WITHOUT_OWNER = (*WRITTEN, *columns("title"))

REPORT = """
    create table lessons (
      id uuid primary key default gen_random_uuid(),
      creator_id uuid not null,
      title text not null,
      status text not null default 'draft',
      mux_asset_id text,
      mux_playback_id text,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );
    alter table lessons enable row level security;"""

COURSES = """
    create table courses (
      course_id uuid primary key default gen_random_uuid(), instructor_id uuid not null, name text
    );
    alter table courses enable row level security;"""

CREATE_IN_COURSE = """
    with course as (
      insert into courses (instructor_id) values (%(owner)s) returning course_id
    )
    insert into lessons (course_id, title, status, mux_asset_id, mux_playback_id)
    select course_id, 'A lesson', %(status)s, %(asset)s, %(playback)s from course
    returning id::text"""

SHAPES = (
    Shape("the report's", REPORT, columns=ALL),
    Shape(
        "is_published",
        REPORT.replace(
            "status text not null default 'draft'", "is_published boolean not null default false"
        ),
        ("--status", "is_published", "--draft", "false", "--published", "true"),
        create="""
            insert into lessons (creator_id, title, is_published, mux_asset_id, mux_playback_id)
            values (%(owner)s, 'A lesson', %(status)s::boolean, %(asset)s, %(playback)s)
            returning id::text""",
        draft="false",
        published="true",
        columns=(
            *columns("is_published", "mux_asset_id", "mux_playback_id", "updated_at"),
            *columns("creator_id", "title"),
        ),
    ),
    Shape(
        "capitals with a check",
        REPORT.replace(
            "default 'draft'",
            "default 'DRAFT' check (status in ('DRAFT', 'REVIEW', 'PUBLISHED', 'ARCHIVED'))",
        ),
        ("--draft", "DRAFT", "--published", "PUBLISHED"),
        draft="DRAFT",
        published="PUBLISHED",
        columns=ALL,
    ),
    Shape(
        "capitals as an enum",
        "create type lesson_status as enum ('DRAFT', 'PUBLISHED', 'ARCHIVED');"
        + REPORT.replace("status text not null default 'draft'", "status lesson_status not null"),
        ("--draft", "DRAFT", "--published", "PUBLISHED"),
        create="""
            insert into lessons (creator_id, title, status, mux_asset_id, mux_playback_id)
            values (%(owner)s, 'A lesson', %(status)s::lesson_status, %(asset)s, %(playback)s)
            returning id::text""",
        draft="DRAFT",
        published="PUBLISHED",
        columns=ALL,
    ),
    Shape(
        "null as draft",
        REPORT.replace(
            "status text not null default 'draft'",
            "status text check (status in ('published', 'archived'))",
        ),
        ("--draft", "null"),
        draft=None,
        columns=ALL,
    ),
    Shape(
        "bigint keys",
        REPORT.replace(
            "uuid primary key default gen_random_uuid()",
            "bigint generated always as identity primary key",
        ),
        key_type="bigint",
        no_key="12.5",
        columns=ALL,
    ),
    Shape(
        "cuid keys",
        REPORT.replace("uuid primary key default gen_random_uuid()", "text primary key"),
        create="""
            insert into lessons (id, creator_id, title, status, mux_asset_id, mux_playback_id)
            values ('c' || substr(md5(random()::text), 1, 24), %(owner)s, 'A lesson', %(status)s,
                    %(asset)s, %(playback)s)
            returning id""",
        key_type="text",
        no_key="",
        columns=ALL,
    ),
    Shape(
        "the course's instructor",
        COURSES
        + REPORT.replace(
            "creator_id uuid not null",
            "course_id uuid not null references courses on delete cascade",
        ),
        ("--owner", "course_id:public.courses.instructor_id"),
        create=CREATE_IN_COURSE,
        parents=("courses",),
        columns=(*WITHOUT_OWNER, *columns("instructor_id", table="public.courses")),
    ),
    Shape(
        "two parents",
        COURSES
        + """
        create table modules (
          id bigint generated always as identity primary key,
          course_id uuid not null references courses on delete cascade
        );
        alter table modules enable row level security;"""
        + REPORT.replace(
            "creator_id uuid not null", "module_id bigint not null references modules"
        ),
        ("--owner", "module_id:public.modules.course_id:public.courses.instructor_id"),
        create="""
            with course as (
              insert into courses (instructor_id) values (%(owner)s) returning course_id
            ), module as (
              insert into modules (course_id) select course_id from course returning id
            )
            insert into lessons (module_id, title, status, mux_asset_id, mux_playback_id)
            select id, 'A lesson', %(status)s, %(asset)s, %(playback)s from module
            returning id::text""",
        parents=("modules", "courses"),
        columns=(*WITHOUT_OWNER, *columns("instructor_id", table="public.courses")),
    ),
    Shape(
        "users of another service",
        REPORT.replace("creator_id uuid", "user_id text"),
        ("--owner", "user_id"),
        create="""
            insert into lessons (user_id, title, status, mux_asset_id, mux_playback_id)
            values (%(owner)s, 'A lesson', %(status)s, %(asset)s, %(playback)s)
            returning id::text""",
        anna="user_2abcDEF",
        bert="user_2abcdef",
        columns=(*WITHOUT_OWNER, *columns("user_id")),
    ),
    Shape(
        "no owner",
        REPORT.replace("creator_id uuid not null,", ""),
        ("--owner", "none"),
        create="""
            insert into lessons (title, status, mux_asset_id, mux_playback_id)
            values ('A lesson', %(status)s, %(asset)s, %(playback)s) returning id::text""",
        has_owner=False,
        columns=WITHOUT_OWNER,
    ),
    Shape(
        "nothing is published",
        REPORT.replace("status text not null default 'draft',", ""),
        ("--status", "none"),
        create="""
            insert into lessons (creator_id, title, mux_asset_id, mux_playback_id)
            values (%(owner)s, 'A lesson', %(asset)s, %(playback)s) returning id::text""",
        draft=None,
        published=None,
        has_status=False,
        columns=columns("mux_asset_id", "mux_playback_id", "updated_at", "creator_id", "title"),
    ),
    Shape(
        "another name in another schema",
        """
        create schema academy;
        create type academy.visibility as enum ('hidden', 'visible');
        create table academy.lectures (
          lecture_id integer generated by default as identity primary key,
          teacher_id uuid not null,
          name varchar(200) not null,
          visibility academy.visibility not null default 'hidden',
          mux_asset varchar(255),
          mux_playback varchar(255),
          modified_at timestamptz not null default now()
        );
        create table academy.changes (lecture_id integer);
        create function academy.note_change() returns trigger language plpgsql as $$
        begin
          insert into changes values (new.lecture_id);
          return null;
        end $$;
        create trigger note_change after update on academy.lectures
          for each row execute function academy.note_change();
        grant usage on schema academy to service_role;
        grant insert on academy.changes to service_role;""",
        (
            *("--lessons", "academy.lectures", "--key", "lecture_id", "--owner", "teacher_id"),
            *("--status", "visibility", "--draft", "hidden", "--published", "visible"),
            *("--asset", "mux_asset", "--playback", "mux_playback"),
            *("--updated", "modified_at", "--title", "name"),
        ),
        lessons="academy.lectures",
        key="lecture_id",
        create="""
            insert into academy.lectures (teacher_id, name, visibility, mux_asset, mux_playback)
            values (%(owner)s, 'A lesson', %(status)s::academy.visibility, %(asset)s, %(playback)s)
            returning lecture_id::text""",
        key_type="integer",
        draft="hidden",
        published="visible",
        no_key="9999999999",
        columns=columns(
            *("teacher_id", "name", "visibility", "mux_asset", "mux_playback", "modified_at"),
            table="academy.lectures",
        ),
    ),
    Shape(
        "Prisma's",
        """
        create type "LessonStatus" as enum ('DRAFT', 'PUBLISHED');
        create table "User" (
          "id" text not null, "email" text not null, constraint "User_pkey" primary key ("id")
        );
        create table "Course" (
          "id" text not null, "ownerId" text not null, "updatedAt" timestamp(3) not null,
          constraint "Course_pkey" primary key ("id"),
          constraint "Course_ownerId_fkey" foreign key ("ownerId") references "User" ("id")
            on delete restrict on update cascade
        );
        create table "Lesson" (
          "id" text not null,
          "courseId" text not null,
          "title" text not null,
          "order" integer not null default 0,
          "status" "LessonStatus" not null default 'DRAFT',
          "muxAssetId" text,
          "muxPlaybackId" text,
          "createdAt" timestamp(3) not null default current_timestamp,
          "updatedAt" timestamp(3) not null,
          constraint "Lesson_pkey" primary key ("id"),
          constraint "Lesson_courseId_fkey" foreign key ("courseId") references "Course" ("id")
            on delete cascade on update cascade
        );
        alter table "Course" enable row level security;
        alter table "Lesson" enable row level security;""",
        (
            *("--lessons", "public.Lesson", "--owner", "courseId:public.Course.ownerId"),
            *("--draft", "DRAFT", "--published", "PUBLISHED", "--asset", "muxAssetId"),
            *("--playback", "muxPlaybackId", "--updated", "updatedAt"),
        ),
        lessons='public."Lesson"',
        create="""
            with owner as (
              insert into "User" values (%(owner)s, 'x') on conflict do nothing
            ), course as (
              insert into "Course" values (md5(random()::text), %(owner)s, now()) returning "id"
            )
            insert into "Lesson" (
              "id", "courseId", "title", "status", "muxAssetId", "muxPlaybackId", "updatedAt")
            select 'cl' || substr(md5(random()::text), 1, 23), "id", 'A lesson',
                   %(status)s::"LessonStatus", %(asset)s, %(playback)s, now()
            from course
            returning "id" """,
        key_type="text",
        draft="DRAFT",
        published="PUBLISHED",
        no_key="",
        parents=('"Course"',),
        columns=columns(
            *("title", "status", '"muxAssetId"', '"muxPlaybackId"', '"updatedAt"'),
            table='public."Lesson"',
        ),
    ),
    Shape(
        "no updated_at",
        REPORT.replace("updated_at timestamptz not null default now()", "position integer"),
        ("--updated", "none"),
        columns=columns("status", "mux_asset_id", "mux_playback_id", "creator_id", "title"),
    ),
    Shape(
        "partitioned",
        REPORT.replace("\n    );\n    alter", "\n    ) partition by hash (id);\n    alter")
        + """
        create table lessons_0 partition of lessons for values with (modulus 2, remainder 0);
        create table lessons_1 partition of lessons for values with (modulus 2, remainder 1);""",
        columns=ALL,
    ),
    Shape(
        "triggers",
        REPORT
        + """
        create table lesson_audit (
          at timestamptz not null default now(), lesson_id uuid, before jsonb, after jsonb
        );
        create table counters (name text primary key, n integer not null default 0);
        insert into counters values ('published');
        create function note_change() returns trigger language plpgsql as $$
        begin
          insert into lesson_audit (lesson_id, before, after)
          values (new.id, to_jsonb(old), to_jsonb(new));
          return new;
        end $$;
        create function count_published() returns trigger language plpgsql as $$
        begin
          update counters set n = n + 1 where name = 'published';
          return null;
        end $$;
        create trigger moddatetime before update on lessons
          for each row execute function extensions.moddatetime(updated_at);
        create trigger note_change before update on lessons
          for each row execute function note_change();
        create trigger count_published after update on lessons for each row
          when (new.status = 'published' and old.status <> 'published')
          execute function count_published();
        grant insert on lesson_audit to service_role;
        grant select, update on counters to service_role;""",
        columns=columns("mux_asset_id", "mux_playback_id", "creator_id", "title"),
        extension="moddatetime",
    ),
)
"""Each differs from the report's in what its name says, or comes as a framework makes it."""


@contextmanager
def app_database(supabase: LocalSupabase, shape: Shape) -> Iterator[str]:
    """Create the database of an app whose lessons have this shape, while the block lasts."""
    dsn = supabase.create_database("shape")
    try:
        with supabase.connect("supabase_admin", "shape") as admin:
            admin.execute("create schema extensions; grant usage on schema extensions to public")
            if shape.extension:
                admin.execute(f"create extension {shape.extension} schema extensions".encode())
        run(dsn, SANDBOX_LESSONS)
        run(dsn, shape.tables)
        yield dsn
    finally:
        supabase.drop_database("shape")


def create_lesson(
    connection: psycopg.Connection,
    shape: Shape,
    *,
    status: str | None = "draft",
    owner: str | None = None,
    asset_id: str | None = None,
    playback_id: str | None = None,
) -> str:
    """Create a lesson as the app does, a `draft` or `published` one; return its key."""
    word = {"draft": shape.draft, "published": shape.published}.get(status or "", status)
    values: dict[str, Any] = {
        "owner": owner or shape.anna,
        "status": word,
        "asset": asset_id,
        "playback": playback_id,
    }
    row = connection.execute(shape.create.encode(), values).fetchone()
    assert row is not None
    return str(row[0])
