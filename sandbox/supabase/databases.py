"""Create databases as a Supabase project has them, before the worker's SQL is applied."""

from pathlib import Path

import psycopg
from psycopg import sql

from sandbox.checkout import CHECKOUT
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.postgres import SUPERUSER, Postgres

OWNER = "postgres"
SQL_DIRECTORY = Path(__file__).parent
# The other roles cannot log in: like PostgREST, `connect` logs in as authenticator and switches.
LOGIN_ROLES = {OWNER, SUPERUSER, "authenticator"}


class Databases:
    """Create databases with the roles, the schema `auth` and the app's table `lessons`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._templates: set[str] = set()

    def set_up(self, database: str, *, default_grants: bool) -> None:
        """Add to an empty database what a Supabase project and the app have."""
        with self.connect(SUPERUSER, database) as connection:
            _execute(connection, SQL_DIRECTORY / "supabase.sql")
            if default_grants:
                _execute(connection, SQL_DIRECTORY / "default_grants.sql")
        with self.connect(OWNER, database) as connection:
            _execute(connection, SQL_DIRECTORY / "lessons.sql")

    def create(self, name: str, *, template: str | None, default_grants: bool) -> str:
        """Create a database, or a copy of `template`; return its owner's dsn.

        The template must have no open connections.
        """
        self._copy(template or self._template(default_grants), name)
        return self._postgres.dsn(OWNER, name)

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
            return psycopg.connect(self._postgres.dsn(role, database), autocommit=autocommit)
        dsn = self._postgres.dsn("authenticator", database)
        return psycopg.connect(dsn, autocommit=autocommit, options=f"-c role={role}")

    def _template(self, default_grants: bool) -> str:
        name = "template_granted" if default_grants else "template_ungranted"
        if name not in self._templates:
            self._copy("template1", name)
            self.set_up(name, default_grants=default_grants)
            self._templates.add(name)
        return name

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
