"""Measure which locks each file of sql/ takes on a table of a million rows.

`python -m bench.locks` fills the table that an app may have had before, applies every file twice
with psql, and watches pg_locks meanwhile. Unlike the stack of the tests this Postgres writes to
the disk as a real one does.
"""

import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from worker.local.account import server_account
from worker.local.databases import Databases, find_sql_files
from worker.local.leftovers import StackDirectory
from worker.local.postgres import SUPERUSER, Postgres, apply_sql

ROWS = 1_000_000
REPORT = Path(__file__).parents[1] / "tests" / "sql" / "report.sql"
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
LOOK_EVERY_SECONDS = 0.001

HOLDS_UP = {
    "AccessShareLock": "nothing",
    "RowShareLock": "nothing",
    "RowExclusiveLock": "nothing",
    "ShareUpdateExclusiveLock": "nothing",
    "ShareLock": "writes",
    "ShareRowExclusiveLock": "writes",
    "ExclusiveLock": "writes",
    "AccessExclusiveLock": "reads and writes",
}
"""The modes of table locks, the weakest first, and what each keeps the app from doing."""

HEAD = "| File | Seconds | Holds up | For |\n| --- | --- | --- | --- |"
LOCKS = """
    select l.relation::regclass::text, l.mode
    from pg_locks l
    join pg_stat_activity a on a.pid = l.pid and a.application_name = 'psql'
    join pg_class c on c.oid = l.relation and c.relkind = 'r'
    where l.granted
      and c.relnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))"""

LESSONS = f"""
    insert into lessons (creator_id, title, status)
    select ('00000000-0000-4000-8000-' || lpad((n % 1000)::text, 12, '0'))::uuid, 'lesson ' || n,
           case when n % 20 > 0 then 'published' else 'draft' end
    from generate_series(1, {ROWS}) n"""  # noqa: S608 - a number of this file
TRACKING = """
    insert into mux_asset_tracking (
        lesson_id, upload_id, temp_asset_id, mux_asset_id, mux_playback_id, status, created_at
    )
    select id, 'up' || replace(gen_random_uuid()::text, '-', ''), 'temp_' || gen_random_uuid(),
           case when status = 'published' then 'as' || md5(title) end,
           case when status = 'published' then 'play' || md5(title) end,
           case status when 'published' then 'ready' else 'processing' end::mux_asset_status,
           now() - make_interval(mins => substr(title, 8)::int)
    from lessons"""


@dataclass(frozen=True)
class Lock:
    """The strongest lock that a file took on one table, and for how long."""

    table: str
    mode: str
    seconds: float


class Watch:
    """Looks at the locks of psql, a thousand times a second, for as long as the block lasts."""

    def __init__(self, database: psycopg.Connection) -> None:
        self._database = database
        self._seen: dict[tuple[str, str], tuple[float, float]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch meanwhile."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def strongest(self) -> list[Lock]:
        """Give the strongest lock of each table: a lock is held until the file commits."""
        modes = list(HOLDS_UP)
        locks: dict[str, Lock] = {}
        for (table, mode), (first, last) in self._seen.items():
            lock = Lock(table, mode, last - first)
            if table not in locks or modes.index(locks[table].mode) < modes.index(mode):
                locks[table] = lock
        return sorted(locks.values(), key=lambda lock: lock.table)

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_SECONDS):
            for table, mode in self._database.execute(LOCKS.encode()).fetchall():
                now = time.monotonic()
                first, _ = self._seen.get((table, mode), (now, now))
                self._seen[table, mode] = (first, now)


def main() -> None:
    """Fill the table, apply the files twice, print what was measured."""
    cores, gib = os.cpu_count(), psutil.virtual_memory().total / 1024**3
    print(f"{cores} cores, {gib:.0f} GiB, {ROWS:,} rows, ", end="")
    with running() as databases, databases.connect() as owner:
        (version,) = owner.execute("show server_version").fetchone() or ("?",)
        print(f"Postgres {version}, Python {platform.python_version()}, {time.strftime('%F')}")
        fill(owner)
        with databases.connect(SUPERUSER) as watcher:
            watcher.execute("checkpoint")
            for title in ("Over the app's own table", "Applied once more"):
                print(f"\n{title}\n\n{HEAD}")
                for file in find_sql_files():
                    print(measure(owner.info.dsn, file, Watch(watcher)), flush=True)


@contextmanager
def running() -> Iterator[Databases]:
    """Run a Postgres that keeps what it is told, with the app's lessons."""
    directory = StackDirectory(server_account())
    try:
        postgres = Postgres(directory, DURABLE)
        try:
            postgres.start()
            databases = Databases(postgres)
            databases.furnish("postgres", default_grants=True)
            yield databases
        finally:
            postgres.stop(gently=False)
    finally:
        directory.remove()


def fill(owner: psycopg.Connection) -> None:
    """Make the app's own table, with a row for each of a million lessons."""
    owner.execute(REPORT.read_text().partition("\ninsert into lessons")[0].encode())
    owner.execute(LESSONS.encode())
    owner.execute(TRACKING.encode())
    owner.execute("vacuum analyze public.lessons, public.mux_asset_tracking")


def measure(dsn: str, file: Path, watch: Watch) -> str:
    """Apply one file; give its row of the table."""
    began = time.monotonic()
    with watch.watching():
        apply_sql(dsn, [file])
    seconds = time.monotonic() - began
    return row(file, seconds, watch.strongest())


def row(file: Path, seconds: float, locks: Iterable[Lock]) -> str:
    """Name the locks that keep the app from something."""
    felt = [lock for lock in locks if HOLDS_UP[lock.mode] != "nothing"]
    holds = "; ".join(f"{lock.table}: {HOLDS_UP[lock.mode]} ({lock.mode})" for lock in felt)
    lasts = "; ".join(f"{lock.seconds:.2f} s" for lock in felt)
    return f"| `{file.name}` | {seconds:.2f} | {holds or 'nothing'} | {lasts} |"


if __name__ == "__main__":
    main()
