"""Applies and undoes sql/ the way a DBA does, and reads the catalog to compare."""

from pathlib import Path
from typing import LiteralString

import psycopg

from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.postgres import apply_sql
from worker.adapter.options import Options
from worker.adapter.render import is_adapter, render
from worker.sql_files import sql_files

SQL = Path(__file__).parents[2] / "sql"
DOWN = SQL / "down"
REPORT = Path(__file__).parent / "report.sql"

Catalog = dict[str, list[tuple[object, ...]]]

OF_THE_APP: LiteralString = "('notifications', 'notifications_id_seq', 'notify_students')"
"""What the app has in `public` beside `lessons`: lists of our objects leave it out."""

CATALOG = {
    "columns": """
        select c.oid::regclass::text, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
               a.attnotnull, a.attidentity::text, a.attgenerated::text,
               pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation::text,
               a.attstorage::text, a.attcompression::text, a.attoptions::text
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
          and c.relkind in ('r', 'p', 'v', 'm') and a.attnum > 0 and not a.attisdropped
        order by 1, 2""",
    "constraints": """
        select conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid)
        from pg_constraint
        where connamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        order by 1, 2""",
    "indexes": """
        select indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid, indisreplident,
               indisclustered
        from pg_index join pg_class c on c.oid = indexrelid
        where c.relnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        order by 1""",
    "functions": """
        select p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proowner::regrole::text,
               p.proacl::text
        from pg_proc p
        where p.pronamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        order by 1""",
    "tables": """
        select c.oid::regclass::text, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity,
               c.relowner::regrole::text, c.relacl::text, c.reloptions::text,
               t.reloptions::text, c.relpersistence::text, c.relreplident::text
        from pg_class c left join pg_class t on t.oid = c.reltoastrelid
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
        select t.oid::regtype::text, t.typtype::text, t.typowner::regrole::text, t.typacl::text,
               (select array_agg(e.enumlabel::text order by e.enumsortorder)
                from pg_enum e where e.enumtypid = t.oid)
        from pg_type t
        where t.typnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        order by 1""",
    "sequences": """
        select schemaname, sequencename, sequenceowner, data_type::text, start_value, min_value,
               max_value, increment_by, cycle, cache_size
        from pg_sequences where schemaname in ('public', 'mux_private') order by 1, 2""",
    "schemas": """
        select nspname, nspowner::regrole::text, nspacl::text from pg_namespace
        where nspname not like 'pg\\_%' order by 1""",
    "default privileges": """
        select defaclrole::regrole::text, defaclnamespace::regnamespace::text,
               defaclobjtype::text, defaclacl::text
        from pg_default_acl order by 1, 2, 3""",
    "publications": """
        select p.pubname, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
               (select array_agg(r.prrelid::regclass::text order by 1)
                from pg_publication_rel r where r.prpubid = p.oid)
        from pg_publication p order by 1""",
    "settings": """
        select setrole::regrole::text, setconfig::text from pg_db_role_setting
        where setdatabase in (0, (select oid from pg_database where datname = current_database()))
        order by 1, 2""",
    "database grants": """
        select datacl::text from pg_database where datname = current_database()""",
    "event triggers": "select evtname, evtevent, evtenabled::text from pg_event_trigger order by 1",
    "extensions": "select extname, extversion from pg_extension order by 1",
    "comments": """
        select pg_describe_object(classoid, objoid, objsubid), description from pg_description
        where objoid >= 16384 or objoid = 'public'::regnamespace order by 1""",
    "all that is in a schema": """
        select distinct pg_describe_object(d.classid, d.objid, 0) from pg_depend d
        where d.refclassid = 'pg_namespace'::regclass
          and d.refobjid in ('public'::regnamespace, to_regnamespace('mux_private'))
        order by 1""",
}
"""What a database consists of, object by object, with grants and comments."""


def run(dsn: str, statements: str) -> None:
    """Run statements as the owner."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statements.encode())


def adapter(options: Options) -> str:
    """Return the files of the adapter for a table, one after the other."""
    return "".join(render(options, file.stem) for file in sql_files() if is_adapter(file))


def apply_all(dsn: str) -> None:
    """Apply every file of sql/ in name order, with psql."""
    apply_sql(dsn, find_sql_files())


def undo_all(dsn: str, downto: str = "010") -> None:
    """Undo every file down to the one with this number, the last one first."""
    files = sorted(DOWN.glob("*.sql"), reverse=True)
    apply_sql(dsn, [file for file in files if file.name >= downto])


def catalog(dsn: str) -> Catalog:
    """Read all of it."""
    with psycopg.connect(dsn) as connection:
        return {
            name: connection.execute(query.encode()).fetchall() for name, query in CATALOG.items()
        }
