"""Two requests that race in Postgres, driven step by step: who waits is seen, never slept for."""

import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg

from sandbox.supabase.stack import LocalSupabase
from tests.sql.service import Json

# For another transaction, or behind one that waits for it; autovacuum locks whole tables.
IS_SEEN_TO_WAIT = """
    select wait_event_type = 'Lock' and wait_event in ('transactionid', 'tuple')
    from pg_stat_activity where pid = %s
"""
EMPTY = """
    delete from lessons; delete from mux_asset_events; delete from mux_private.upload_history;
    update mux_private.worker_state set environment_id = null where environment_id is not null
"""
CLAIMED = """
    select jsonb_build_object(
      'id', t.id, 'tracked_at', t.tracked_at, 'leased_until', s.next_check_at)
    from mux_asset_tracking t left join mux_private.schedule s on s.tracking_id = t.id
    where t.lesson_id = %s
"""


@dataclass(frozen=True)
class Scene:
    """What a request may name: the tracking row as its worker claimed it, if there is one."""

    claimed: Json | None


Call = Callable[[psycopg.Connection, Scene], Any]


@dataclass(frozen=True)
class Action:
    """One request: whose it is (nobody's: the worker's), what it calls, what it may be told.

    `errors` are the SQLSTATEs that it has to expect, `states` those where it makes sense, or all.
    """

    name: str
    user: UUID | None
    call: Call
    errors: dict[str, str] = field(default_factory=dict)
    states: frozenset[str] | None = None

    @property
    def never_waits(self) -> bool:
        """Whether it is the worker's."""
        return self.user is None

    def is_possible(self, state: str) -> bool:
        """Whether it makes sense in a state."""
        return self.states is None or state in self.states

    def claims(self) -> Json:
        """Give what the request's JWT says."""
        if self.user is None:
            return {"role": "service_role"}
        return {"role": "authenticated", "sub": str(self.user)}

    def __str__(self) -> str:
        return self.name


class Racer:
    """One side of a race: a connection that does one request at a time, as PostgREST does it."""

    def __init__(self, connection: psycopg.Connection, watcher: psycopg.Connection) -> None:
        self.connection = connection
        self._watcher = watcher
        self._thread = ThreadPoolExecutor(1)
        self._told: Future[Any] = Future()

    def starts(self, action: Action, scene: Scene, *, and_commits: bool = False) -> bool:
        """Begin a request; return True once it is seen to wait for a lock, False once it ended."""
        self._told = self._thread.submit(self._request, action, scene, and_commits)
        deadline = time.monotonic() + 60
        while not wait([self._told], timeout=0.002).done:
            row = self._watcher.execute(IS_SEEN_TO_WAIT, [self.connection.info.backend_pid])
            if row.fetchone() == (True,):
                return True
            assert time.monotonic() < deadline, f"{action} neither ends nor waits"
        return False

    def result(self) -> Any:
        """Give what the request was told, once it has ended; raises what nobody expects."""
        return self._told.result(60)

    def gives_up(self) -> None:
        """End whatever it does, and undo it."""
        self.connection.cancel_safe()
        wait([self._told])
        self.connection.rollback()

    def closes(self) -> None:
        """End the connection, whatever it does, and its thread."""
        self._watcher.execute("select pg_terminate_backend(%s)", [self.connection.info.backend_pid])
        self._thread.shutdown()
        self.connection.close()

    def _request(self, action: Action, scene: Scene, and_commits: bool) -> Any:
        claims = action.claims()
        self.connection.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            [claims["role"], json.dumps(claims)],
        )
        try:
            result = action.call(self.connection, scene)
        except psycopg.Error as error:
            self.connection.rollback()
            if error.sqlstate not in action.errors:
                raise
            return action.errors[error.sqlstate]
        if and_commits:
            self.connection.commit()
        return result


class Stage:
    """Where races are run: two racers, one who is in their way, one who watches and cleans."""

    def __init__(self, supabase: LocalSupabase) -> None:
        self._supabase = supabase
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self.watcher = self._open.enter_context(self._supabase.connect("supabase_admin"))
        self.holder = self._connection("supabase_admin")
        self.one, self.other = self._racer(), self._racer()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def sets(self, happened: list[str], lesson: UUID) -> Scene:
        """Begin anew: empty the tables, let happen what happened before, one transaction each."""
        for connection in (self.holder, self.one.connection, self.other.connection):
            connection.rollback()
        for part in (EMPTY, *happened):
            self.watcher.execute(part.encode())
        found = self.watcher.execute(CLAIMED, [lesson]).fetchone()
        return Scene(found[0] if found else None)

    def _connection(self, role: str) -> psycopg.Connection:
        connection = self._supabase.connect(role, autocommit=False)
        self._open.callback(connection.close)
        return connection

    def _racer(self) -> Racer:
        racer = Racer(self._connection("authenticator"), self.watcher)
        self._open.callback(racer.closes)
        return racer
