"""Read an app's tables from its database, for the proposal; needs psycopg, the extra `inspect`."""

import re
from collections import defaultdict
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from worker.adapter.app_table import AppTable, Column
from worker.adapter.options import Table
from worker.errors import SettingsError, WorkerError

CONNECT_TIMEOUT_SECONDS = 10
SAMPLED_ROWS = 10_000
MOST_WORDS = 20

# Of a domain, what it is made of; varchar is text. Left out are Supabase's own schemas.
COLUMNS = sql.SQL("""
    with recursive app as (
      select c.oid, n.nspname, c.relname
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and not c.relispartition
        and n.nspname !~ '^(pg_|supabase_)'
        and n.nspname not in (
          'auth', 'extensions', 'graphql', 'graphql_public', 'information_schema', 'mux_private',
          'net', 'pgbouncer', 'pgsodium', 'realtime', 'storage', 'vault')
        and c.relname not in ('mux_asset_tracking', 'mux_asset_events')
    ), types as (
      select a.attrelid, a.attnum, t.* from app
      join pg_catalog.pg_attribute a on a.attrelid = app.oid and a.attnum > 0 and not a.attisdropped
      join pg_catalog.pg_type t on t.oid = a.atttypid
      union all
      select d.attrelid, d.attnum, t.* from types d
      join pg_catalog.pg_type t on t.oid = d.typbasetype where d.typtype = 'd'
    )
    select app.nspname as schema, app.relname as table, a.attname as name,
      case when t.typtype = 'e' then 'enum' when t.oid = 'varchar'::regtype then 'text'
        else pg_catalog.format_type(t.oid, null) end as type,
      array(select e.enumlabel::text from pg_catalog.pg_enum e
            where e.enumtypid = t.oid order by e.enumsortorder) as labels,
      array(select pg_catalog.pg_get_constraintdef(c.oid) from pg_catalog.pg_constraint c
            where c.conrelid = app.oid and c.contype = 'c'
              and c.conkey = array[a.attnum]) as checks,
      pg_catalog.pg_get_expr(d.adbin, d.adrelid) as default,
      not a.attnotnull as is_nullable, a.attgenerated <> '' as is_generated,
      exists (select from pg_catalog.pg_constraint c where c.conrelid = app.oid
              and c.contype = 'p' and c.conkey = array[a.attnum]) as is_key,
      (select array[n.nspname::text, f.relname::text]
       from pg_catalog.pg_constraint c join pg_catalog.pg_class f on f.oid = c.confrelid
       join pg_catalog.pg_namespace n on n.oid = f.relnamespace
       where c.conrelid = app.oid and c.contype = 'f' and c.conkey = array[a.attnum]
       limit 1) as parent
    from app
    join pg_catalog.pg_attribute a on a.attrelid = app.oid
    join types t on t.attrelid = app.oid and t.attnum = a.attnum and t.typtype <> 'd'
    left join pg_catalog.pg_attrdef d on d.adrelid = app.oid and d.adnum = a.attnum
    order by 1, 2, a.attnum""")

WORDS = sql.SQL("""
    select distinct left(s.word, 100) as word
    from (select {column}::text as word from {table} limit {rows}) s
    order by 1 limit {most}""")


class Catalog:
    """A connection that only reads; `tables` and `seen_words` are what the proposal needs.

    Raises:
        SettingsError: the URL is none.
        WorkerError: the database cannot be reached or read.
    """

    def __init__(self, url: str) -> None:
        try:
            self._connection = psycopg.connect(
                url, connect_timeout=CONNECT_TIMEOUT_SECONDS, row_factory=dict_row
            )
        except psycopg.ProgrammingError:  # its message has the address, with the password
            raise SettingsError(
                "DATABASE_URL is no address of a database. Set it to one such as "
                "postgresql://postgres:PASSWORD@HOST:5432/postgres."
            ) from None
        except psycopg.Error as error:
            raise WorkerError(f"The database cannot be reached: {_line(error)}") from error
        self._connection.read_only = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def tables(self) -> list[AppTable]:
        """Return the app's tables."""
        columns: dict[Table, list[Column]] = defaultdict(list)
        keys: dict[Table, str] = {}
        references: dict[Table, dict[str, Table]] = defaultdict(dict)
        for row in self._query(COLUMNS):
            table = Table(row["schema"], row["table"])
            columns[table].append(_column(row))
            if row["is_key"]:
                keys[table] = row["name"]
            if row["parent"]:
                references[table][row["name"]] = Table(*row["parent"])
        return [
            AppTable(table, tuple(columns[table]), keys.get(table), references[table])
            for table in columns
        ]

    def seen_words(self, table: Table, column: str) -> list[str | None]:
        """Return what a column holds in some of the rows."""
        query = WORDS.format(
            column=sql.Identifier(column),
            table=sql.Identifier(table.schema, table.name),
            rows=sql.Literal(SAMPLED_ROWS),
            most=sql.Literal(MOST_WORDS),
        )
        return [row["word"] for row in self._query(query)]

    def _query(self, query: sql.Composed | sql.SQL) -> list[dict[str, Any]]:
        try:
            return self._connection.execute(query).fetchall()
        except psycopg.Error as error:
            raise WorkerError(f"The database cannot be read: {_line(error)}") from error


def _line(error: psycopg.Error) -> str:
    """Return the message of an error as a sentence in one line."""
    return " ".join(str(error).split()).rstrip(".") + "."


def _column(row: dict[str, Any]) -> Column:
    words = [*row["labels"]]
    for check in row["checks"]:
        words += [word for word in _literals(check) if word not in words]
    return Column(
        name=row["name"],
        type=row["type"],
        words=tuple(words),
        default=_word(row["default"]),
        is_nullable=row["is_nullable"],
        is_generated=row["is_generated"],
    )


def _word(default: str | None) -> str | None:
    """Return what a column's default is; None for null."""
    if default is None or default.startswith("NULL"):
        return None
    return next(iter(_literals(default)), default)


def _literals(expression: str) -> list[str]:
    return [word.replace("''", "'") for word in re.findall(r"'((?:[^']|'')*)'", expression)]
