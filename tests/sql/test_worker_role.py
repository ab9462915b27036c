"""The worker's own role, as sql/optional/worker_role.sql makes it: what it does, and cannot."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from tests.conftest import Connect
from tests.course import Course
from tests.plain_http import NO_TLS
from tests.sql.installing import DOWN, apply_all, catalog, run
from tests.sql.service import PUBLISH, WAIT, Service, fact
from tests.worker_role import WORKER_ROLE_FILE, adapt_the_app, create_worker_role
from worker.project_key import WORKER_ROLE

pytestmark = pytest.mark.stack

DENIED = "42501"
CLAIMS = b"""select set_config('request.jwt.claims', '{"role": "mux_worker"}', false)"""
GUARD = (
    "create trigger guard_status before update of status on lessons "
    "for each row execute function guard_status()"
)


class Holder:
    """Who holds the worker's key, and does with it what the worker does not."""

    def __init__(self, supabase: LocalSupabase) -> None:
        token = supabase.role_token(WORKER_ROLE)
        self._client = httpx.Client(
            base_url=f"{supabase.url}/rest/v1",
            headers={"apikey": supabase.publishable_key, "Authorization": f"Bearer {token}"},
            verify=NO_TLS,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Return the code of the error, or what was read."""
        answer = self._client.request(method, path, json=body, headers=headers)
        content: Any = answer.json() if answer.content else None
        return content["code"] if answer.is_error else content


@pytest.fixture
def holder(supabase: LocalSupabase) -> Iterator[Holder]:
    """Yield the holder of a key of the role, in a database where it has its grants."""
    create_worker_role(supabase)
    holder = Holder(supabase)
    yield holder
    holder.close()


@pytest.fixture
def worker(holder: Holder, connect: Connect) -> Iterator[Service]:
    """Yield the worker's SQL functions, called in the role."""
    with connect(WORKER_ROLE) as connection:
        service = Service(connection)
        connection.execute(CLAIMS)
        yield service


def test_it_reads_no_other_table_of_the_app(
    holder: Holder, course: Course, db: psycopg.Connection
) -> None:
    """Nor writes one; of lessons it reads what the worker needs, and no text or price."""
    lesson = course.lesson()
    row = {"lesson_id": str(lesson), "title": "x"}
    assert holder.send("GET", "/notifications") == DENIED
    assert holder.send("POST", "/notifications", row) == DENIED
    assert holder.send("DELETE", "/notifications?id=gt.0") == DENIED
    for columns in ("*", "description", "price", "created_at"):
        assert holder.send("GET", f"/lessons?select={columns}") == DENIED
    assert holder.send("GET", "/lessons?select=id,title") == [
        {"id": str(lesson), "title": "A lesson"}
    ]
    assert db.execute("select count(*) from notifications").fetchone() == (0,)


def test_it_changes_no_other_column_of_lessons_and_deletes_none(
    holder: Holder, course: Course
) -> None:
    """It neither makes lessons nor gives them away."""
    lesson = course.lesson()
    before = course.state(lesson)
    path = f"/lessons?id=eq.{lesson}"
    for change in (
        {"title": "x"},
        {"creator_id": str(course.bert)},
        {"price": 0},
        {"id": str(UUID(int=7))},
    ):
        assert holder.send("PATCH", path, change) == DENIED
        assert holder.send("PATCH", path, {**change, "status": "published"}) == DENIED
    assert holder.send("DELETE", path) == DENIED
    assert holder.send("POST", "/lessons", {"creator_id": str(course.bert), "title": "x"}) == DENIED
    assert course.state(lesson) == before


def test_it_rewrites_no_audit_and_moves_no_tracking_row(holder: Holder, course: Course) -> None:
    """The audit is written by its function alone; a row stays at its lesson."""
    lesson, other = course.tracked_lesson("up1"), course.lesson()
    before = course.events(lesson), course.row(lesson)
    event = {"actor": "x", "event": "tried", "lesson_id": str(lesson), "tracking_id": str(lesson)}
    assert holder.send("POST", "/mux_asset_events", event) == DENIED
    assert holder.send("PATCH", "/mux_asset_events?id=gt.0", {"actor": "x"}) == DENIED
    assert holder.send("DELETE", "/mux_asset_events?id=gt.0") == DENIED
    assert holder.send("DELETE", "/mux_asset_tracking?upload_id=eq.up1") == DENIED
    moved = {"lesson_id": str(other)}
    assert holder.send("PATCH", "/mux_asset_tracking?upload_id=eq.up1", moved) == DENIED
    assert (course.events(lesson), course.row(lesson)) == before


@pytest.mark.parametrize("function", ["track_upload", "check_asset_status", "publish_lesson"])
def test_it_calls_no_function_of_the_app(holder: Holder, course: Course, function: str) -> None:
    """Neither ours for the app nor the app's own."""
    arguments = {"lesson_id": str(course.tracked_lesson("up1"))}
    if function == "track_upload":
        arguments |= {"upload_id": "up2", "temp_asset_id": "temp_up2"}
    assert holder.send("POST", f"/rpc/{function}", arguments) == DENIED


def test_it_prunes_nothing_that_is_younger_than_a_month(holder: Holder, course: Course) -> None:
    """What it may remove of the audit is what the worker's function removes."""
    lesson = course.tracked_lesson("up1")
    before = course.events(lesson)
    pruned = holder.send("POST", "/rpc/worker_prune_events", {"older_than_days": 29, "at_most": 9})
    assert (pruned, course.events(lesson)) == ("PT400", before)


def test_it_becomes_no_other_role(holder: Holder, db: psycopg.Connection) -> None:
    """It is a member of none, and cannot log in; PostgREST alone becomes it."""
    member = db.execute(
        "select array_agg(roleid::regrole::text) from pg_auth_members "
        "where member = 'mux_worker'::regrole"
    )
    assert member.fetchone() == (None,)
    may = db.execute(
        "select rolcanlogin or rolsuper or rolbypassrls or rolinherit or rolcreaterole "
        "or rolcreatedb or rolreplication from pg_roles where rolname = 'mux_worker'"
    )
    assert may.fetchone() == (False,)
    may = db.execute("select pg_has_role('authenticator', 'mux_worker', 'member')")
    assert may.fetchone() == (True,)


@pytest.mark.parametrize("schema", ["mux_private", "auth", "pg_catalog"])
def test_it_reaches_no_other_schema_over_the_api(holder: Holder, schema: str) -> None:
    """Its usage of mux_private is for the worker's functions; PostgREST exposes public alone."""
    named = {"Accept-Profile": schema}
    assert holder.send("GET", "/upload_history", **named) == "PGRST106"


def test_in_the_private_schema_it_reads_no_upload_history(worker: Service, course: Course) -> None:
    """Where it could get with a login of its own: whose a video is, it neither reads nor writes."""
    course.tracked_lesson("up1")
    for statement in (
        "select from mux_private.upload_history",
        "delete from mux_private.upload_history where true",
        "update mux_private.applied_files set name = 'x' where true",
        "delete from mux_private.snapshot where true",
        "select mux_private.app_publish(null, null, null)",
        "call mux_private.open_to_worker_role()",
        "call mux_private.undo('900_grants')",
        "create table public.mine ()",
        "create table mux_private.mine ()",
        "alter table lessons disable row level security",
        "grant mux_worker to anon",
    ):
        with pytest.raises(
            (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction)
        ):
            worker.connection.execute(statement.encode())


def test_a_policy_of_the_app_for_everybody_is_not_in_its_way(
    worker: Service, course: Course, db: psycopg.Connection
) -> None:
    """Also one that reads a table which the role may not: its own policies let it pass before."""
    lesson = course.tracked_lesson("up1")
    db.execute(
        "create policy notified on lessons for all using "
        "(exists (select from notifications n where n.lesson_id = lessons.id))"
    )
    try:
        assert worker.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    finally:
        db.execute("drop policy notified on lessons")
    assert course.state(lesson)["status"] == "published"


REFUSALS = {
    "create or replace function public.guard_status() returns trigger language plpgsql as $$ "
    "begin if current_user <> 'service_role' then raise exception 'only the server publishes'; "
    "end if; return new; end $$": (
        "P0001",
        "only the server publishes",
        "function guard_status(), trigger guard_status on lessons",
    ),
    "create or replace function public.guard_status() returns trigger language plpgsql as $$ "
    "begin if auth.role() <> 'service_role' then raise exception 'only the server publishes'; "
    "end if; return new; end $$": (
        DENIED,
        "permission denied for schema auth",
        "function guard_status(), trigger guard_status on lessons",
    ),
}
ALLOWING = (
    "create or replace function public.guard_status() returns trigger language plpgsql as $$ "
    "begin if current_user not in ('service_role', 'mux_worker') then "
    "raise exception 'only the server publishes'; end if; return new; end $$"
)


@pytest.mark.parametrize("function", REFUSALS, ids=["by current_user", "by auth.role()"])
def test_a_trigger_for_the_service_role_alone_refuses_it_by_name(
    worker: Service, course: Course, db: psycopg.Connection, function: str
) -> None:
    """The operator reads which one; with the role named in its condition, the lesson goes out."""
    code, message, raised_by = REFUSALS[function]
    lesson = course.tracked_lesson("up1")
    db.execute(f"{function}; {GUARD}".encode())
    try:
        (outcome,) = worker.settle(fact(PUBLISH, "up1", "as1"))
        assert (outcome["outcome"], outcome["sqlstate"]) == ("refused", code)
        assert (outcome["message"], outcome["raised_by"]) == (message, raised_by)
        assert course.row(lesson)["error_message"] == f"{code}: {message} (raised by {raised_by})"
        assert course.state(lesson)["status"] == "draft"
        db.execute(ALLOWING.encode())
        course.tracked_lesson("up2")
        assert worker.outcomes(fact(PUBLISH, "up2", "as2")) == ["published"]
    finally:
        db.execute("drop function guard_status() cascade")


def test_a_trigger_that_writes_another_table_refuses_it_by_name(
    worker: Service, course: Course, db: psycopg.Connection
) -> None:
    """Until its function runs with its owner's rights."""
    course.tracked_lesson("up1")
    db.execute("alter function notify_students() security invoker reset search_path")
    try:
        (outcome,) = worker.settle(fact(PUBLISH, "up1", "as1"))
    finally:
        adapt_the_app(db)
    assert (outcome["sqlstate"], outcome["message"], outcome["raised_by"]) == (
        DENIED,
        "permission denied for table notifications",
        "function notify_students(), trigger notify_students on lessons",
    )
    course.tracked_lesson("up2")
    assert worker.outcomes(fact(PUBLISH, "up2", "as2")) == ["published"]


BODIES: dict[str, list[str]] = {
    "insert into notifications (lesson_id, title) values (new.id, new.title)": [
        "may not insert into notifications"
    ],
    "update public.notifications n set title = new.title where n.lesson_id = new.id": [
        "may not update notifications"
    ],
    "delete from notifications where lesson_id = new.id": ["may not delete from notifications"],
    "perform 1 from lessons l join notifications n on n.lesson_id = l.id": [
        "may not read notifications"
    ],
    "perform auth.uid()": ["may not call auth.uid"],
    "perform helped()": ["may not insert into notifications"],
    "if auth.role() <> 'service_role' then raise exception 'no'; end if": [
        "asks for service_role",
        "may not call auth.role",
    ],
    "execute format('select %L', new.id)": ["composes a statement"],
    "new.title := upper(new.title)  -- before: insert into notifications": [],
    "raise notice 'not from notifications, %', now()": [],
}
"""What a trigger of the app does, and what is doubtful about it with the worker's own role."""


def test_what_a_trigger_names_and_it_may_not_use_is_found(
    worker: Service, db: psycopg.Connection
) -> None:
    """By what its source names; what harms nothing, or runs with its owner's rights, is fine."""
    tried = "create or replace function tried() returns trigger language plpgsql {} as $${}$$"
    helped = (
        "create function helped() returns void language sql as $$ "
        "insert into notifications (lesson_id, title) select null, '' $$"
    )
    db.execute(f"{helped}; {tried.format('', 'begin return new; end')}".encode())
    db.execute(b"create trigger tried before update on lessons execute function tried()")

    def doubts(body: str, rights: str = "") -> Any:
        db.execute(tried.format(rights, f"begin {body}\n; return new; end").encode())
        row = worker.connection.execute("select mux_private.trigger_doubts()").fetchone()
        return row and [doubt.removeprefix("trigger tried of lessons ") for doubt in row[0]]

    try:
        assert {body: doubts(body) for body in BODIES} == BODIES
        assert doubts("perform 1 from notifications", "security definer") == []
    finally:
        db.execute(b"drop function tried() cascade; drop function helped()")


def test_it_may_write_what_instructors_may_not_and_is_not_limited(
    worker: Service, course: Course
) -> None:
    """The triggers that guard the tracking rows know it; the audit names it."""
    lesson = course.tracked_lesson("up1")
    assert worker.outcomes(fact(WAIT, "up1", "as1")) == ["waiting"]
    worker.connection.execute(
        "update mux_asset_tracking set status = 'error' where lesson_id = %s", [lesson]
    )
    assert course.row(lesson)["status"] == "error"
    for number in range(60):
        worker.connection.execute(
            "update mux_asset_tracking set upload_id = %s where lesson_id = %s",
            [f"up-{number}", lesson],
        )
    assert course.row(lesson)["upload_id"] == "up-59"
    assert {e["actor"] for e in course.events(lesson)[1:]} == {"mux_worker"}


def test_applied_twice_and_after_the_files_again_it_is_the_same(database: str) -> None:
    """A new version of sql/ grants to it what it adds; nothing is left over."""
    apply_all(database)
    without = catalog(database)
    apply_sql(database, [WORKER_ROLE_FILE])
    once = catalog(database)
    assert once != without
    apply_sql(database, [WORKER_ROLE_FILE])
    assert catalog(database) == once
    run(database, "revoke all on function worker_claim, mux_private.publish from mux_worker")
    apply_all(database)
    assert catalog(database) == once
    with psycopg.connect(database) as db:
        assert db.execute("select mux_private.differences()").fetchone() == ([],)


def test_without_it_the_files_grant_nothing_to_a_role_of_this_name(
    supabase: LocalSupabase, database: str
) -> None:
    """Roles belong to all databases of a server; a database that did not ask for it has none."""
    create_worker_role(supabase)
    apply_all(database)
    with psycopg.connect(database) as db:
        (granted,) = db.execute(
            "select has_schema_privilege('mux_worker', 'mux_private', 'usage')"
        ).fetchone() or (None,)
    assert granted is False


def test_before_the_files_it_stops(database: str) -> None:
    """It says what to apply first, and makes nothing."""
    with pytest.raises(LocalStackError, match="the files of sql/ are not applied"):
        apply_sql(database, [WORKER_ROLE_FILE])


def expect_a_lost_key_to_be_stopped(stack: LocalSupabase) -> None:
    """By one statement, at the next request; the file applied again lets it in again."""
    holder = Holder(stack)
    try:
        assert holder.send("POST", "/rpc/worker_summary", {})["processing"] == 0
        run(stack.dsn(), "revoke mux_worker from authenticator")
        assert holder.send("POST", "/rpc/worker_summary", {}) == DENIED
        apply_sql(stack.dsn(), [WORKER_ROLE_FILE])
        assert holder.send("POST", "/rpc/worker_summary", {})["processing"] == 0
    finally:
        holder.close()


def test_undone_nothing_of_it_is_left(private_stack: LocalSupabase) -> None:
    """Neither grant nor policy, nor the role, once no other database of the server uses it."""
    first, second = private_stack.dsn(), private_stack.create_database("second", apply_sql=True)
    down = DOWN / "optional_worker_role.sql"
    before = catalog(first), catalog(second)
    apply_sql(first, [down])  # nothing to undo
    apply_sql(first, [WORKER_ROLE_FILE])
    apply_sql(second, [WORKER_ROLE_FILE])
    run(first, "grant select on notifications to mux_worker")
    expect_a_lost_key_to_be_stopped(private_stack)
    apply_sql(first, [down, down])
    assert catalog(first) == before[0]
    with private_stack.connect(WORKER_ROLE, "second") as connection:
        assert Service(connection).claim() == []
    apply_sql(second, [down])
    assert catalog(second) == before[1]
    with psycopg.connect(first) as db:
        assert db.execute("select to_regrole('mux_worker')").fetchone() == (None,)
        assert db.execute("select mux_private.differences()").fetchone() == ([],)
    run(first, "create role mux_worker createdb; grant anon to mux_worker")
    refusal = "exists already, and may create databases, and is a member of anon"
    with pytest.raises(LocalStackError, match=refusal):
        apply_sql(first, [WORKER_ROLE_FILE])
