import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.installation import VERSION_VARIABLE
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.kept_connections import KeptConnections
from tests.worker_process import WorkerProcess, worker_environment
from worker.project_key import WORKER_ROLE

# No time limits, since the machine may be busy, and the same examples in every run. Others in every
# run, and fifteen times as many: HYPOTHESIS_PROFILE=thorough.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough",
    settings.get_profile("steady"),
    derandomize=False,
    max_examples=1500,
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

Connect = Callable[..., AbstractContextManager[psycopg.Connection]]

ANNA = UUID("aaaaaaaa-0000-4000-8000-000000000001")
BERT = UUID("bbbbbbbb-0000-4000-8000-000000000002")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that selects the Postgres of every sandbox."""
    versions = ("15", "17", "18")
    parser.addoption("--postgres", choices=versions, help="Postgres of the sandbox (default: 17)")
    parser.addoption(
        "--worker-role", action="store_true", help="give the workers a key of the role mux_worker"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Pass the option on to the sandbox, also to those of other processes."""
    if version := config.getoption("--postgres"):
        os.environ[VERSION_VARIABLE] = version
    # A shell starts what runs in the background with SIGINT ignored, and programs inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print in one line what was skipped; the reasons say what to install."""
    reports: list[pytest.TestReport] = terminalreporter.getreports("skipped")
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in reports
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        counted = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"Skipped tests: {counted}")


@pytest.fixture(scope="session")
def shared_postgres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that names the Postgres of this run, which all its processes share."""
    base = tmp_path_factory.getbasetemp()
    # pytest-xdist gives each of its processes a directory in that of the run.
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "postgres"


@pytest.fixture(scope="session")
def shared_supabase(shared_postgres: Path) -> Iterator[LocalSupabase]:
    """Yield the Supabase of all tests of this process, on the Postgres of the run.

    A test that stops its PostgREST starts it again.
    """
    with LocalSupabase(shared_postgres=shared_postgres) as supabase:
        yield supabase


@pytest.fixture(scope="session")
def kept_connections(shared_supabase: LocalSupabase) -> Iterator[KeptConnections]:
    """Yield the connections that the tests of this process share."""
    with KeptConnections(shared_supabase) as kept:
        yield kept


@pytest.fixture
def private_stack() -> Iterator[LocalSupabase]:
    """Yield a Supabase with a Postgres of its own, for a test that stops it or changes a role.

    The fixture `supabase`, and what depends on it, is then this one.
    """
    with LocalSupabase() as supabase:
        yield supabase


@pytest.fixture
def private_database(shared_postgres: Path) -> Iterator[LocalSupabase]:
    """Yield a Supabase with a database of its own on the Postgres of the run.

    The fixture `supabase`, and what depends on it, is then this one.
    """
    with LocalSupabase(shared_postgres=shared_postgres) as supabase:
        yield supabase


PRIVATE = ("private_stack", "private_database")


@pytest.fixture
def supabase(request: pytest.FixtureRequest) -> Iterator[LocalSupabase]:
    """Yield the Supabase of the test, with empty tables and without faults."""
    if private := [name for name in PRIVATE if name in request.fixturenames]:
        yield request.getfixturevalue(private[0])
        return
    shared_supabase: LocalSupabase = request.getfixturevalue("shared_supabase")
    kept: KeptConnections = request.getfixturevalue("kept_connections")
    with kept.lend("supabase_admin") as connection:
        connection.execute(
            # TRUNCATE takes five times as long as deleting the few rows that a test leaves.
            "delete from lessons; delete from notifications; delete from mux_asset_events;"
            "delete from mux_private.upload_history;"
            "update mux_private.worker_state"
            " set environment_id = null, leader = null, leads_until = null, events_at = null,"
            " backfill_begun_at = null;"
            "delete from mux_private.rate_limit;"
            "insert into mux_private.rate_limit default values;"
            "update mux_private.adoption_walk set after = null, rows_after = null, stays = 0"
        )
    shared_supabase.requests.clear()
    yield shared_supabase
    shared_supabase.faults.clear()


@pytest.fixture
def connect(request: pytest.FixtureRequest, supabase: LocalSupabase) -> Connect:
    """Return what connects as a role, with autocommit, for as long as a block lasts.

    On the shared Supabase it is the connection that other tests had before.
    """
    if any(name in request.fixturenames for name in PRIVATE):
        return supabase.connect
    kept: KeptConnections = request.getfixturevalue("kept_connections")
    return kept.lend


@pytest.fixture
def db(connect: Connect) -> Iterator[psycopg.Connection]:
    """Yield a connection of the tables' owner, with autocommit."""
    with connect() as connection:
        yield connection


@pytest.fixture
def mux() -> Iterator[MuxSimulator]:
    """Yield a simulated Mux without rate limits."""
    with MuxSimulator(limits=RateLimits.per_second(None, None)) as simulator:
        yield simulator


@pytest.fixture
def course(db: psycopg.Connection) -> Course:
    """Return the app's side: lessons of Anna and Bert, and their uploads."""
    return Course(db, anna=ANNA, bert=BERT)


@pytest.fixture
def key_role(request: pytest.FixtureRequest) -> str:
    """Return the role of the workers' key; tests that are marked by WITH_BOTH_KEYS select it."""
    default = WORKER_ROLE if request.config.getoption("--worker-role") else "service_role"
    return str(getattr(request, "param", default))


@pytest.fixture
def environment(supabase: LocalSupabase, mux: MuxSimulator, key_role: str) -> dict[str, str]:
    """Return the environment of a worker for this Supabase and this Mux."""
    return worker_environment(supabase, mux, key_role)


@pytest.fixture
def worker(environment: dict[str, str]) -> Iterator[WorkerProcess]:
    """Yield a worker process, not yet started; it is killed at the end of the test."""
    process = WorkerProcess(environment)
    yield process
    process.kill()
