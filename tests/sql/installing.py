"""Applies and undoes sql/ the way a DBA does, and reads the catalog to compare."""

from pathlib import Path

import psycopg

from worker.local.databases import find_sql_files
from worker.local.postgres import apply_sql

DOWN = Path(__file__).parents[2] / "sql" / "down"

CATALOG = {
    "columns": """
        select table_schema, table_name, column_name, column_default, is_nullable, udt_name
        from information_schema.columns where table_schema in ('public', 'mux_private')
        order by 1, 2, 3""",
    "constraints": """
        select conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        from pg_constraint
        where connamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        order by 1, 2""",
    "indexes": """
        select schemaname, indexname, indexdef from pg_indexes
        where schemaname in ('public', 'mux_private') order by 1, 2""",
    "functions": """
        select p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proacl::text,
               obj_description(p.oid)
        from pg_proc p
        where p.pronamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        order by 1""",
    "tables": """
        select c.oid::regclass::text, c.relrowsecurity, c.relacl::text, obj_description(c.oid)
        from pg_class c
        where c.relnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
          and c.relkind = 'r' order by 1""",
    "column grants": """
        select attrelid::regclass::text, attname, attacl::text
        from pg_attribute where attacl is not null and attrelid >= 16384 order by 1, 2""",
    "policies": """
        select schemaname, tablename, policyname, roles::text, cmd, qual, with_check
        from pg_policies order by 1, 2, 3""",
    "triggers": """
        select tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
        from pg_trigger where not tgisinternal order by 1, 2""",
    "types": """
        select t.typname, array_agg(e.enumlabel::text order by e.enumsortorder)
        from pg_type t join pg_enum e on e.enumtypid = t.oid group by 1 order by 1""",
    "schemas": """
        select nspname, nspacl::text from pg_namespace
        where nspname in ('public', 'mux_private') order by 1""",
}
"""What a schema consists of, object by object, with grants and comments."""


def apply_all(dsn: str) -> None:
    """Apply every file of sql/ in name order, each with psql."""
    apply_sql(dsn, find_sql_files())


def undo_all(dsn: str) -> None:
    """Undo every file, the last one first."""
    apply_sql(dsn, sorted(DOWN.glob("*.sql"), reverse=True))


def catalog(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    """Read the schema."""
    with psycopg.connect(dsn) as connection:
        return {
            name: connection.execute(query.encode()).fetchall() for name, query in CATALOG.items()
        }
