"""Measure which locks each file of sql/ takes with a million lessons, and for how long.

`python -m bench.locks` (or with a number of lessons) applies every file with psql: to an app that
tracks nothing yet, to an app with a tracking row for each lesson, and once more. Then it undoes
them. Meanwhile it watches pg_locks. Unlike the stack of the tests, this Postgres writes to disk.
"""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from sandbox.checkout import CHECKOUT
from sandbox.supabase.databases import Databases, find_sql_files
from sandbox.supabase.postgres import SUPERUSER, Postgres, apply_sql
from sandbox.supabase.run_directory import RunDirectory
from sandbox.supabase.service_user import service_user

REPORT = CHECKOUT / "tests" / "sql" / "report.sql"
OPTIONAL = CHECKOUT / "sql" / "optional"
TRACKING_INDEXES = OPTIONAL / "tracking_indexes.sql"
FILES = [*find_sql_files(), *sorted(OPTIONAL.glob("*.sql"))]
DOWN = sorted((CHECKOUT / "sql" / "down").glob("*.sql"), reverse=True)
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
LOOK_EVERY_SECONDS = 0.001

BLOCKS = {
    "AccessShareLock": "nothing",
    "RowShareLock": "nothing",
    "RowExclusiveLock": "nothing",
    "ShareUpdateExclusiveLock": "nothing",
    "ShareLock": "writes",
    "ShareRowExclusiveLock": "writes",
    "ExclusiveLock": "writes",
    "AccessExclusiveLock": "reads and writes",
}
"""The modes of table locks, weakest first, and what each blocks in the app."""

LOCKS = """
    select l.relation::regclass::text, l.mode
    from pg_locks l
    join pg_stat_activity a on a.pid = l.pid and a.application_name = 'psql'
    join pg_class c on c.oid = l.relation and c.relkind = 'r'
    where l.granted and l.locktype = 'relation'
      and c.relnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))"""

LESSONS = """
    insert into lessons (creator_id, title, status, mux_asset_id, mux_playback_id)
    select ('00000000-0000-4000-8000-' || lpad((n %% 1000)::text, 12, '0'))::uuid, 'lesson ' || n,
           case when n %% 20 > 0 then 'published' else 'draft' end,
           case when n %% 20 > 0 then 'as' else 'temp_up' end || md5('lesson ' || n),
           case when n %% 20 > 0 then 'play' else 'temp_playback_up' end || md5('lesson ' || n)
    from generate_series(1, %s) n"""
"""One lesson in twenty is a draft that names its upload; all others play a video."""

TRACKING = """
    insert into mux_asset_tracking (
        lesson_id, upload_id, temp_asset_id, mux_asset_id, mux_playback_id, status, created_at
    )
    select id, 'up' || md5(title), 'temp_up' || md5(title),
           case when status = 'published' then mux_asset_id end,
           case when status = 'published' then mux_playback_id end,
           case status when 'published' then 'ready' else 'processing' end::mux_asset_status,
           now() - make_interval(mins => substr(title, 8)::int)
    from lessons"""

SIZES = """
    select t::text, pg_size_pretty(pg_total_relation_size(t))
    from unnest(array['lessons', 'mux_asset_tracking', 'mux_private.upload_history',
                      'mux_private.schedule']::regclass[]) t"""

PUBLICATION = """
    create publication supabase_realtime;
    alter publication supabase_realtime owner to postgres"""


@dataclass(frozen=True)
class Lock:
    """The strongest lock that a file took on one table, and for how long."""

    table: str
    mode: str
    seconds: float


class Watch:
    """Read the locks of psql, a thousand times a second, while the block lasts."""

    def __init__(self, database: psycopg.Connection) -> None:
        self._database = database
        self._seen: dict[tuple[str, str], tuple[float, float]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the locks while the block lasts."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def strongest(self) -> list[Lock]:
        """Return the strongest lock of each table; a lock is held until the file commits."""
        modes = list(BLOCKS)
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


def main(rows: int = 1_000_000) -> None:
    """Fill the tables, apply and undo the files, and print the measurements."""
    with running() as databases, databases.connect() as owner:
        print(machine(owner, rows))
        with databases.connect(SUPERUSER) as superuser:
            superuser.execute(LESSONS.encode(), [rows])
            superuser.execute(PUBLICATION.encode())
            section("Nothing is tracked yet", FILES, owner.info.dsn, superuser)
            apply_sql(owner.info.dsn, DOWN)
            owner.execute(REPORT.read_text().partition("\ninsert into lessons")[0].encode())
            owner.execute(TRACKING.encode())
            section("Over the app's own table", indexes_first(), owner.info.dsn, superuser)
            print(sizes(owner))
            section("Applied once more", FILES, owner.info.dsn, superuser)
            section("Undone", DOWN, owner.info.dsn, superuser)


def indexes_first() -> list[Path]:
    """Return the files with the indexes of a large table before the file that asks for them."""
    files = [file for file in FILES if file != TRACKING_INDEXES]
    asks = next(place for place, file in enumerate(files) if file.stem == "031_tracking_indexes")
    return [*files[:asks], TRACKING_INDEXES, *files[asks:]]


def machine(owner: psycopg.Connection, rows: int) -> str:
    """Return the machine and the number of rows of the measurement."""
    cores, gib = os.cpu_count(), psutil.virtual_memory().total / 1024**3
    (version,) = owner.execute("show server_version").fetchone() or ("?",)
    today = time.strftime("%Y-%m-%d")
    return f"{rows:,} rows, {cores} cores, {gib:.0f} GiB, Postgres {version}, {today}"


def sizes(owner: psycopg.Connection) -> str:
    """Return how much space the largest tables take, with their indexes."""
    rows = owner.execute(SIZES.encode()).fetchall()
    return "\n" + ", ".join(f"{table}: {size}" for table, size in rows)


def section(title: str, files: Iterable[Path], dsn: str, superuser: psycopg.Connection) -> None:
    """Apply files one after the other and print a table of what each blocked."""
    superuser.execute("vacuum analyze")
    superuser.execute("checkpoint")
    print(f"\n{title}\n\n| File | Seconds | Blocks |\n| --- | --- | --- |")
    for file in files:
        print(measure(dsn, file, Watch(superuser)), flush=True)


@contextmanager
def running() -> Iterator[Databases]:
    """Run a durable Postgres, with the app's lessons."""
    directory = RunDirectory.create(service_user())
    try:
        postgres = Postgres(directory, DURABLE)
        try:
            postgres.start()
            databases = Databases(directory.server_path)
            databases.set_up("postgres", default_grants=True)
            yield databases
        finally:
            postgres.stop(immediate=True)
    finally:
        directory.leave()


def measure(dsn: str, file: Path, watch: Watch) -> str:
    """Apply one file; return its row of the table."""
    began = time.monotonic()
    with watch.watching():
        apply_sql(dsn, [file])
    seconds = time.monotonic() - began
    return row(file, seconds, watch.strongest())


def row(file: Path, seconds: float, locks: Iterable[Lock]) -> str:
    """Return the locks that block the app, and how long each was held."""
    blocking = [
        f"{BLOCKS[lock.mode]} of {lock.table}: {lock.seconds:.2f} s ({lock.mode})"
        for lock in locks
        if BLOCKS[lock.mode] != "nothing"
    ]
    return f"| `{file.name}` | {seconds:.2f} | {'; '.join(blocking) or 'nothing'} |"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
