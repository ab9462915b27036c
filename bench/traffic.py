"""Uploads that keep arriving: on one stage, a number of them in flight at any time."""

import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from bench.answers import quantile
from bench.stage import Stage
from sandbox.http_server import HOST, free_port
from sandbox.mux.timeline import Timeline
from sandbox.mux.webhooks import MuxWebhooks

LOOK_EVERY_SECONDS = 0.2
WEBHOOK_SECRET = "bench-webhook-secret"  # noqa: S105  # of the simulated Mux

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Published:
    """When an upload was ready, and when its lesson was published; Unix time in seconds."""

    ready_at: float
    at: float

    @property
    def wait(self) -> float:
        """Return the seconds between the two."""
        return max(0.0, self.at - self.ready_at)


@dataclass(slots=True)
class Traffic:
    """Uploads of one stage, and when each of them was ready and published."""

    here: Stage
    in_flight: int
    ready_after_seconds: Range
    file_after_seconds: float = 0.0
    opened: Callable[[UUID, str], None] = lambda _lesson, _asset_id: None
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    ready_at: dict[str, float] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    requests: int = 0
    refused: int = 0
    began: float = 0.0
    seconds: float = 0.0

    def upload(self) -> None:
        """Upload one more video."""
        prepare = self.chance.uniform(*self.ready_after_seconds)
        upload = self.here.mux.state.create_upload(Timeline(self.file_after_seconds, prepare))
        asset_id = self.here.mux.state.upload(upload).asset_id or ""
        self.ready_at[upload] = time.time() + self.file_after_seconds + prepare
        lesson = self.here.track(upload)
        self.opened(lesson, asset_id)

    def look(self) -> None:
        """Record what was published, and replace it."""
        for _ in range(self.record()):
            self.upload()

    def record(self) -> int:
        """Record what was published; return how many lessons that were."""
        rows = self.here.db.execute(
            "select upload_id, extract(epoch from coalesce(settled_at, updated_at)) "
            "from mux_asset_tracking where status = 'ready' and upload_id = any(%s)",
            [list(self.ready_at)],
        ).fetchall()
        self.published += [Published(self.ready_at.pop(upload), float(at)) for upload, at in rows]
        return len(rows)

    def begin(self) -> None:
        """Discard the measurements of the warm-up."""
        self.published.clear()
        self.here.mux.requests.clear()
        self.began = time.monotonic()

    def end(self) -> None:
        """Count the requests to Mux since the beginning."""
        seen = self.here.mux.requests.all()
        self.requests, self.refused = len(seen), sum(request.status == 429 for request in seen)
        self.seconds = time.monotonic() - self.began

    @property
    def waits(self) -> list[float]:
        """Return the seconds from ready to published."""
        return [each.wait for each in self.published]

    @property
    def per_second(self) -> float:
        """Return the requests to Mux a second."""
        return self.requests / self.seconds

    def quantiles(self, *shares: float) -> str:
        """Return some quantiles of the seconds from ready to published, as text."""
        return " / ".join(f"{quantile(self.waits, share):.2f}" for share in shares)


@dataclass(slots=True)
class Day(Traffic):
    """A number of uploads at random times of a day; none replaces another."""

    day_seconds: float = 0.0
    starts: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """Begin the day."""
        Traffic.begin(self)
        last = self.day_seconds - self.ready_after_seconds[1]
        self.starts = sorted(self.chance.uniform(0, last) for _ in range(self.in_flight))

    def look(self) -> None:
        """Record what was published, and begin the uploads whose time has come."""
        self.record()
        while self.starts and time.monotonic() - self.began >= self.starts[0]:
            self.starts.pop(0)
            self.upload()


def follow(traffic: Sequence[Traffic], seconds: float) -> None:
    """Keep all uploads arriving for some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for each in traffic:
            each.look()
        time.sleep(min(LOOK_EVERY_SECONDS, max(0.0, deadline - time.monotonic())))


def fill_up(traffic: Sequence[Traffic], seconds: float) -> None:
    """Begin the uploads one after the other; begun together, they would be asked about together."""
    steps = max(each.in_flight for each in traffic)
    for step in range(steps):
        for each in traffic:
            for _ in range(_share(each.in_flight, step, steps)):
                each.upload()
        follow(traffic, seconds / steps)


def _share(count: int, step: int, steps: int) -> int:
    return count * (step + 1) // steps - count * step // steps


def measure(traffic: Sequence[Traffic], seconds: float) -> None:
    """Measure for some seconds."""
    for each in traffic:
        each.begin()
    follow(traffic, seconds)
    for each in traffic:
        each.end()


def web_settings() -> dict[str, str]:
    """Return the settings with which a worker accepts webhooks, on a free port."""
    return {"PORT": str(free_port()), "HOST": HOST, "MUX_WEBHOOK_SECRET": WEBHOOK_SECRET}


def wait_for_port(settings: dict[str, str], seconds: float = 30.0) -> None:
    """Wait until the worker accepts connections, for some seconds at most."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((settings["HOST"], int(settings["PORT"]))).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def webhooks_to(here: Stage, settings: dict[str, str]) -> MuxWebhooks:
    """Return what sends the simulated Mux's webhooks to a worker while it is entered."""
    wait_for_port(settings)
    url = f"http://127.0.0.1:{settings['PORT']}/webhooks/mux"
    return MuxWebhooks(here.mux.state, url, settings["MUX_WEBHOOK_SECRET"])
