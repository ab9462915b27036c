"""The stage of a measurement: a stack, many lessons, and the worker as its users run it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import psycopg

from worker.local.mux_server import MuxSimulator
from worker.local.stack import LocalSupabase

CHECKOUT = Path(__file__).parents[1]
INSTRUCTOR = UUID("aaaaaaaa-0000-4000-8000-000000000001")


class Stage:
    """A Supabase and a Mux for one measurement."""

    def __init__(self, supabase: LocalSupabase, mux: MuxSimulator) -> None:
        self.supabase = supabase
        self.mux = mux
        self.db: psycopg.Connection = supabase.connect()

    def add_lessons(self, count: int) -> None:
        """Track uploads whose assets are ready, one for each of so many new drafts."""
        uploads = [seeded.upload_id for seeded in self.mux.state.seed(count)]
        lessons = [uuid4() for _ in uploads]
        with self.db.cursor() as cursor:
            cursor.executemany(
                "insert into lessons (id, creator_id, title) values (%s, %s, 'A lesson')",
                [(lesson, INSTRUCTOR) for lesson in lessons],
            )
            cursor.executemany(
                "insert into mux_asset_tracking (lesson_id, upload_id, temp_asset_id) "
                "values (%s, %s, %s)",
                [(le, up, f"temp_{up}") for le, up in zip(lessons, uploads, strict=True)],
            )

    def count(self, status: str) -> int:
        """Count the lessons with this status."""
        row = self.db.execute("select count(*) from lessons where status = %s", [status]).fetchone()
        assert row is not None
        return int(row[0])

    def wait_until_published(self, count: int, timeout: float = 600) -> None:
        """Wait until so many lessons are published, looking ten times a second."""
        deadline = time.monotonic() + timeout
        while self.count("published") < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {self.count('published')} of {count} were published")
            time.sleep(0.1)

    def environment(self, **settings: str) -> dict[str, str]:
        """Give the environment of a worker on this stage; all else is default."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT),
            "SUPABASE_URL": self.supabase.url,
            "SUPABASE_SERVICE_ROLE_KEY": self.supabase.service_role_key,
            "MUX_TOKEN_ID": self.mux.token_id,
            "MUX_TOKEN_SECRET": self.mux.token_secret,
            "MUX_BASE_URL": self.mux.url,
            "LOG_FORMAT": "json",
            **settings,
        }

    @contextmanager
    def worker(self, **settings: str) -> Iterator[psutil.Process]:
        """Run `python -m worker run` for as long as the block lasts."""
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run"],
            env=self.environment(**settings),
            stdout=subprocess.DEVNULL,
        )
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def seconds_to_first_scan(self) -> float:
        """Measure from the start of a process to the first scan it tells of."""
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run"],
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if '"scan.finished"' in line:
                    break
            seconds = time.monotonic() - began
            process.kill()
        process.wait()
        return seconds


@contextmanager
def stage() -> Iterator[Stage]:
    """Bring up a stage; Mux sets no limit, so that the worker's own shows."""
    with LocalSupabase() as supabase:
        mux = MuxSimulator()
        mux.limits = type(mux.limits).per_second(None, None)
        with mux:
            yield Stage(supabase, mux)
