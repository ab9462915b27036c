"""Give a test's Supabase the role `mux_worker`, and a worker the key of it."""

import psycopg
import pytest

from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from worker.project_key import WORKER_ROLE
from worker.sql_files import optional_files

WORKER_ROLE_FILE = optional_files()["worker_role"]
ROLES = ("service_role", WORKER_ROLE)

WITH_BOTH_KEYS = pytest.mark.parametrize("key_role", ROLES, indirect=True)
WITH_WORKER_ROLE = pytest.mark.parametrize("key_role", [WORKER_ROLE], indirect=True)

ADAPT_THE_APP = b"alter function notify_students() security definer set search_path = public"
"""What docs/database.md advises: the app's trigger writes a table that the role does not reach."""


def create_worker_role(supabase: LocalSupabase) -> None:
    """Apply sql/optional/worker_role.sql to the project's database, unless it has been applied."""
    with supabase.connect() as db:
        applied = "select from mux_private.applied_files where name = 'worker_role'"
        if db.execute(applied).rowcount == 0:
            apply_sql(supabase.dsn(), [WORKER_ROLE_FILE])
            adapt_the_app(db)


def adapt_the_app(db: psycopg.Connection) -> None:
    """Have the app's trigger run with its owner's rights."""
    db.execute(ADAPT_THE_APP)


def key_settings(supabase: LocalSupabase, role: str) -> dict[str, str]:
    """Return the settings with which a worker has the key of a role."""
    if role == WORKER_ROLE:
        create_worker_role(supabase)
        return {
            "SUPABASE_SERVICE_ROLE_KEY": supabase.role_token(role),
            "SUPABASE_PUBLISHABLE_KEY": supabase.publishable_key,
        }
    return {"SUPABASE_SERVICE_ROLE_KEY": supabase.service_role_key}
