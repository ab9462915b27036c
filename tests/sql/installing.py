"""Applies and undoes sql/ the way a DBA does, and reads the catalog to compare."""

from pathlib import Path

import psycopg

from worker.local.databases import find_sql_files
from worker.local.postgres import apply_sql

DOWN = Path(__file__).parents[2] / "sql" / "down"
REPORT = Path(__file__).parent / "report.sql"

CATALOG = {
    "columns": """
        select c.oid::regclass::text, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
               a.attnotnull, a.attidentity::text, pg_get_expr(d.adbin, d.adrelid),
               col_description(c.oid, a.attnum)
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
          and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
        order by 1, 2""",
    "constraints": """
        select conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid)
        from pg_constraint
        where connamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        order by 1, 2""",
    "indexes": """
        select schemaname, indexname, indexdef from pg_indexes
        where schemaname in ('public', 'mux_private') order by 1, 2""",
    "functions": """
        select p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proowner::regrole::text,
               p.proacl::text, obj_description(p.oid)
        from pg_proc p
        where p.pronamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        order by 1""",
    "tables": """
        select c.oid::regclass::text, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity,
               c.relowner::regrole::text, c.relacl::text, obj_description(c.oid)
        from pg_class c
        where c.relnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
          and c.relkind in ('r', 'v', 'm', 'S') order by 1""",
    "column grants": """
        select attrelid::regclass::text, attname, attacl::text
        from pg_attribute where attacl is not null and attrelid >= 16384 order by 1, 2""",
    "policies": """
        select schemaname, tablename, policyname, permissive, roles::text, cmd, qual,
               with_check
        from pg_policies order by 1, 2, 3""",
    "triggers": """
        select tgrelid::regclass::text, tgname, tgenabled::text, pg_get_triggerdef(oid)
        from pg_trigger where not tgisinternal order by 1, 2""",
    "types": """
        select t.typname, array_agg(e.enumlabel::text order by e.enumsortorder), t.typacl::text,
               obj_description(t.oid)
        from pg_type t join pg_enum e on e.enumtypid = t.oid group by t.oid order by 1""",
    "schemas": """
        select nspname, nspacl::text, obj_description(oid) from pg_namespace
        where nspname in ('public', 'mux_private') order by 1""",
}
"""What a schema consists of, object by object, with grants and comments."""


def run(dsn: str, statements: str) -> None:
    """Run statements as the owner."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statements.encode())


def apply_all(dsn: str) -> None:
    """Apply every file of sql/ in name order, each with psql."""
    apply_sql(dsn, find_sql_files())


def undo_all(dsn: str, downto: str = "001") -> None:
    """Undo every file down to the one with this number, the last one first."""
    files = sorted(DOWN.glob("*.sql"), reverse=True)
    apply_sql(dsn, [file for file in files if file.name >= downto])


def catalog(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    """Read the schema."""
    with psycopg.connect(dsn) as connection:
        return {
            name: connection.execute(query.encode()).fetchall() for name, query in CATALOG.items()
        }
