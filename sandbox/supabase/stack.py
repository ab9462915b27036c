"""Start and stop a local Supabase: Postgres, PostgREST and the gateway, in about two seconds."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

import psycopg

from sandbox.fault_injection import Faults
from sandbox.http_server import Server
from sandbox.supabase.databases import OWNER, Databases, find_sql_files
from sandbox.supabase.gateway import Gateway
from sandbox.supabase.keys import make_keys
from sandbox.supabase.postgres import Postgres, apply_sql
from sandbox.supabase.postgrest import PostgREST
from sandbox.supabase.request_log import RequestLog
from sandbox.supabase.run_directory import RunDirectory, remove_abandoned
from sandbox.supabase.service_user import service_user

MAIN_DATABASE = "postgres"


class LocalSupabase:
    """Run a Supabase project while the `with` block lasts.

    The end of the block stops the servers and removes their files; the next start removes what a
    killed process left behind. With `default_grants` requests may use every new table, which was
    Supabase's default until 2026-10-30; without it they may use none. `sql_directory` holds the
    worker's SQL, by default the checkout's `sql`.

    Raises:
        LocalStackError: on entering, when something is missing or a server does not start.
    """

    def __init__(
        self,
        *,
        default_grants: bool = False,
        apply_sql: bool = True,
        sql_directory: Path | None = None,
        gateway_port: int = 0,
    ) -> None:
        self._default_grants = default_grants
        self._sql_files = find_sql_files(sql_directory) if apply_sql else []
        self._gateway_port = gateway_port
        self._keys = make_keys()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._start(starting)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()

    def _start(self, starting: ExitStack) -> None:
        user = service_user()
        remove_abandoned(user)
        directory = RunDirectory(user)
        starting.callback(directory.remove)
        # Both constructors look for their programs, so that a missing one is reported at once.
        self._postgres = Postgres(directory)
        dsn = self.dsn("authenticator")
        self._postgrest = PostgREST(directory, dsn, self._keys.jwt_secret)
        starting.callback(self._postgres.stop, immediate=True)
        self._postgres.start()
        self._databases = Databases(self._postgres)
        self._databases.set_up(MAIN_DATABASE, default_grants=self._default_grants)
        apply_sql(self.dsn(), self._sql_files)
        starting.callback(self._postgrest.stop)
        self._postgrest.start()
        self._gateway = Gateway(self._keys, self._postgrest.socket)
        self._server = starting.enter_context(Server(self._gateway.app, port=self._gateway_port))

    @property
    def url(self) -> str:
        """Return the value for SUPABASE_URL."""
        return self._server.url

    @property
    def anon_key(self) -> str:
        """Return the JWT of the role `anon`."""
        return self._keys.anon_key

    @property
    def service_role_key(self) -> str:
        """Return the JWT of the role `service_role`."""
        return self._keys.service_role_key

    @property
    def publishable_key(self) -> str:
        """Return the short key that stands for `anon_key`."""
        return self._keys.publishable_key

    @property
    def secret_key(self) -> str:
        """Return the short key that stands for `service_role_key`."""
        return self._keys.secret_key

    @property
    def faults(self) -> Faults:
        """Return the faults of the gateway."""
        return self._gateway.faults

    @property
    def requests(self) -> RequestLog:
        """Return the log of the gateway's requests."""
        return self._gateway.requests

    def user_token(self, user_id: UUID, lifetime_seconds: int = 3600) -> str:
        """Return the JWT of a signed-in user; with a negative lifetime, one that has expired."""
        return self._keys.user_token(user_id, lifetime_seconds)

    def dsn(self, user: str = OWNER, database: str = MAIN_DATABASE) -> str:
        """Return a connection string for `postgres`, `authenticator` or `supabase_admin`."""
        return self._postgres.dsn(user, database)

    def connect(
        self, role: str | None = None, database: str = MAIN_DATABASE, *, autocommit: bool = True
    ) -> psycopg.Connection:
        """Connect as any of Supabase's roles, by default as `postgres`, the tables' owner."""
        return self._databases.connect(role or OWNER, database, autocommit=autocommit)

    def create_database(
        self, name: str, *, template: str | None = None, default_grants: bool | None = None
    ) -> str:
        """Create a database with roles, `auth` and `lessons`, without the worker's SQL.

        Returns the dsn of its owner, `postgres`. With `template` it is a copy of that database,
        which must have no open connections.
        """
        granted = self._default_grants if default_grants is None else default_grants
        return self._databases.create(name, template=template, default_grants=granted)

    def drop_database(self, name: str) -> None:
        """Drop a database and close the connections to it. Idempotent."""
        self._databases.drop(name)

    def stop_postgrest(self) -> None:
        """Stop PostgREST; the gateway answers with 503."""
        self._postgrest.stop()

    def start_postgrest(self) -> None:
        """Start PostgREST again and wait until it is ready."""
        self._postgrest.start()

    def stop_postgres(self) -> None:
        """Stop Postgres and close all connections; PostgREST answers with 503."""
        self._postgres.stop()

    def start_postgres(self) -> None:
        """Start Postgres again and wait until PostgREST has reconnected."""
        self._postgrest.wait_until_reconnected(self._postgres.start)

    def restart_postgres(self) -> None:
        """Restart Postgres and wait until PostgREST has reconnected."""
        self.stop_postgres()
        self.start_postgres()

    def reload_schema(self) -> None:
        """Have PostgREST reload the schema, and wait until it has."""
        with self.connect() as connection:

            def notify() -> None:
                connection.execute("notify pgrst, 'reload schema'")

            self._postgrest.reload(notify)
