"""Measure the backfill beside the report's script: `python -m bench.backfill`.

The same lessons, the same simulated Mux with Mux's own limits: half hold a temporary id with the
upload's id inside, half a real asset id. The script is bench/report/fix-lesson-status.mjs; where
it or its packages are not there, its half of the row is left out.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import psycopg

from worker.local.mux_guard import RateLimits
from worker.local.mux_server import MuxSimulator
from worker.local.stack import LocalSupabase

CHECKOUT = Path(__file__).parents[1]
SCRIPT = CHECKOUT / "bench" / "report" / "fix-lesson-status.mjs"
LESSONS = 10_000
INSTRUCTOR = UUID("aaaaaaaa-0000-4000-8000-000000000001")


def main() -> None:
    """Run both and print the rows of a Markdown table."""
    print(
        "| 10,000 legacy lessons | Mux requests | Seconds | Published |\n| --- | --- | --- | --- |"
    )
    for name, command in (
        ("backfill", [sys.executable, "-m", "worker", "backfill", "--apply", "--yes"]),
        ("report's script", ["node", str(SCRIPT)]),
    ):
        if name == "backfill" or (SCRIPT.exists() and (SCRIPT.parent / "node_modules").exists()):
            requests, seconds, published = measure(command)
            print(f"| {name} | {requests:,} | {seconds:,.0f} | {published:,} |", flush=True)
        else:
            print(f"| {name} | not here: {SCRIPT.parent.relative_to(CHECKOUT)} | | |")


def measure(command: list[str]) -> tuple[int, float, int]:
    """Run one command on a stage of its own; give requests, seconds, lessons published."""
    with LocalSupabase() as supabase, MuxSimulator() as mux, supabase.connect() as db:
        mux.limits = RateLimits.per_second(get=5, post=1)
        _add_lessons(db, mux)
        began = time.monotonic()
        subprocess.run(
            command, env=_environment(supabase, mux), stdout=subprocess.DEVNULL, check=False
        )
        seconds = time.monotonic() - began
        row = db.execute("select count(*) from lessons where status = 'published'").fetchone()
        assert row is not None
        return len(mux.requests.all()), seconds, int(row[0])


def _add_lessons(db: psycopg.Connection, mux: MuxSimulator) -> None:
    with (
        db.cursor() as cursor,
        cursor.copy("copy lessons (creator_id, title, mux_asset_id) from stdin") as copy,
    ):
        for number, one in enumerate(mux.state.seed(LESSONS)):
            held = one.asset_id if number % 2 else f"temp_{one.upload_id}"
            copy.write_row((INSTRUCTOR, "A lesson", held))


def _environment(supabase: LocalSupabase, mux: MuxSimulator) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(CHECKOUT),
        "SUPABASE_URL": supabase.url,
        "NEXT_PUBLIC_SUPABASE_URL": supabase.url,
        "SUPABASE_SERVICE_ROLE_KEY": supabase.service_role_key,
        "MUX_TOKEN_ID": mux.token_id,
        "MUX_TOKEN_SECRET": mux.token_secret,
        "MUX_BASE_URL": mux.url,
        "LOG_FORMAT": "json",
    }


if __name__ == "__main__":
    main()
