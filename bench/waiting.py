"""Measure a claim while many rows wait: `python -m bench.waiting`.

A claim reads the schedule, which holds only what waits. First with a million waiting rows of 500
instructors, of which none, some, or all are due; then with 50,000 due rows of one instructor and a
hundred of others, who are to get their turn at once. Takes two minutes; prints a Markdown table.
"""

import os
import statistics
import time
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from bench.scale import Database
from sandbox.supabase.stack import LocalSupabase

BATCH = 200
REPEATS = 20
MILLION, INSTRUCTORS = 1_000_000, 500
DUE = (0, 2_000, 100_000, MILLION)
ONE_OWNERS, OTHERS = 50_000, 100

FILL = """
    with lesson as (
      insert into lessons (creator_id, title)
      select md5(%(seed)s::text || n %% %(instructors)s)::uuid, n::text
      from generate_series(1, %(rows)s) n returning id, creator_id
    ), tracked as (
      insert into mux_asset_tracking (lesson_id, upload_id)
      select id, 'up' || id from lesson returning id, lesson_id
    )
    insert into mux_private.schedule (tracking_id, owner, next_check_at)
    select t.id, l.creator_id, now() + interval '1 day'
    from tracked t join lesson l on l.id = t.lesson_id"""


def fill(db: psycopg.Connection, rows: int, instructors: int, seed: int) -> None:
    """Have some instructors wait for some videos, none of which is due."""
    values = {"rows": rows, "instructors": instructors, "seed": seed}
    db.execute("set session_replication_role = replica")  # the triggers would enter them one by one
    db.execute(FILL.encode(), values)
    db.execute("reset session_replication_role")
    db.execute("vacuum analyze")


def make_due(db: psycopg.Connection, rows: int) -> None:
    """Make so many rows due."""
    db.execute(
        "update mux_private.schedule set next_check_at = now() where tracking_id in ("
        "select tracking_id from mux_private.schedule limit %s)",
        [rows],
    )
    db.execute("vacuum analyze mux_private.schedule")


def claims(here: Database, rows: int) -> list[float]:
    """Claim some times, each time releasing what was claimed; return the milliseconds."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        claimed = here.claim(BATCH)
        taken.append(1000 * (time.perf_counter() - began))
        assert len(claimed) == rows
        here.call("select worker_release(%s)", Jsonb(claimed))
    return taken


def others_in(here: Database) -> int:
    """Return how many rows of the first claim are not of the one who has thousands."""
    owners = here.admin.execute(
        "select owner from mux_private.schedule group by owner order by count(*) desc limit 1"
    ).fetchone()
    assert owners is not None
    claimed = here.claim(BATCH)
    row = here.admin.execute(
        "select count(*) from mux_private.schedule where tracking_id = any(%s) and owner <> %s",
        [[UUID(row["id"]) for row in claimed], owners[0]],
    ).fetchone()
    here.call("select worker_release(%s)", Jsonb(claimed))
    assert row is not None
    return int(row[0])


def main() -> None:
    """Measure and print the table."""
    rows = []
    with LocalSupabase() as supabase:
        here = Database(supabase)
        fill(here.admin, MILLION, INSTRUCTORS, 1)
        for due in DUE:
            make_due(here.admin, due)
            rows.append((f"{MILLION:,} wait, {due:,} are due", claims(here, min(due, BATCH))))
    with LocalSupabase() as supabase:
        here = Database(supabase)
        fill(here.admin, ONE_OWNERS, 1, 1)
        fill(here.admin, OTHERS, OTHERS, 2)
        make_due(here.admin, ONE_OWNERS + OTHERS)
        assert others_in(here) == OTHERS
        name = f"{ONE_OWNERS:,} of one instructor and {OTHERS} of others are due"
        rows.append((name, claims(here, BATCH)))
        version = here.admin.execute("show server_version").fetchone()
    assert version is not None
    date = time.strftime("%Y-%m-%d")
    print(f"{os.cpu_count()} cores, Postgres {version[0]}, {date}; {REPEATS} claims each.\n")
    print(f"| | claim {BATCH}, ms: median | most |\n| --- | ---: | ---: |")
    for name, taken in rows:
        print(f"| {name} | {statistics.median(taken):.0f} | {max(taken):.0f} |")


if __name__ == "__main__":
    main()
