from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest
from psycopg.types.json import Jsonb

from sandbox.supabase.stack import LocalSupabase
from tests.sql.installing import SQL
from tests.sql.service import FAIL, PUBLISH, WAIT, Json, Service, fact, looked_at

pytestmark = pytest.mark.stack

ROWS, WAITING = 8_000, 450
INSTRUCTOR = "aaaaaaaa-0000-4000-8000-000000000001"
LARGE = ["lessons", "mux_asset_tracking", "mux_asset_events", "upload_history"]

FILL = f"""
    set session_replication_role = replica;
    create table filling as
    select n, md5('lesson' || n)::uuid as lesson, 'up' || n as upload, 'as' || n as asset,
           now() - make_interval(hours => {ROWS} - n) as moment, n > {ROWS - WAITING} as waits
    from generate_series(1, {ROWS}) n;
    insert into lessons (id, creator_id, title, status)
    select lesson, '{INSTRUCTOR}', repeat('x', 800),
           case when waits then 'draft' else 'published' end
    from filling;
    insert into lessons (id, creator_id, title, mux_asset_id, mux_playback_id)
    select md5('untracked' || n)::uuid, '{INSTRUCTOR}', 'x', 'temp_new' || n,
           'temp_playback_new' || n
    from generate_series(1, 200) n;
    insert into mux_asset_tracking (lesson_id, upload_id, mux_asset_id, status, tracked_at)
    select lesson, upload, case when not waits then asset end,
           (case when waits then 'processing' when mod(n, 100) = 0 then 'error' else 'ready'
            end)::mux_asset_status, moment
    from filling;
    insert into mux_private.schedule (tracking_id, owner, tracked_at)
    select t.id, '{INSTRUCTOR}', t.tracked_at from mux_asset_tracking t
    where t.status = 'processing';
    insert into mux_private.upload_history
      (lesson_id, owner, mux_id, asset_id, how, tracking_id, is_known)
    select lesson, '{INSTRUCTOR}', upload, case when not waits then asset end, 'tracked', lesson,
           not waits
    from filling;
    insert into mux_asset_events (happened_at, actor, event, lesson_id, tracking_id)
    select moment, 'test', 'published', lesson, lesson from filling;
    drop table filling;
    reset session_replication_role"""
"""Rows of a year, nearly all of them settled; the newest wait and are due.

The lessons take more than the four megabytes that are read through without an index.
"""

LESSON_INDEXES = (SQL / "optional" / "lesson_indexes.sql").read_text()


def settle_claimed(service: Service, verdict: Json) -> None:
    """Claim rows and settle them."""
    items = [
        fact(verdict, row["upload_id"], f"as-{row['upload_id']}", claimed=[looked_at(row, verdict)])
        for row in service.claim(100)
    ]
    service.settle(*items)


def settle_page(service: Service) -> None:
    """Settle facts of which most are about rows that have settled, or about none."""
    service.settle(*(fact(PUBLISH, f"up{n * 79}", f"as{n * 79}") for n in range(1, 101)))
    service.settle(*(fact(PUBLISH, None, f"as{n * 79}") for n in range(1, 101)))
    service.settle(*(fact(FAIL, "migrated", f"other{n}") for n in range(100)))


LISTS = ("failed", "published", "stuck", "unplayable", "waiting")


def list_lessons(service: Service, state: str, search: str | None = None) -> object:
    """Read two pages of a list; return the second."""
    query = b"select worker_list_lessons(%s, %s, at_most => 3, after => (%s::jsonb) ->> 'next')"
    first = service.connection.execute(
        b"select worker_list_lessons(%s, %s, at_most => 3)", [state, search]
    ).fetchone()
    assert first is not None
    return service.connection.execute(query, [state, search, Jsonb(first[0])]).fetchone()


CALLS: dict[str, Callable[[Service], object]] = {
    "claim": lambda service: service.claim(100),
    "claim as the leader": lambda service: service.connection.execute(
        "select worker_claim(200, 60, 'me')"
    ),
    "settle: wait": lambda service: settle_claimed(service, WAIT),
    "settle: publish": lambda service: settle_claimed(service, PUBLISH),
    "settle: fail": lambda service: settle_claimed(service, FAIL),
    "settle a page of a list": settle_page,
    "release": lambda service: service.release(service.claim(100)),
    "summary": lambda service: service.summary(),
    "overview": lambda service: service.connection.execute("select worker_overview()"),
    "lists": lambda service: [list_lessons(service, state) for state in LISTS],
    "search": lambda service: [list_lessons(service, state, "x") for state in LISTS],
    "failures": lambda service: service.connection.execute("select worker_failures()"),
    "make due": lambda service: service.connection.execute(
        "select worker_make_due(md5('lesson7999')::uuid::text, 'ines')"
    ),
    "past": lambda service: service.connection.execute(
        "select worker_lesson_events(md5('lesson7999')::uuid::text)"
    ),
    "prune": lambda service: service.connection.execute("select worker_prune_events(300, 1000)"),
    "prune nothing": lambda service: service.connection.execute(
        "select worker_prune_events(36500, 1000)"
    ),
}


def ask(service: Service, query: str, *values: object) -> object:
    """Return the value of a query."""
    row = service.connection.execute(f"select {query}".encode(), values).fetchone()
    assert row is not None
    return row[0]


def adopt(service: Service, lessons: str, call: str = "worker_adopt(%s)", **item: bool) -> Json:
    """Adopt the lessons of an SQL array; return the last answer."""
    query = f"array_agg(id::uuid::text) from unnest({lessons}) id"
    ids = ask(service, query)
    assert isinstance(ids, list)
    answers = ask(service, call, Jsonb([{"lesson_id": id_, **item} for id_ in ids]))
    assert isinstance(answers, list)
    answer: Json = answers[-1]
    return answer


ONE = "array[md5('untracked1')]"
HUNDRED = "array(select md5('untracked' || n) from generate_series(1, 100) n)"
A_DAY = "'2026-01-01 00:00:00+00'"


def publish_by_hand(service: Service, lesson: str) -> None:
    """Adopt one lesson, and settle a look at its video in an operator's name."""
    adopted = adopt(service, lesson, "worker_adopt(%s, lease_seconds => 5)", by_hand=True)
    if "claim" in adopted:
        claim = adopted["claim"]
        verdict = fact(PUBLISH, claim["upload_id"], "as-new", claimed=[looked_at(claim, PUBLISH)])
        ask(service, "worker_publish(%s, null, 'ines')", Jsonb(verdict))


def backfill(service: Service) -> None:
    """Adopt lessons in a run, and count them."""
    ask(service, "worker_backfill_candidates(null, 500)")
    adopt(service, HUNDRED, f"worker_adopt(%s, false, {A_DAY})", retries_failed=True)
    ask(service, f"worker_backfill_progress({A_DAY})")
    ask(service, f"worker_backfill_failures({A_DAY}, md5('untracked1')::uuid::text, 10)")


ABOUT_LESSONS: dict[str, Callable[[Service], object]] = {
    "find by what a lesson holds": lambda service: ask(
        service, "worker_find_lessons('held-by-none')"
    ),
    "adopt one": lambda service: adopt(service, ONE),
    "adopt a hundred": lambda service: adopt(service, HUNDRED),
    "plan a hundred": lambda service: adopt(service, HUNDRED, "worker_adopt(%s, true)"),
    "adopt one that is tracked": lambda service: adopt(service, "array[md5('lesson7999')]"),
    "publish an untracked one by hand": lambda service: publish_by_hand(service, ONE),
    "publish a tracked one by hand": lambda service: publish_by_hand(
        service, "array[md5('lesson7999')]"
    ),
    "backfill": backfill,
    "the walk of the adoption": lambda service: ask(service, "worker_untracked()"),
}
"""What could look lessons up by the ids that they hold."""

OF_THE_APP: dict[str, Callable[[Service], object]] = {
    "track what is in no history": lambda service: service.connection.execute(
        "insert into mux_asset_tracking (lesson_id, upload_id) "
        "values (md5('lesson7999')::uuid, 'new') "
        "on conflict (lesson_id) do update set upload_id = excluded.upload_id"
    )
}
"""The same, in a statement of the app's."""


@pytest.fixture(scope="module")
def plans(shared_supabase: LocalSupabase) -> Iterator[LocalSupabase]:
    """Give a Supabase with a database `plans` that holds many rows, analyzed."""
    shared_supabase.create_database("plans", apply_sql=True)
    with shared_supabase.connect("supabase_admin", "plans") as admin:
        admin.execute(FILL.encode())
        admin.execute("analyze")
    yield shared_supabase
    shared_supabase.drop_database("plans")


@pytest.fixture
def empty(shared_supabase: LocalSupabase) -> Iterator[LocalSupabase]:
    """Give a Supabase with a database `young` whose tables Postgres knows to be empty."""
    shared_supabase.create_database("young", apply_sql=True)
    with shared_supabase.connect("supabase_admin", "young") as admin:
        admin.execute("vacuum (analyze)")
    yield shared_supabase
    shared_supabase.drop_database("young")


def read_through(connection: psycopg.Connection, run: Callable[[], object]) -> dict[str, int]:
    """Run something, and tell which of the large tables were read from end to end, how often."""
    query = b"select relname, seq_scan from pg_stat_xact_user_tables where relname = any(%s)"

    def counted() -> dict[str, int]:
        return dict(connection.execute(query, [LARGE]).fetchall())

    before = counted()
    run()
    return {name: n - before[name] for name, n in counted().items() if n > before[name]}


def read_through_undone(service: Service, call: Callable[[Service], object]) -> dict[str, int]:
    """Do the same with a call whose changes are undone."""
    with service.connection.transaction(force_rollback=True):
        return read_through(service.connection, lambda: call(service))


def in_transaction(supabase: LocalSupabase, database: str) -> "closing[psycopg.Connection]":
    """Open a connection of the worker's whose transaction is undone at the end."""
    return closing(supabase.connect("service_role", database, autocommit=False))


@pytest.mark.parametrize("call", CALLS)
def test_what_the_worker_calls_reads_no_large_table_through(
    plans: LocalSupabase, call: str
) -> None:
    """However many rows are settled: each call finds its own by an index, also when repeated."""
    with in_transaction(plans, "plans") as connection:
        service = Service(connection)
        for _ in range(8):
            assert read_through_undone(service, CALLS[call]) == {}


@pytest.mark.parametrize("indexed", [False, True], ids=["without", "with"])
def test_lessons_are_looked_up_without_reading_the_others(
    plans: LocalSupabase, indexed: bool
) -> None:
    """With the indexes of sql/optional and without them, also when repeated."""
    with closing(plans.connect("supabase_admin", "plans", autocommit=False)) as connection:
        query = b"select mux_private.lessons_are_searchable()"
        assert connection.execute(query).fetchone() == (False,)
        if indexed:
            for statement in LESSON_INDEXES.replace(" concurrently", "").split(";\n"):
                connection.execute(statement.encode())
            assert connection.execute(query).fetchone() == (True,)
        connection.execute("set local role service_role")
        service = Service(connection)
        found = [
            (name, read)
            for name, call in {**ABOUT_LESSONS, **OF_THE_APP}.items()
            for _ in range(8)
            if (read := read_through_undone(service, call))
        ]
    assert found == []


def test_a_small_table_is_read_through(empty: LocalSupabase) -> None:
    """That takes a few milliseconds, and finds what lessons hold without the indexes."""
    with in_transaction(empty, "young") as connection:
        service = Service(connection)
        call = ABOUT_LESSONS["find by what a lesson holds"]
        assert read_through(connection, lambda: call(service)) == {"lessons": 1}


def test_an_app_that_asks_for_a_lesson_reads_no_large_table_through(plans: LocalSupabase) -> None:
    """However often it polls."""
    with closing(plans.connect("authenticated", "plans", autocommit=False)) as connection:
        connection.execute(
            "select set_config('request.jwt.claims', json_build_object('sub', %s::text)::text, "
            "false)",
            [INSTRUCTOR],
        )
        (lesson,) = connection.execute("select md5('lesson1')::uuid").fetchone() or (None,)
        for _ in range(8):
            result = read_through(
                connection,
                lambda: connection.execute("select check_asset_status(%s::text)", [lesson]),
            )
            assert result == {}


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "not yet analyzed"])
def test_connections_from_before_the_tables_grew_read_none_through(
    empty: LocalSupabase, analyzed: bool
) -> None:
    """Plans that were made while the tables were empty do no harm, nor until autovacuum comes.

    Each call has a connection of its own, and finds the tables as they were made.
    """
    calls = {**CALLS, **ABOUT_LESSONS}
    with ExitStack() as stack:
        services = {
            name: Service(stack.enter_context(in_transaction(empty, "young"))) for name in calls
        }
        for name, service in services.items():
            service.connection.commit()
            for _ in range(8):
                calls[name](service)
            service.connection.rollback()
        with empty.connect("supabase_admin", "young") as admin:
            admin.execute(FILL.encode())
            if analyzed:
                admin.execute("analyze")
        found = {
            name: read_through_undone(service, calls[name]) for name, service in services.items()
        }
    assert {name: read for name, read in found.items() if read} == {}


def test_the_overview_reads_of_the_audit_little_more_than_its_day(empty: LocalSupabase) -> None:
    """By its ids, also before there are statistics: the brin index would have it read whole."""
    query = b"select idx_tup_fetch from pg_stat_xact_user_tables where relname = 'mux_asset_events'"
    with empty.connect("supabase_admin", "young") as admin:
        admin.execute(FILL.encode())
    with in_transaction(empty, "young") as connection:
        for _ in range(7):
            (before,) = connection.execute(query).fetchone() or (0,)
            connection.execute("select worker_overview()")
            (after,) = connection.execute(query).fetchone() or (0,)
            assert 24 <= after - before < 500
