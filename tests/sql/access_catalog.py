"""What there is to be protected, by the catalog, and the rights that only the catalog tells."""

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from tests.sql.installing import OF_THE_APP

ROLES = ("anon", "authenticated", "mux_worker", "service_role")

COLUMNS: LiteralString = f"""
    select c.relnamespace::regnamespace::text as schema, c.relname::text as table,
           a.attname::text as column, format_type(a.atttypid, a.atttypmod) as type,
           coalesce((select array_agg(e.enumlabel::text order by e.enumsortorder)
                     from pg_enum e where e.enumtypid = a.atttypid), '{{}}') as labels
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
      and c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped
      and c.relname not in {OF_THE_APP}
    order by c.relnamespace, c.relname, a.attnum"""

FUNCTIONS: LiteralString = f"""
    select p.oid::regprocedure::text as signature, p.pronamespace::regnamespace::text as schema,
           p.proname::text as name, coalesce(p.proargnames, '{{}}') as arguments,
           array(select t::regtype::text from unnest(p.proargtypes) t) as types
    from pg_proc p
    where p.pronamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
      and p.proname not in {OF_THE_APP}
    order by p.proname"""

# Rights of one kind on all objects of a kind: name, right, and a cell for each role of ROLES.
RIGHTS: dict[str, LiteralString] = {
    "tables": f"""
        select c.oid::regclass::text, p, array_agg(
                 case when p = 'maintain' and current_setting('server_version_num')::int < 170000
                      then false  -- there is no such right
                      else has_table_privilege(r, c.oid, p) end order by r)
        from pg_class c,
             unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references',
                          'trigger', 'maintain']) p,
             unnest(array['anon', 'authenticated', 'mux_worker', 'service_role']) r
        where c.relnamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
          and c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relname not in {OF_THE_APP}
        group by 1, 2""",
    "columns": f"""
        select c.oid::regclass || '.' || a.attname, p,
               array_agg(has_column_privilege(r, c.oid, a.attnum, p) order by r)
        from pg_class c join pg_attribute a on a.attrelid = c.oid,
             unnest(array['select', 'insert', 'update', 'references']) p,
             unnest(array['anon', 'authenticated', 'mux_worker', 'service_role']) r
        where c.relnamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
          and c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped
          and c.relname not in {OF_THE_APP}
        group by 1, 2""",
    "functions": f"""
        select p.oid::regprocedure::text, 'execute',
               array_agg(has_function_privilege(r, p.oid, 'execute') order by r)
        from pg_proc p, unnest(array['anon', 'authenticated', 'mux_worker', 'service_role']) r
        where p.pronamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
          and p.proname not in {OF_THE_APP}
        group by 1""",
    "sequences": f"""
        select c.oid::regclass::text, p, array_agg(has_sequence_privilege(r, c.oid, p) order by r)
        from pg_class c, unnest(array['usage', 'select', 'update']) p,
             unnest(array['anon', 'authenticated', 'mux_worker', 'service_role']) r
        where c.relnamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
          and c.relkind = 'S' and c.relname not in {OF_THE_APP}
        group by 1, 2 order by 1, 2""",
    "schemas": """
        select 'schema ' || n.nspname, p, array_agg(has_schema_privilege(r, n.oid, p) order by r)
        from pg_namespace n, unnest(array['usage', 'create']) p,
             unnest(array['anon', 'authenticated', 'mux_worker', 'service_role']) r
        where n.nspname in ('public', 'mux_private')
        group by 1, 2 order by 1, 2""",
}


@dataclass(frozen=True)
class Column:
    """A column, its type, and the labels of the type if it is an enum."""

    schema: str
    table: str
    column: str
    type: str
    labels: list[str]


@dataclass(frozen=True)
class Function:
    """A function with its arguments."""

    signature: str
    schema: str
    name: str
    arguments: list[str]
    types: list[str]


@dataclass(frozen=True)
class Catalog:
    """All tables, columns and functions of both schemas, and who holds which right on them."""

    columns: list[Column]
    functions: list[Function]
    rights: dict[str, dict[tuple[str, str], tuple[bool, ...]]]

    def tables(self, schema: str) -> list[str]:
        """Name the tables of a schema."""
        return list(dict.fromkeys(c.table for c in self.columns if c.schema == schema))


def read_catalog(db: psycopg.Connection) -> Catalog:
    """Read what there is."""
    with db.cursor(row_factory=class_row(Column)) as cursor:
        columns = cursor.execute(COLUMNS).fetchall()
    with db.cursor(row_factory=class_row(Function)) as cursor:
        functions = cursor.execute(FUNCTIONS).fetchall()
    rights = {
        kind: {(name, right): tuple(held) for name, right, held in db.execute(query).fetchall()}
        for kind, query in RIGHTS.items()
    }
    return Catalog(columns, functions, rights)
