"""The adapter serves the app's table of lessons in every shape of tests/sql/lesson_shapes.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.sql.lesson_shapes import SHAPES, Shape, app_database, create_lesson
from worker.adapter.catalog import Catalog
from worker.adapter.options import Options
from worker.adapter.proposal import propose
from worker.adapter.render import optional_script, scripts
from worker.sql_files import optional_files

pytestmark = pytest.mark.stack


def parse(arguments: tuple[str, ...]) -> Options:
    """Return the options of a command line."""
    return Options.parse(
        {
            name.removeprefix("--"): value
            for name, value in zip(arguments[::2], arguments[1::2], strict=True)
        }
    )


def proposed(dsn: str) -> Options:
    """Return the options that --inspect proposes for a database."""
    with Catalog(dsn) as catalog:
        return propose(catalog.tables(), catalog.seen_words, {}).options


@dataclass(frozen=True)
class App:
    """An app's database with the adapter for its lessons."""

    supabase: LocalSupabase
    dsn: str
    shape: Shape
    db: psycopg.Connection
    service: psycopg.Connection

    def lesson(self, status: str = "draft", **values: Any) -> str:
        """Create a lesson as the app does."""
        return create_lesson(self.db, self.shape, status=status, **values)

    def ask(self, expression: str, *values: object) -> Any:
        """Return what an expression gives to the worker; composites as dictionaries."""
        query = f"select to_jsonb({expression})".replace("KEY", "mux_private.lesson_key(%s)")
        row = self.service.execute(query.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def read(self, lesson: str) -> dict[str, Any]:
        """Return a lesson as the worker reads it, without its key."""
        found: dict[str, Any] = self.ask("mux_private.lesson(KEY)", lesson)
        assert str(found.pop("id")) == lesson
        return found

    def expected(
        self, status: str, asset: str | None = None, playback: str | None = None
    ) -> dict[str, Any]:
        """Return what is to be read of a lesson of Anna's."""
        shape = self.shape
        word = shape.draft if status == "draft" else shape.published
        return {
            "owner": shape.anna if shape.has_owner else None,
            "status": word,
            "asset_id": asset,
            "playback_id": playback,
            "is_draft": shape.has_status and status == "draft",
            "is_published": shape.has_status and status == "published",
        }


@dataclass(frozen=True)
class Installed:
    """The database of an app, with the adapter that --inspect proposes."""

    dsn: str
    shape: Shape


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def installed(
    request: pytest.FixtureRequest, shared_supabase: LocalSupabase
) -> Iterator[Installed]:
    """Yield the database of an app, once for all tests of a shape."""
    shape: Shape = request.param
    with app_database(shared_supabase, shape) as dsn:
        install(dsn, proposed(dsn))
        yield Installed(dsn, shape)


@pytest.fixture
def app(installed: Installed, shared_supabase: LocalSupabase) -> Iterator[App]:
    """Yield the app with new connections; at the end of a test its lessons are deleted."""
    shape, dsn = installed.shape, installed.dsn
    with (
        psycopg.connect(dsn, autocommit=True) as db,
        shared_supabase.connect("service_role", "shape") as service,
    ):
        schema = parse(shape.options).lessons.schema
        db.execute(f"set search_path = {schema}, public, extensions".encode())
        yield App(shared_supabase, dsn, shape, db, service)
        for table in (shape.lessons, *shape.parents):
            db.execute(f"delete from {table}".encode())


def install(dsn: str, options: Options) -> None:
    """Apply the files that `mux-worker sql` prints for the table."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for script in scripts(options).values():
            connection.execute(script.encode())


def test_inspected_its_options_are_proposed(app: App) -> None:
    """Exactly those that fit, and the database keeps them."""
    assert proposed(app.dsn) == parse(app.shape.options)
    kept = app.ask("mux_private.lesson_options()")
    assert (kept["key"], kept["status"], kept["draft"]) == (
        parse(app.shape.options).key,
        parse(app.shape.options).status,
        parse(app.shape.options).draft,
    )


def test_applied_again_it_fits_and_is_bound_to_nothing(app: App) -> None:
    """What it checks still fits, and no object of ours is bound to the app's tables."""
    install(app.dsn, proposed(app.dsn))
    assert app.ask("mux_private.lessons_problems()") == []
    bound = app.db.execute(
        """
        select pg_describe_object(d.classid, d.objid, 0) from pg_depend d
        join pg_class c on c.oid = d.refobjid
        where d.refclassid = 'pg_class'::regclass and c.relkind in ('r', 'p')
          and c.relnamespace <> 'mux_private'::regnamespace and d.refobjsubid > 0
          and d.classid in (
            'pg_proc'::regclass, 'pg_policy'::regclass, 'pg_rewrite'::regclass,
            'pg_trigger'::regclass)
          and c.oid <> all (
            array['public.mux_asset_tracking', 'public.mux_asset_events']::regclass[])
          and pg_describe_object(d.classid, d.objid, 0) ~ 'mux_private'"""
    ).fetchall()
    assert bound == []


def test_lessons_are_read(app: App) -> None:
    """One, several, the next ones by key, and those that hold an id."""
    draft = app.lesson(asset_id="temp_up1", playback_id="temp_playback_up1")
    published = app.lesson("published", asset_id="as1", playback_id="play1")
    assert app.read(draft) == app.expected("draft", "temp_up1", "temp_playback_up1")
    assert app.read(published) == app.expected("published", "as1", "play1")

    keys = sorted_keys(app)
    assert set(keys) == {draft, published}
    assert ids(app, "mux_private.lessons(array[KEY, KEY])", draft, published) == keys
    assert ids(app, "mux_private.lessons_after(null, 10)") == keys
    assert ids(app, "mux_private.lessons_after(null, 1)") == keys[:1]
    assert ids(app, "mux_private.lessons_after(KEY, 10)", keys[0]) == keys[1:]
    assert ids(app, "mux_private.lessons_after(KEY, 10)", keys[1]) == []
    assert ids(app, "mux_private.lessons_holding(array['temp_up1'], 10)") == [draft]
    assert ids(app, "mux_private.lessons_holding(array['play1', 'as2'], 10)") == [published]
    assert app.ask("mux_private.lesson_title(KEY)", draft) == app.shape.title


def test_what_is_no_key_is_none(app: App) -> None:
    """A text that can be no key is null, and there is no lesson by it."""
    assert app.ask("mux_private.lesson_key(%s)", app.shape.no_key) is None
    assert app.ask("(mux_private.lesson(null)).id") is None
    kind = app.service.execute(
        "select pg_typeof((null::mux_private.lesson).id)::text, "
        "pg_typeof((null::mux_private.lesson_keys).lesson_ids)::text"
    ).fetchone()
    assert kind == (app.shape.key_type, f"{app.shape.key_type}[]")


def test_the_waiting_ones_are_found_by_index_where_there_is_one(app: App) -> None:
    """Without it, all of the next are read; with it, those that hold temporary ids."""
    waiting = app.lesson(asset_id="temp_up1")
    app.lesson("published", asset_id="as1", playback_id="play1")
    query = "mux_private.waiting_lessons_after(null, 10)"
    assert ids(app, query) == sorted_keys(app)
    script = optional_script(proposed(app.dsn), optional_files()["lesson_indexes"])
    with app.db.transaction(force_rollback=True):
        # Without the word, which neither a transaction nor a partitioned table takes.
        app.db.execute(script.replace(" concurrently", "").encode())
        assert ids(replace(app, service=app.db), query) == [waiting]


def test_a_draft_is_published_and_a_published_one_gets_its_ids(app: App) -> None:
    """Where the app has no word for it, ids are written alone; nobody else's lesson changes."""
    draft, published, other = app.lesson(), app.lesson("published"), app.lesson()
    write = "mux_private.write_video(KEY, %s, %s, %s)"
    assert app.ask(write, draft, True, "as1", "play1") == app.shape.published
    assert app.ask(write, published, False, "as2", "play2") == app.shape.published
    assert app.read(draft) == app.expected("published", "as1", "play1")
    assert app.read(published) == app.expected("published", "as2", "play2")
    assert app.read(other) == app.expected("draft")
    assert app.ask(write, other, False, "as3", "play3") == app.shape.draft
    assert app.read(other) == app.expected("draft", "as3", "play3")


def test_when_it_changed_is_written(app: App) -> None:
    """In the app's own column, whatever its type, as the time in UTC."""
    updated = proposed(app.dsn).updated
    lesson = app.lesson()
    if updated is None:
        return
    change = f"update {app.shape.lessons} set \"{updated}\" = '2020-01-01'"
    app.db.execute(change.encode())
    app.ask("mux_private.write_video(KEY, true, 'as1', 'play1')", lesson)
    query = f"select now() - \"{updated}\"::timestamptz < '1 min' from {app.shape.lessons}"
    assert app.db.execute(query.encode()).fetchone() == (True,)


@pytest.mark.parametrize(
    "installed", [shape for shape in SHAPES if shape.name == "triggers"], indirect=True, ids=str
)
def test_the_apps_own_triggers_fire_as_for_any_other_update(app: App) -> None:
    """An audit, a counter and moddatetime see the lesson published once, and its new ids."""
    app.db.execute("update counters set n = 0; delete from lesson_audit")
    lesson = app.lesson()
    app.ask("mux_private.write_video(KEY, true, 'as1', 'play1')", lesson)
    app.ask("mux_private.write_video(KEY, false, 'as2', 'play2')", lesson)
    counted = app.db.execute("select n from counters").fetchone()
    audit = app.db.execute(
        """select before ->> 'status', after ->> 'status', after ->> 'mux_asset_id',
             (after ->> 'updated_at')::timestamptz = at
        from lesson_audit order by after ->> 'mux_asset_id'"""
    ).fetchall()
    assert counted == (1,)
    assert audit == [
        ("draft", "published", "as1", True),
        ("published", "published", "as2", True),
    ]


MEDDLING = {
    "return null;": "lesson should have its video now and is not updated",
    "return old;": "lesson should ",
}


def test_an_update_that_a_trigger_swallows_or_turns_is_refused(app: App) -> None:
    """The app's own triggers fire, and what they leave must be what was written."""
    lesson = app.lesson()
    for body, message in MEDDLING.items():
        with meddling(app, body):
            with pytest.raises(psycopg.errors.TriggeredDataChangeViolation, match=message):
                app.ask("mux_private.write_video(KEY, true, 'as1', 'play1')", lesson)
            assert app.read(lesson) == app.expected("draft")


@contextmanager
def meddling(app: App, body: str) -> Iterator[None]:
    """Give the app's lessons a trigger with this body while the block lasts."""
    app.db.execute(
        f"""create function meddle() returns trigger language plpgsql as $$ begin {body} end $$;
        create trigger a_meddle before update on {app.shape.lessons}
        for each row execute function meddle()""".encode()
    )
    try:
        yield
    finally:
        app.db.execute("drop function meddle() cascade")


def test_a_lesson_is_locked_and_its_parents_are_not(app: App) -> None:
    """Who skips gets nothing."""
    lesson = app.lesson()
    other = app.supabase.connect("service_role", "shape", autocommit=False)
    with other:
        locked = App(app.supabase, app.dsn, app.shape, app.db, other)
        assert locked.ask("mux_private.lock_lesson(KEY, false)", lesson)["asset_id"] is None
        assert app.ask("mux_private.lock_lesson(KEY, true)", lesson) is None
        for parent in app.shape.parents:
            free = app.db.execute(f"select 1 from {parent} for update nowait".encode())
            assert free.fetchone() == (1,)
        other.rollback()
    assert app.ask("mux_private.lock_lesson(KEY, true)", lesson)["asset_id"] is None


def test_its_owner_is_found_though_everything_is_hidden(app: App) -> None:
    """A policy of ours lets Anna and not Bert, whatever the app's own policies hide."""
    shape = app.shape
    lesson = app.lesson()
    assert app.ask("mux_private.owner_of(KEY)", lesson) == (shape.anna if shape.has_owner else None)
    if not shape.has_owner:
        granted = app.db.execute(
            "select has_function_privilege('authenticated', oid, 'execute') from pg_proc "
            "where proname = 'is_owner'"
        ).fetchone()
        assert granted == (False,)
        return
    with app.db.transaction(force_rollback=True):
        app.db.execute(
            """
            create table public.ours (like mux_private.lesson_key, primary key (lesson_id));
            alter table public.ours enable row level security;
            grant select on public.ours to authenticated;
            create policy mine on public.ours for select to authenticated
            using (mux_private.is_owner(lesson_id, (select auth.jwt() ->> 'sub')))"""
        )
        app.db.execute("insert into public.ours values (mux_private.lesson_key(%s))", [lesson])
        assert [seen(app, user) for user in (shape.anna, shape.bert)] == [1, 0]


def ids(app: App, call: str, *values: object) -> list[str]:
    """Return the keys of the lessons that a function returns, in its order."""
    query = f"select l.id::text from {call} l".replace("KEY", "mux_private.lesson_key(%s)")
    return [key for (key,) in app.service.execute(query.encode(), values).fetchall()]


def sorted_keys(app: App) -> list[str]:
    """Return the keys of all lessons as the app's table orders them."""
    key, lessons = app.shape.key, app.shape.lessons
    query = f'select "{key}"::text from {lessons} l order by l."{key}"'
    return [row[0] for row in app.db.execute(query.encode()).fetchall()]


def seen(app: App, user: str) -> int:
    """Return how many rows of ours a signed-in user sees, on the connection of the owner."""
    claims = f'{{"sub": "{user}", "role": "authenticated"}}'
    with app.db.transaction(force_rollback=True):
        app.db.execute(
            "select set_config('request.jwt.claims', %s, true), "
            "set_config('role', 'authenticated', true)",
            [claims],
        )
        row = app.db.execute("select count(*) from public.ours").fetchone()
    assert row is not None
    return int(row[0])
