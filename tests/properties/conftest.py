from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import settings

from sandbox.supabase.stack import LocalSupabase
from tests.conftest import Connect
from tests.sql.service import Service


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a test run for as long as it takes where it tries many examples."""
    if not settings().derandomize:
        for item in items:
            if "properties" in item.path.parts:
                item.add_marker(pytest.mark.timeout(0))


@pytest.fixture
def service(connect: Connect) -> Iterator[Service]:
    """Yield the worker's SQL functions, with autocommit."""
    with connect("service_role") as connection:
        yield Service(connection)


@pytest.fixture
def browsers(supabase: LocalSupabase) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    """Open Anna's and Bert's connections."""
    with supabase.connect("authenticated") as hers, supabase.connect("authenticated") as his:
        yield hers, his
