from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.conftest import Connect
from tests.course import Course
from tests.sql.crime import Crime
from tests.sql.instructor import Browser, Instructor
from tests.sql.service import Service


@pytest.fixture
def service(connect: Connect) -> Iterator[Service]:
    """Yield the worker's SQL functions, with autocommit."""
    with connect("service_role") as connection:
        yield Service(connection)


@pytest.fixture
def instructor(connect: Connect, course: Course) -> Iterator[Instructor]:
    """Yield the app's SQL functions as Anna calls them, with autocommit."""
    with connect("authenticated") as connection:
        yield Instructor(connection, course.anna)


@pytest.fixture
def browser(supabase: LocalSupabase, course: Course) -> Browser:
    """Return the browser in which Anna is signed in."""
    return Browser(supabase, supabase.user_token(course.anna))


@pytest.fixture
def crime(
    supabase: LocalSupabase, db: psycopg.Connection, course: Course, service: Service
) -> Iterator[Crime]:
    """Yield a crime scene; at its end, the victim's data must be unchanged."""
    scene = Crime(supabase, db, course, service)
    yield scene
    scene.end()


class Connections:
    """Opens connections for step-by-step tests; at the end, open transactions are rolled back."""

    def __init__(self, supabase: LocalSupabase, stack: ExitStack) -> None:
        self._supabase = supabase
        self._stack = stack

    def transaction(self, role: str | None = None) -> psycopg.Connection:
        """Return a connection without autocommit."""
        connection = self._supabase.connect(role, autocommit=False)
        self._stack.callback(connection.close)
        return connection

    def service(self) -> Service:
        """Return the worker's SQL functions in their own transaction."""
        return Service(self.transaction("service_role"))


@pytest.fixture
def database(supabase: LocalSupabase) -> Iterator[str]:
    """Yield the DSN of a database with the app's lessons and without sql/."""
    yield supabase.create_database("install")
    supabase.drop_database("install")


@pytest.fixture
def installed(supabase: LocalSupabase) -> Iterator[str]:
    """Yield the DSN of a database with the app's lessons and sql/, as a copy of a template."""
    yield supabase.create_database("install", apply_sql=True)
    supabase.drop_database("install")


@pytest.fixture
def connections(supabase: LocalSupabase) -> Iterator[Connections]:
    """Yield a way to open connections for step-by-step tests."""
    with ExitStack() as stack:
        yield Connections(supabase, stack)
