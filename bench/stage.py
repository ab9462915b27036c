"""The stage of a measurement: a local stack, many lessons, and the worker as a process."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import psycopg

from sandbox.http_server import THREAD_NAME
from sandbox.mux.ids import SeededUpload
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase

CHECKOUT = Path(__file__).parents[1]
INSTRUCTOR = UUID("aaaaaaaa-0000-4000-8000-000000000001")
WORKER = "worker"
PROBING_WORKER = "bench.probing"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson, and its ids at Mux."""

    id: UUID
    video: SeededUpload


class Stage:
    """A Supabase and a Mux for one measurement."""

    def __init__(
        self, supabase: LocalSupabase, mux: MuxSimulator, threads: Mapping[str, int] | None = None
    ) -> None:
        self.supabase = supabase
        self.mux = mux
        self.threads = dict(threads or {})
        """The threads of this process that simulate a server, by name."""
        self.db: psycopg.Connection = supabase.connect()

    def add_lessons(self, count: int, *, with_asset_id: bool = False) -> list[Lesson]:
        """Create drafts, and track an upload with a ready asset for each."""
        lessons = [Lesson(uuid4(), video) for video in self.mux.state.seed(count)]
        with self.db.cursor() as cursor:
            cursor.executemany(
                "insert into lessons (id, creator_id, title) values (%s, %s, 'A lesson')",
                [(lesson.id, INSTRUCTOR) for lesson in lessons],
            )
            cursor.executemany(
                "insert into mux_asset_tracking (lesson_id, upload_id, temp_asset_id, mux_asset_id)"
                " values (%s, %s, %s, %s)",
                [
                    (
                        lesson.id,
                        lesson.video.upload_id,
                        f"temp_{lesson.video.upload_id}",
                        lesson.video.asset_id if with_asset_id else None,
                    )
                    for lesson in lessons
                ],
            )
        self.db.execute("analyze lessons, mux_asset_tracking")
        return lessons

    def track(self, upload_id: str) -> UUID:
        """Create a draft, and track an upload for it; return the lesson's id."""
        lesson = uuid4()
        self.db.execute(
            "with lesson as (insert into lessons (id, creator_id, title) "
            "values (%s, %s, 'A lesson')) "
            "insert into mux_asset_tracking (lesson_id, upload_id) values (%s, %s)",
            [lesson, INSTRUCTOR, lesson, upload_id],
        )
        return lesson

    def add_lessons_for_the_script(self, count: int) -> None:
        """Create drafts for the report's script: a real asset id, a temporary playback id.

        They are not tracked, since the script makes the tracking rows.
        """
        with self.db.cursor() as cursor:
            cursor.executemany(
                "insert into lessons (id, creator_id, title, mux_asset_id, mux_playback_id) "
                "values (%s, %s, 'A lesson', %s, %s)",
                [
                    (uuid4(), INSTRUCTOR, video.asset_id, f"temp_playback_{video.upload_id}")
                    for video in self.mux.state.seed(count)
                ],
            )

    def count(self, status: str) -> int:
        """Count the lessons with this status."""
        row = self.db.execute("select count(*) from lessons where status = %s", [status]).fetchone()
        assert row is not None
        return int(row[0])

    def wait_until_published(self, count: int, timeout: float = 600) -> None:
        """Wait until this number of lessons is published; poll ten times a second."""
        deadline = time.monotonic() + timeout
        while self.count("published") < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {self.count('published')} of {count} were published")
            time.sleep(0.1)

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment of a worker on this stage, with the defaults otherwise."""
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
    def worker(self, module: str = WORKER, **settings: str) -> Iterator[psutil.Process]:
        """Run `python -m worker run` while the block lasts."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, "run"],
            env=self.environment(**settings),
            stdout=subprocess.DEVNULL,
        )
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def seconds_to_first_scan(self, **settings: str) -> float:
        """Return the seconds from the start of a process to its first `scan.finished`."""
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", WORKER, "run"],
            env=self.environment(**settings),
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
def stage(get_per_second: float | None = None) -> Iterator[Stage]:
    """Start a stage; without a number Mux has no rate limit."""
    limits = RateLimits.per_second(get_per_second, None if get_per_second is None else 1)
    with LocalSupabase() as supabase:
        gateway = _newest_thread()
        with MuxSimulator(limits=limits) as mux:
            here = Stage(supabase, mux, {"gateway": gateway, "simulated Mux": _newest_thread()})
            with here.db:
                yield here


def _newest_thread() -> int:
    """Return the native id of the server thread that was started last."""
    servers = [t for t in threading.enumerate() if t.name == THREAD_NAME]
    return max(t.native_id or 0 for t in servers)
