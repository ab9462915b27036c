"""What a worker meets in an hour of `make soak`: uploads, webhooks, visitors, and faults."""

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from bench.stage import Stage
from bench.traffic import webhooks_to
from sandbox.fault_injection import Fault, Faults
from sandbox.mux.timeline import Timeline
from sandbox.mux.webhooks import post_webhook

VISIT_TIMEOUT_SECONDS = 10.0
SILENT_CLIENTS = 20
PUBLISHED_WITHIN_SECONDS = 120.0
FORGED = "t=1,v1=00"


@dataclass(frozen=True, slots=True)
class Pace:
    """How much happens, in seconds between two events; and how long a lesson exists."""

    upload: float = 1.0
    visit: float = 2.0
    fault: float = 30.0
    fault_lasts: float = 3.0
    encoding: tuple[float, float] = (2.0, 30.0)
    lesson_lasts: float = 180.0


@dataclass(slots=True)
class Traffic:
    """Uploads, visits and faults for one worker, each in a thread of its own."""

    stage: Stage
    settings: dict[str, str]
    """Of the worker: `HOST`, `PORT`, `OPS_TOKEN`, `MUX_WEBHOOK_SECRET`."""

    pace: Pace
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    uploads: int = 0
    deleted: int = 0
    visits: int = 0
    faults: int = 0
    newest: UUID = field(default_factory=uuid4)
    lessons: dict[str, tuple[UUID, float]] = field(default_factory=dict)
    """Each lesson that exists, by its upload, and when it was created."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep all of it going while the block lasts, then wait until every lesson is published.

        Raises what went wrong in a thread, and TimeoutError if a lesson is not published.
        """
        stopping = threading.Event()
        events = webhooks_to(self.stage, self.settings)
        jobs = ((self.upload, self.pace.upload), (self.visit, self.pace.visit))
        with ThreadPoolExecutor() as threads, events:
            futures = [threads.submit(_repeat, job, pause, stopping) for job, pause in jobs]
            futures.append(threads.submit(self._disturb, stopping))
            try:
                yield
            finally:
                stopping.set()
                _raise_first(futures)
            # Webhooks still come: without them the worker would look after some minutes only.
            self.stage.wait_until_published(len(self.lessons), PUBLISHED_WITHIN_SECONDS)

    def upload(self) -> None:
        """Track an upload for a new lesson, and delete lessons that are old and published."""
        seconds = self.chance.uniform(*self.pace.encoding)
        timeline = Timeline(file_after_seconds=0, prepare_seconds=seconds)
        upload = self.stage.mux.state.create_upload(timeline)
        lesson = self.stage.track(upload)
        self.lessons[upload] = (lesson, time.monotonic())
        self.newest = lesson
        self.uploads += 1
        self._delete_old()

    def _delete_old(self) -> None:
        oldest = time.monotonic() - self.pace.lesson_lasts
        old = {lesson: upload for upload, (lesson, at) in self.lessons.items() if at < oldest}
        if not old:
            return
        rows = self.stage.db.execute(
            "delete from lessons where id = any(%s) and status = 'published' returning id",
            [list(old)],
        ).fetchall()
        for (lesson,) in rows:
            del self.lessons[old[lesson]]
            self.stage.mux.state.forget_upload(old[lesson])
            self.deleted += 1

    def visit(self) -> None:
        """Read each page that an operator or a machine reads."""
        lesson = self.newest
        paths = ("/", f"/lessons/{lesson}", f"/search?q={lesson}", "/metrics", "/healthz")
        connection = http.client.HTTPConnection(
            self.settings["HOST"], int(self.settings["PORT"]), VISIT_TIMEOUT_SECONDS
        )
        with suppress(OSError, http.client.HTTPException):  # it may be cut off by a fault
            for path in paths:
                headers = {"Authorization": f"Bearer {self.settings['OPS_TOKEN']}"}
                connection.request("GET", path, headers=headers)
                connection.getresponse().read()
                self.visits += 1
        connection.close()

    def _disturb(self, stopping: threading.Event) -> None:
        kinds = self._fault_kinds()
        while not stopping.wait(self.pace.fault):
            with kinds[self.faults % len(kinds)]():
                self.faults += 1
                stopping.wait(self.pace.fault_lasts)

    def _fault_kinds(self) -> tuple[Callable[[], "ExitStack"], ...]:
        mux, supabase = self.stage.mux.faults, self.stage.supabase.faults
        return (
            lambda: _fault(mux, Fault("answer", 503, "unavailable")),
            lambda: _fault(supabase, Fault("reset")),
            lambda: _fault(mux, Fault("reset")),
            lambda: _fault(supabase, Fault("drop_reply")),
            lambda: _fault(mux, Fault("truncate")),
            self._postgrest_stopped,
            lambda: _fault(mux, Fault("hang")),
            self._silent_clients,
            lambda: _fault(mux, Fault("answer", 429, '{"errors":["Too many requests"]}')),
            self._forged_webhooks,
        )

    def _postgrest_stopped(self) -> ExitStack:
        self.stage.supabase.stop_postgrest()
        undo = ExitStack()
        undo.callback(self.stage.supabase.start_postgrest)
        return undo

    def _silent_clients(self) -> ExitStack:
        """Connect and send nothing."""
        undo = ExitStack()
        address = (self.settings["HOST"], int(self.settings["PORT"]))
        for _ in range(SILENT_CLIENTS):
            undo.enter_context(socket.create_connection(address, VISIT_TIMEOUT_SECONDS))
        return undo

    def _forged_webhooks(self) -> ExitStack:
        netloc = f"{self.settings['HOST']}:{self.settings['PORT']}"
        for _ in range(SILENT_CLIENTS):
            post_webhook(netloc, "/webhooks/mux", b"{}", FORGED)
        return ExitStack()


def _fault(faults: Faults, fault: Fault) -> ExitStack:
    faults.add(fault)
    undo = ExitStack()
    undo.callback(faults.clear)
    return undo


def _repeat(job: Callable[[], None], pause: float, stopping: threading.Event) -> None:
    while not stopping.is_set():
        job()
        stopping.wait(pause)


def _raise_first(futures: list[Future[None]]) -> None:
    for future in futures:
        future.result()
