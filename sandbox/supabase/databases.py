"""Create databases as a Supabase project has them, before or after the worker's SQL is applied."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import psycopg
from psycopg import sql

from sandbox.checkout import CHECKOUT
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.postgres import SUPERUSER, apply_sql

OWNER = "postgres"
SQL_DIRECTORY = Path(__file__).parent
# The other roles cannot log in: like PostgREST, `connect` logs in as authenticator and switches.
LOGIN_ROLES = {OWNER, SUPERUSER, "authenticator"}


class Databases:
    """Create databases with the roles, the schema `auth` and the app's table `lessons`.

    `directory` holds the socket of the server.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._templates: set[str] = set()

    def dsn(self, user: str = OWNER, database: str = "postgres") -> str:
        """Return a connection string. It has no password: access to the directory is enough."""
        return f"postgresql://{user}@/{database}?{urlencode({'host': str(self._directory)})}"

    def set_up(self, database: str, *, default_grants: bool) -> None:
        """Add to an empty database what a Supabase project and the app have."""
        with self.connect(SUPERUSER, database) as connection:
            _execute(connection, SQL_DIRECTORY / "supabase.sql")
            if default_grants:
                _execute(connection, SQL_DIRECTORY / "default_grants.sql")
        with self.connect(OWNER, database) as connection:
            _execute(connection, SQL_DIRECTORY / "lessons.sql")

    def create(self, name: str, *, default_grants: bool, sql_files: Sequence[Path] = ()) -> None:
        """Create a database, and apply the worker's SQL if its files are given.

        It is a copy of a template, which the first call for its kind makes.
        """
        self._copy(self._template(default_grants, sql_files), name)

    def drop(self, name: str) -> None:
        """Drop a database and close the connections to it. Idempotent."""
        statement = sql.SQL("drop database if exists {} with (force)")
        with self.connect(SUPERUSER) as connection:
            connection.execute(statement.format(sql.Identifier(name)))

    def connect(
        self, role: str = OWNER, database: str = "postgres", *, autocommit: bool = True
    ) -> psycopg.Connection:
        """Connect as one of Supabase's roles, also as one that cannot log in."""
        if role in LOGIN_ROLES:
            return psycopg.connect(self.dsn(role, database), autocommit=autocommit)
        dsn = self.dsn("authenticator", database)
        return psycopg.connect(dsn, autocommit=autocommit, options=f"-c role={role}")

    def _template(self, default_grants: bool, sql_files: Sequence[Path] = ()) -> str:
        name = "template_granted" if default_grants else "template_ungranted"
        if sql_files:
            name += "_with_sql"
        if name not in self._templates:
            with self.connect(SUPERUSER) as connection:
                # Other processes may need the same template of a shared server.
                connection.execute("select pg_advisory_lock(hashtext(%s))", [name])
                exists = "select from pg_database where datname = %s"
                if connection.execute(exists, [name]).rowcount == 0:
                    self._make_template(name, default_grants, sql_files)
            self._templates.add(name)
        return name

    def _make_template(self, name: str, default_grants: bool, sql_files: Sequence[Path]) -> None:
        # It gets its name at the end: a process that is killed leaves no incomplete template.
        unfinished = f"unfinished_{name}"
        self.drop(unfinished)
        if sql_files:
            self._copy(self._template(default_grants), unfinished)
            apply_sql(self.dsn(OWNER, unfinished), sql_files)
        else:
            self._copy("template1", unfinished)
            self.set_up(unfinished, default_grants=default_grants)
        statement = sql.SQL("alter database {} rename to {}")
        with self.connect(SUPERUSER) as connection:
            connection.execute(statement.format(sql.Identifier(unfinished), sql.Identifier(name)))

    def _copy(self, template: str, name: str) -> None:
        statement = sql.SQL("create database {} template {} owner {} strategy file_copy").format(
            sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER)
        )
        with self.connect(SUPERUSER) as connection:
            connection.execute(statement)


def find_sql_files(directory: Path | None = None) -> list[Path]:
    """Return the worker's SQL files in the order in which they are applied.

    Raises:
        LocalStackError: there are none in the directory.
    """
    directory = directory or CHECKOUT / "sql"
    files = sorted(directory.glob("*.sql"))
    if not files:
        raise LocalStackError(f"There is no SQL in {directory}. Run from a checkout.")
    return files


def _execute(connection: psycopg.Connection, file: Path) -> None:
    connection.execute(file.read_bytes())
