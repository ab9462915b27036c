from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.crime import Crime
from tests.sql.instructor import Browser, Instructor
from tests.sql.service import Service


@pytest.fixture
def service(supabase: LocalSupabase) -> Iterator[Service]:
    """Give the worker's functions, autocommitting."""
    with supabase.connect("service_role") as connection:
        yield Service(connection)


@pytest.fixture
def instructor(supabase: LocalSupabase, course: Course) -> Iterator[Instructor]:
    """Give the app's functions as Anna calls them, autocommitting."""
    with supabase.connect("authenticated") as connection:
        yield Instructor(connection, course.anna)


@pytest.fixture
def browser(supabase: LocalSupabase, course: Course) -> Browser:
    """Give Anna's browser, in which she is signed in."""
    return Browser(supabase, supabase.user_token(course.anna))


@pytest.fixture
def crime(
    supabase: LocalSupabase, db: psycopg.Connection, course: Course, service: Service
) -> Iterator[Crime]:
    """Give a crime scene; at the end, what is the victim's must be as it was."""
    scene = Crime(supabase, db, course, service)
    yield scene
    scene.end()


class Connections:
    """Opens connections that the test drives step by step; what is open at the end is undone."""

    def __init__(self, supabase: LocalSupabase, stack: ExitStack) -> None:
        self._supabase = supabase
        self._stack = stack

    def transaction(self, role: str | None = None) -> psycopg.Connection:
        """Open a connection that commits only when told to."""
        connection = self._supabase.connect(role, autocommit=False)
        self._stack.callback(connection.close)
        return connection

    def service(self) -> Service:
        """Give the worker's functions in a transaction of their own."""
        return Service(self.transaction("service_role"))


@pytest.fixture
def database(supabase: LocalSupabase) -> Iterator[str]:
    """Give the dsn of a database with the app's lessons and without sql/."""
    yield supabase.create_database("install")
    supabase.drop_database("install")


@pytest.fixture
def connections(supabase: LocalSupabase) -> Iterator[Connections]:
    """Give connections to drive step by step."""
    with ExitStack() as stack:
        yield Connections(supabase, stack)
