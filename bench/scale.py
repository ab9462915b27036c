"""Measure the database's functions in small and large tables: `python -m bench.scale`.

Takes a quarter of an hour and 15 GB of disk; `python -m bench.scale 10000 1000000` measures at
other sizes. What a call may find in the tables is the same at each size, a few thousand rows that
wait; what is settled grows. With `--in-memory 6GB` Postgres has so much for its buffers, and all
tables are read into them before; without it, what Postgres has by default. Prints a Markdown table.
"""

import argparse
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import psutil
from psycopg import sql
from psycopg.types.json import Jsonb

from bench.volume import PROCESSING, SCHEDULE, fill
from sandbox.supabase.stack import LocalSupabase

SIZES = (10_000, 1_000_000, 5_000_000)
REPEATS = 60
WARM_UP = 10

Json = dict[str, Any]
Measured = dict[str, list[float]]


class Database:
    """The database as the worker and an instructor's browser meet it, each by its own role."""

    def __init__(self, supabase: LocalSupabase) -> None:
        self.admin = supabase.connect("supabase_admin")
        self.service = supabase.connect("service_role")
        self.browser = supabase.connect("authenticated")
        self.service.execute(
            "select set_config('request.jwt.claims', '{\"role\": \"service_role\"}', false)"
        )

    def make_due(self, count: int) -> None:
        """Make so many of the waiting rows due, and no other."""
        self.admin.execute(
            "update mux_private.schedule set next_check_at = now() + interval '1 day' "
            "where next_check_at < now() + interval '1 hour'"
        )
        self.admin.execute(
            "update mux_private.schedule set next_check_at = now() where tracking_id in ("
            "select tracking_id from mux_private.schedule limit %s)",
            [count],
        )

    def claim(self, size: int) -> list[Json]:
        """Claim as the worker does."""
        rows: list[Json] = self.call("select worker_claim(%s, 60, 'bench')", size)["rows"]
        return rows

    def claimed(self, count: int) -> list[Json]:
        """Make so many rows due and claim them."""
        self.make_due(count)
        rows = self.claim(count)
        assert len(rows) == count
        return rows

    def settle(self, items: list[Json], outcome: str) -> None:
        """Settle as the worker does, and make sure that all of it came out as it should."""
        outcomes = self.call("select worker_settle(%s, null, 'bench')", Jsonb(items))
        result = {o["outcome"] for o in outcomes}
        assert result <= {outcome}, result

    def published(self, count: int) -> list[Json]:
        """Give facts about uploads that were published long ago, as a page of a list has them."""
        rows = self.admin.execute(
            "select upload_id, mux_asset_id from mux_asset_tracking "
            "where status = 'ready' and lesson_id >= %s::uuid "
            "order by lesson_id limit %s",
            [UUID(int=random.getrandbits(127)), count],
        ).fetchall()
        return [publish(upload, asset) for upload, asset in rows]

    def unpublish(self) -> None:
        """Let wait again what was published just now."""
        self.admin.execute("set session_replication_role = replica")
        self.admin.execute(
            "with t as (update mux_asset_tracking set status = 'processing', mux_asset_id = null, "
            "mux_playback_id = null, settled_at = null "
            "where status = 'ready' and lesson_id in ("
            "select lesson_id from mux_asset_events order by id desc limit 10000) "
            "and settled_at > now() - interval '10 minutes' "
            "returning lesson_id) update lessons set status = 'draft', mux_asset_id = null, "
            "mux_playback_id = null where id in (select lesson_id from t)"
        )
        self.admin.execute(f"{SCHEDULE} on conflict do nothing".encode())
        self.admin.execute("reset session_replication_role")

    def lesson(self) -> Any:
        """Sign the instructor of some lesson in, and give the lesson."""
        row = self.admin.execute(
            "select id, creator_id::text from lessons tablesample system_rows(1)"
        ).fetchone()
        assert row is not None
        self.browser.execute(
            "select set_config('request.jwt.claims', "
            "json_build_object('sub', %s::text, 'role', 'authenticated')::text, false)",
            [row[1]],
        )
        return row[0]

    def call(self, query: str, *values: Any) -> Any:
        """Call a function of the worker's."""
        row = self.service.execute(query.encode(), values).fetchone()
        assert row is not None
        return row[0]


def publish(upload: str, asset: str) -> Json:
    """Build a verdict to publish."""
    return {
        "verdict": "publish",
        "reason": "asset_ready",
        "upload_id": upload,
        "asset_id": asset,
        "playback_id": f"play-{asset}",
        "observation": {"source": "sweep", "upload_id": upload, "asset_id": asset},
    }


def looked_at(row: Json, verdict: str, pause_seconds: float = 86_400) -> Json:
    """Build the item about one claimed row."""
    claim = {
        "id": row["id"],
        "tracked_at": row["tracked_at"],
        "leased_until": row["leased_until"],
        "pause_seconds": pause_seconds,
        "missing": False,
        "verdict": verdict,
        "reason": "asset_ready" if verdict == "publish" else "upload_waiting",
    }
    item = publish(row["upload_id"], f"{row['upload_id'][:32]}asset")
    if verdict == "wait":
        item |= {"verdict": "wait", "asset_id": None, "playback_id": None}
    return {**item, "claimed": [claim]}


class Stopwatch:
    """Times calls, in milliseconds, each after what has to be prepared for it."""

    def __init__(self) -> None:
        self.measured: Measured = {}

    def time(
        self,
        name: str,
        prepare: Callable[[], Any],
        call: Callable[[Any], object],
        repeats: int = REPEATS,
    ) -> None:
        """Time so many calls after some that do not count."""
        took = []
        for _ in range(WARM_UP + repeats):
            given = prepare()
            began = time.perf_counter()
            call(given)
            took.append((time.perf_counter() - began) * 1000)
        self.measured[name] = sorted(took[-repeats:])


def measure(here: Database) -> Measured:
    """Measure every call of one size."""
    here.admin.execute("create extension if not exists tsm_system_rows")
    watch = Stopwatch()
    watch.time("claim, nothing is due", lambda: here.make_due(0), lambda _: here.claim(200))
    watch.time("claim 1", lambda: here.make_due(1), lambda _: here.claim(200))
    watch.time("claim 100", lambda: here.make_due(100), lambda _: here.claim(200))
    _settle(here, watch)
    watch.time(
        "release 100",
        lambda: Jsonb(
            [{k: r[k] for k in ("id", "leased_until", "due_at")} for r in here.claimed(100)]
        ),
        lambda rows: here.call("select worker_release(%s)", rows),
    )
    watch.time("summary", lambda: None, lambda _: here.call("select worker_summary()"))
    watch.time(
        "check_asset_status",
        here.lesson,
        lambda lesson: here.browser.execute(
            "select check_asset_status(%s::text)", [lesson]
        ).fetchone(),
    )
    for name, days in (("prune 100 audit rows", 30), ("prune, nothing is old enough", 36_500)):
        watch.time(
            name, partial(int, days), partial(here.call, "select worker_prune_events(%s, 100)")
        )
    watch.time("doctor", lambda: None, lambda _: here.call("select worker_doctor()"), 10)
    return watch.measured


def _settle(here: Database, watch: Stopwatch) -> None:
    def looked(count: int, verdict: str) -> list[Json]:
        if here.call("select worker_summary()")["processing"] < PROCESSING / 2:
            here.unpublish()
        return [looked_at(row, verdict) for row in here.claimed(count)]

    for verdict, outcome in (("wait", "waiting"), ("publish", "published")):
        for count in (1, 100):
            watch.time(
                f"settle {count}: {verdict}",
                partial(looked, count, verdict),
                partial(here.settle, outcome=outcome),
            )
    here.unpublish()
    watch.time(
        "settle 100 facts about published lessons",
        lambda: here.published(100),
        lambda items: here.settle(items, "unchanged"),
    )
    watch.time(
        "settle 100 facts about strangers",
        lambda: [publish(f"up{n}", f"as{n}") for n in range(100)],
        lambda items: here.settle(items, "unmatched"),
    )


def main(sizes: tuple[int, ...], memory: str | None) -> None:
    """Measure at each size, on a stack of its own, and print the table."""
    by_size: dict[int, Measured] = {}
    postgres = None
    for size in sizes:
        with LocalSupabase() as supabase:
            if memory is not None:
                _give_memory(supabase, memory)
            here = Database(supabase)
            began = time.monotonic()
            fill(here.admin, size)
            print(f"{size:,} filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
            if memory is not None:
                _read_in(here)
            by_size[size] = measure(here)
            postgres = here.admin.info.parameter_status("server_version")
    gib = psutil.virtual_memory().total / 2**30
    buffers = f"all in {memory} of buffers" if memory else "buffers of 128 MB"
    print(
        f"{os.cpu_count()} cores, {gib:.0f} GiB, Postgres {postgres}, Python "
        f"{platform.python_version()}, {time.strftime('%Y-%m-%d')}; {buffers}. "
        "Milliseconds: the median and, "
        f"in brackets, what 95 of 100 stay below; {REPEATS} calls after {WARM_UP} others.\n"
    )
    print("| | " + " | ".join(f"{size:,} rows" for size in sizes) + " |")
    print("| --- |" + " ---: |" * len(sizes))
    for name in by_size[sizes[0]]:
        cells = [_cell(by_size[size][name]) for size in sizes]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _give_memory(supabase: LocalSupabase, memory: str) -> None:
    with supabase.connect("supabase_admin") as admin:
        admin.execute(sql.SQL("alter system set shared_buffers = {}").format(memory))
        # Otherwise a checkpoint comes every few seconds of this, and not every five minutes.
        admin.execute("alter system set max_wal_size = '16GB'")
    supabase.restart_postgres()


def _read_in(here: Database) -> None:
    here.admin.execute("create extension if not exists pg_prewarm")
    here.admin.execute(
        "select pg_prewarm(c.oid) from pg_class c where c.relkind in ('r', 'i') and c.relnamespace "
        "in ('public'::regnamespace, 'mux_private'::regnamespace)"
    )


def _cell(took: list[float]) -> str:
    return f"{statistics.median(took):.2f} ({took[int(len(took) * 0.95)]:.2f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.scale")
    parser.add_argument("sizes", nargs="*", type=int, metavar="ROWS", default=SIZES)
    parser.add_argument("--in-memory", metavar="SIZE", help="buffers of this size, filled before")
    arguments = parser.parse_args()
    main(tuple(arguments.sizes), arguments.in_memory)
