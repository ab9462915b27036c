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
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.gateway import Gateway
from sandbox.supabase.keys import KEY_LIFETIME_SECONDS, make_keys
from sandbox.supabase.postgres import Postgres, apply_sql
from sandbox.supabase.postgrest import PostgREST, find_postgrest
from sandbox.supabase.request_log import RequestLog
from sandbox.supabase.run_directory import PREFIX, RunDirectory, remove_abandoned
from sandbox.supabase.service_user import service_user
from sandbox.supabase.shared_postgres import join_postgres


class LocalSupabase:
    """Run a Supabase project while the `with` block lasts.

    The end of the block stops the servers and removes their files; the next start removes what a
    killed process left behind. With `default_grants` requests may use every new table, which was
    Supabase's default until 2026-10-30; without it they may use none.

    The Postgres is its own, or that of all projects with the same `shared_postgres`: a file that
    names it. On a shared one the project has databases of its own, but roles are common to all.

    Raises:
        LocalStackError: on entering, when something is missing or a server does not start.
    """

    def __init__(
        self,
        *,
        default_grants: bool = False,
        apply_sql: bool = True,
        gateway_port: int = 0,
        shared_postgres: Path | None = None,
    ) -> None:
        self._default_grants = default_grants
        self._sql_files = find_sql_files() if apply_sql else []
        self._shared_postgres = shared_postgres
        self._postgres: Postgres | None = None
        self._main_database = "postgres"
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
        find_postgrest()  # A missing program is reported at once.
        user = service_user()
        remove_abandoned(user)
        directory = RunDirectory.create(user)
        starting.callback(directory.leave)
        self.run_directory = directory.path
        """The directory of its files, which is removed when it stops."""
        if self._shared_postgres is None:
            self._start_postgres(directory, starting)
        else:
            self._join_postgres(self._shared_postgres, directory, starting)
        dsn = self.dsn("authenticator")
        self._postgrest = PostgREST(directory, dsn, self._keys.key_set)
        starting.callback(self._postgrest.stop)
        self._postgrest.start()
        self._gateway = Gateway(self._keys, self._postgrest.socket)
        self._server = starting.enter_context(Server(self._gateway.app, port=self._gateway_port))

    def _start_postgres(self, directory: RunDirectory, starting: ExitStack) -> None:
        self._postgres = Postgres(directory)
        starting.callback(self._postgres.stop, immediate=True)
        self._postgres.start()
        self._databases = Databases(directory.server_path)
        self._databases.set_up(self._main_database, default_grants=self._default_grants)
        if self._sql_files:
            apply_sql(self.dsn(), self._sql_files)

    def _join_postgres(self, file: Path, directory: RunDirectory, starting: ExitStack) -> None:
        self._databases = starting.enter_context(join_postgres(file))
        self._main_database = f"project_{directory.path.name.removeprefix(PREFIX)}"
        starting.callback(self._databases.drop, self._main_database)
        self._databases.create(
            self._main_database, default_grants=self._default_grants, sql_files=self._sql_files
        )

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
    def jwt_secret(self) -> str:
        """Return the legacy JWT secret."""
        return self._keys.jwt_secret

    @property
    def signing_key(self) -> str:
        """Return the private JWK of a signing key, by which PostgREST verifies tokens as well."""
        return self._keys.signing_key

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

    def role_token(self, role: str, lifetime_seconds: int = KEY_LIFETIME_SECONDS) -> str:
        """Return a JWT of a role; the gateway takes it beside an API key, not as one."""
        return self._keys.role_token(role, lifetime_seconds)

    def dsn(self, user: str = OWNER, database: str | None = None) -> str:
        """Return a connection string for `postgres`, `authenticator` or `supabase_admin`.

        `database` is a name that was given to `create_database`; without it, the project's own.
        """
        return self._databases.dsn(user, self._database_name(database))

    def connect(
        self, role: str | None = None, database: str | None = None, *, autocommit: bool = True
    ) -> psycopg.Connection:
        """Connect as any of Supabase's roles, by default as `postgres`, the tables' owner."""
        name = self._database_name(database)
        return self._databases.connect(role or OWNER, name, autocommit=autocommit)

    def create_database(
        self, name: str, *, default_grants: bool | None = None, apply_sql: bool = False
    ) -> str:
        """Create a further database with roles, `auth`, `lessons` and, if asked, the worker's SQL.

        Returns the dsn of its owner, `postgres`. Postgres knows the database by a longer name, so
        that other projects on the same server may use the same one.
        """
        granted = self._default_grants if default_grants is None else default_grants
        files = find_sql_files() if apply_sql else []
        database = self._database_name(name)
        self._databases.create(database, default_grants=granted, sql_files=files)
        return self._databases.dsn(OWNER, database)

    def drop_database(self, name: str) -> None:
        """Drop a database and close the connections to it. Idempotent."""
        self._databases.drop(self._database_name(name))

    def _database_name(self, name: str | None) -> str:
        return self._main_database if name is None else f"{self._main_database}_{name}"

    def stop_postgrest(self) -> None:
        """Stop PostgREST; the gateway answers with 503."""
        self._postgrest.stop()

    def kill_postgrest(self) -> None:
        """Kill PostgREST; the gateway answers with 503."""
        self._postgrest.kill()

    def start_postgrest(self) -> None:
        """Start PostgREST again and wait until it is ready."""
        self._postgrest.start()

    def stop_postgres(self) -> None:
        """Stop Postgres and close all connections; PostgREST answers with 503.

        Raises:
            LocalStackError: it is shared with other projects.
        """
        self._own_postgres().stop()

    def start_postgres(self) -> None:
        """Start Postgres again and wait until PostgREST has reconnected."""
        self._postgrest.wait_until_reconnected(self._own_postgres().start)

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

    def _own_postgres(self) -> Postgres:
        if self._postgres is None:
            raise LocalStackError("This Postgres is shared. Start a LocalSupabase without sharing.")
        return self._postgres
