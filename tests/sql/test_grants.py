import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.sql.installing import OF_THE_APP, apply_all, undo_all

pytestmark = pytest.mark.stack

PRIVILEGES = f"""
    with roles (role) as (values ('anon'), ('authenticated'), ('service_role')),
    ours as (
      select oid, relkind from pg_class
      where relnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        and relkind in ('r', 'S') and relname <> 'lessons'
        and relname not in {OF_THE_APP}
    )
    select role, oid::regclass::text, privilege
    from roles, ours, unnest(array['select', 'insert', 'update', 'references']) privilege
    where relkind = 'r' and has_any_column_privilege(role, oid, privilege)
    union all
    select role, oid::regclass::text, privilege
    from roles, ours, unnest(array['delete', 'truncate', 'trigger']) privilege
    where relkind = 'r' and has_table_privilege(role, oid, privilege)
    union all
    select role, oid::regclass::text, privilege
    from roles, ours, unnest(array['usage', 'select', 'update']) privilege
    where relkind = 'S' and has_sequence_privilege(role, oid, privilege)
    order by 1, 2, 3""".encode()


@pytest.mark.parametrize("column", ["status", "mux_asset_id", "mux_playback_id", "updated_at"])
def test_the_service_role_may_change_what_the_worker_writes_of_a_lesson(
    supabase: LocalSupabase, database: str, column: str
) -> None:
    """An app that grants lessons to no worker gets the grants from sql/, column by column."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("revoke all on lessons from service_role")
        apply_all(database)
        query = b"select has_column_privilege('service_role', 'lessons', %s, 'update')"
        assert connection.execute(query, [column]).fetchone() == (True,)
        assert connection.execute(query, ["title"]).fetchone() == (False,)


def test_undoing_the_grants_closes_the_tables(installed: str) -> None:
    """Down to the file before it, nobody but the owner reaches any table."""
    undo_all(installed, downto="900")
    with psycopg.connect(installed) as connection:
        found = connection.execute(PRIVILEGES).fetchall()
    assert found == []
