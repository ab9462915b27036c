"""Simulate a day's polling and see what it leaves behind: `python -m bench.bloat`.

500 rows in flight are claimed and told to wait, every 30 s of a day, as fast as it goes, between
millions of rows that are settled; then for an hour while somebody holds a snapshot, as a backup
does, and for an hour after it. Autovacuum looks once a second instead of once a minute: that is
still less often than in a day. All of it twice, with the schedule as sql/ makes it and with full
pages. Takes half an hour and 15 GB of disk; `python -m bench.bloat 100000 300` takes other numbers
of rows and rounds. Prints a Markdown table.
"""

import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from bench.scale import Database, looked_at
from bench.volume import fill
from sandbox.supabase.stack import LocalSupabase

ROWS, ROUNDS = 5_000_000, 2_880
IN_FLIGHT = 500
HOUR_ROUNDS = 120
TURNS_A_ROUND = 10
SAMPLE_EACH = 30
SETTINGS = {
    "half of each page free, as in sql/": "fillfactor = 50",
    "full pages": "fillfactor = 100",
}

Sample = dict[str, float]

SIZES = b"""
    select pg_relation_size(t.relid), t.n_dead_tup, t.autovacuum_count, t.n_tup_upd,
           t.n_tup_hot_upd,
           (select sum(pg_relation_size(i.indexrelid)) from pg_stat_user_indexes i
            where i.relid = t.relid),
           (select s.n_tup_upd from pg_stat_user_tables s where s.relname = 'mux_asset_tracking'),
           (select sum(pg_relation_size(s.relid)) from pg_stat_user_tables s
            where s.relname in ('worker_state', 'rate_limit')),
           (select sum(s.n_tup_upd) from pg_stat_user_tables s
            where s.relname in ('worker_state', 'rate_limit')),
           (select sum(s.n_tup_hot_upd) from pg_stat_user_tables s
            where s.relname in ('worker_state', 'rate_limit'))
    from pg_stat_user_tables t where t.relname = 'schedule'"""
NAMES = (
    *("heap", "dead", "vacuums", "updates", "hot", "indexes", "of_the_app"),
    *("single_rows", "single_updates", "single_hot"),
)
# What a claim reads when nothing is due: the whole schedule.
IDLE_CLAIM = b"""
    explain (analyze, buffers, format json, timing off)
    select count(*) from mux_private.schedule where next_check_at <= now()"""


@dataclass
class Times:
    """How long the calls of some rounds took, in milliseconds."""

    claims: list[float] = field(default_factory=list)
    settles: list[float] = field(default_factory=list)


@dataclass
class Day:
    """What was seen in the course of a day, in the hour of a snapshot, and in the one after it."""

    samples: list[Sample] = field(default_factory=list)
    polling: Times = field(default_factory=Times)
    held: Times = field(default_factory=Times)
    after: Times = field(default_factory=Times)


class Polling:
    """Polls the rows in flight, round after round."""

    def __init__(self, here: Database) -> None:
        self.here = here
        here.make_due(IN_FLIGHT)

    def rounds(self, count: int, times: Times) -> None:
        """Claim what is due and have it wait, so many times; note how long that took."""
        for _ in range(count):
            began = time.perf_counter()
            rows = self.here.claim(1000)
            times.claims.append((time.perf_counter() - began) * 1000)
            assert len(rows) == IN_FLIGHT
            for start in range(0, len(rows), 100):
                items = [looked_at(row, "wait", 0) for row in rows[start : start + 100]]
                began = time.perf_counter()
                self.here.settle(items, "waiting")
                times.settles.append((time.perf_counter() - began) * 1000)
            for _ in range(TURNS_A_ROUND):
                self.here.call("select worker_acquire_requests(1, 10000)")

    def sample(self) -> Sample:
        """Look at the sizes, and at the pages that are read where nothing is due."""
        claimed = self.here.claim(1000)
        idle, row = (self.here.admin.execute(query).fetchone() for query in (IDLE_CLAIM, SIZES))
        assert idle is not None
        assert row is not None
        self.here.call("select worker_release(%s)", Jsonb(claimed))
        plan = idle[0][0]["Plan"]
        pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return {**dict(zip(NAMES, map(float, row), strict=True)), "pages": float(pages)}


def simulate(rows: int, rounds: int, settings: str) -> Day:
    """Simulate a day on a stack of its own, with these storage settings of the schedule."""
    day = Day()
    with LocalSupabase() as supabase:
        here = Database(supabase)
        here.admin.execute("alter system set autovacuum_naptime = '1s'")
        here.admin.execute("select pg_reload_conf()")
        here.admin.execute(f"alter table mux_private.schedule set ({settings})".encode())
        fill(here.admin, rows)
        polling = Polling(here)
        day.samples.append(polling.sample())
        for _ in range(rounds // SAMPLE_EACH):
            polling.rounds(SAMPLE_EACH, day.polling)
            day.samples.append(polling.sample())
        with supabase.connect("supabase_admin", autocommit=False) as holder:
            holder.execute("set transaction isolation level repeatable read")
            holder.execute("select from mux_private.worker_state")
            polling.rounds(HOUR_ROUNDS, day.held)
            holder.rollback()
        polling.rounds(HOUR_ROUNDS, day.after)
        day.samples.append(polling.sample())
    return day


def figures(day: Day) -> dict[str, str]:
    """Sum a day up."""
    *samples, then = day.samples
    first, last = samples[0], samples[-1]

    def course(name: str) -> str:
        most = max(sample[name] for sample in samples)
        return f"{first[name] / 2**20:.1f}, {last[name] / 2**20:.1f}, {most / 2**20:.1f}"

    def share(hot: str, updates: str) -> str:
        count = last[updates] - first[updates]
        return f"{count:,.0f} ({(last[hot] - first[hot]) / count:.0%})"

    pages = [sample["pages"] for sample in samples]
    return {
        "rows of the schedule updated (of these HOT)": share("hot", "updates"),
        "rows of `mux_asset_tracking` updated": f"{last['of_the_app'] - first['of_the_app']:,.0f}",
        "autovacuums": f"{last['vacuums'] - first['vacuums']:.0f}",
        "most dead rows": f"{max(sample['dead'] for sample in samples):,.0f}",
        "schedule, MiB: first, last, most": course("heap"),
        "its index, MiB: first, last, most": course("indexes"),
        "pages a claim reads where nothing is due: median, most": (
            f"{statistics.median(pages):.0f}, {max(pages):.0f}"
        ),
        "claim 500, ms: first hundred, last hundred": _two(
            day.polling.claims[:100], day.polling.claims[-100:]
        ),
        "settle 100, ms: first hundred, last hundred": _two(
            day.polling.settles[:100], day.polling.settles[-100:]
        ),
        "`worker_state` and `rate_limit`: updates (of these HOT)": share(
            "single_hot", "single_updates"
        ),
        "`worker_state` and `rate_limit`, MiB: first, last, most": course("single_rows"),
        "claim 500, ms: after an hour of a snapshot, an hour later": _two(
            day.held.claims[-10:], day.after.claims[-10:]
        ),
        "settle 100, ms: after an hour of a snapshot, an hour later": _two(
            day.held.settles[-50:], day.after.settles[-50:]
        ),
        "schedule, its index, MiB, then": (
            f"{then['heap'] / 2**20:.1f}, {then['indexes'] / 2**20:.1f}"
        ),
    }


def _two(before: list[float], after: list[float]) -> str:
    return f"{statistics.median(before):.1f}, {statistics.median(after):.1f}"


def main(rows: int = ROWS, rounds: int = ROUNDS) -> None:
    """Simulate a day with each of the settings and print the table."""
    columns: list[dict[str, Any]] = []
    for name, settings in SETTINGS.items():
        began = time.monotonic()
        columns.append(figures(simulate(rows, rounds, settings)))
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(
        f"{os.cpu_count()} cores, {rows:,} rows, {IN_FLIGHT} in flight, {rounds:,} rounds, "
        f"{time.strftime('%Y-%m-%d')}.\n"
    )
    print(f"| | {' | '.join(SETTINGS)} |\n| --- |{' ---: |' * len(SETTINGS)}")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:]))
