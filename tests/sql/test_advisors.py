import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.sql.installing import run
from tests.sql.supabase_cli import MISSING, address, supabase_cli

pytestmark = [pytest.mark.stack, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]


@pytest.fixture(params=[False, True], ids=["closed", "open"])
def advised(supabase: LocalSupabase, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the dsn of a database with sql/, whose new tables are closed or open by default."""
    dsn = supabase.create_database("advised", default_grants=request.param, apply_sql=True)
    # That the app's trigger has no search_path of its own is the app's affair.
    run(dsn, "alter function notify_students() set search_path = public")
    yield dsn
    supabase.drop_database("advised")


def advice(dsn: str, home: Path, level: str) -> tuple[int, list[tuple[str, str]]]:
    """Have Supabase's advisors look; give the exit status and what they found."""
    options = ("--level", level, "--fail-on", "warn", "--output", "json")
    result = supabase_cli("db", "advisors", "--db-url", address(dsn), *options, home=home)
    try:
        found = json.loads(result.stdout or "[]")
    except json.JSONDecodeError:
        pytest.fail(f"{result.stdout}\n{result.stderr}")
    return result.returncode, sorted((lint["name"], lint["detail"]) for lint in found)


def test_supabases_advisors_only_remark_what_is_on_purpose(advised: str, tmp_path: Path) -> None:
    """No warning and no error, whatever new tables are granted by default.

    Tables without an owner have no policy; an index of a new database was never used.
    """
    status, remarks = advice(advised, tmp_path, "info")
    assert status == 0
    assert [remark for remark in remarks if remark[0] != "unused_index"] == [
        ("rls_enabled_no_policy", f"Table `{table}` has RLS enabled, but no policies exist")
        for table in (
            *("mux_private.applied_files", "mux_private.of_the_app", "mux_private.snapshot"),
            "mux_private.upload_history",
        )
    ]


HARM = {
    "alter table mux_asset_events disable row level security": (
        "rls_disabled_in_public",
        "public.mux_asset_events",
    ),
    "create table added (id int primary key); grant select on added to anon": (
        "rls_disabled_in_public",
        "public.added",
    ),
    "create view seen as select * from mux_asset_events; grant select on seen to anon": (
        "security_definer_view",
        "public.seen",
    ),
    "alter function worker_summary() reset search_path": (
        "function_search_path_mutable",
        "public.worker_summary",
    ),
    "create policy more on mux_asset_tracking for select to authenticated using (true)": (
        "multiple_permissive_policies",
        "public.mux_asset_tracking",
    ),
    """alter policy "Service role has full access" on mux_asset_tracking
    using (auth.uid() is null)""": ("auth_rls_initplan", "public.mux_asset_tracking"),
}


def test_they_would_find_what_is_wrong(installed: str, tmp_path: Path) -> None:
    """A table without row level security, a careless view, function or policy fails the look."""
    for statement in HARM:
        run(installed, statement)
    status, warnings = advice(installed, tmp_path, "warn")
    assert status == 1
    missed = [
        (name, of)
        for name, of in HARM.values()
        if not any(name == found and f"`{of}`" in detail for found, detail in warnings)
    ]
    assert missed == [], warnings
