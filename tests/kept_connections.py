"""Keep connections from test to test, as PostgREST keeps its own from request to request.

The first call of a function on a new connection compiles it, which takes longer than most tests.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from sandbox.supabase.stack import LocalSupabase

UNUSABLE = (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN)
RESET = b"""
    reset session authorization; reset all; select pg_advisory_unlock_all(); discard temp;
    unlisten *
"""


class KeptConnections:
    """One connection for each role, with autocommit; each test finds it as if it were new."""

    def __init__(self, supabase: LocalSupabase) -> None:
        self._supabase = supabase
        self._kept: dict[str | None, psycopg.Connection] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    @contextmanager
    def lend(self, role: str | None = None) -> Iterator[psycopg.Connection]:
        """Yield the connection of a role; at the end, an open transaction is rolled back."""
        connection = self._kept.pop(role, None) or self._connect(role)
        yield connection
        if connection.info.transaction_status in UNUSABLE:
            connection.close()
            return
        connection.rollback()
        connection.autocommit, connection.row_factory = True, tuple_row
        connection.execute(RESET)
        self._kept[role] = connection

    def _connect(self, role: str | None) -> psycopg.Connection:
        connection = self._supabase.connect(role)
        self._open.callback(connection.close)
        # A statement that stays prepared fails once a test has changed its table.
        connection.prepare_threshold = None
        return connection
