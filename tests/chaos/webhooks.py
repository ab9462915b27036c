"""Mux's webhooks, at their worst: late, twice, in another order, and forged ones between them."""

import heapq
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox.http_server import HOST
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Upload
from sandbox.mux.webhooks import (
    ScheduledEvent,
    asset_events,
    event_data,
    event_json,
    post_webhook,
    signature,
    upload_events,
)
from tests.chaos.world import asset_of

SENDERS = 4
PATH = "/webhooks/mux"
RETRY_SECONDS = (0.5, 1.0, 2.0)
USUAL_DELAY_SECONDS = 0.5
LATE_SHARE, LATE_SECONDS = 0.1, 3.0
COPIES_SHARE = 0.15
FORGED_SHARE = 0.05
HORIZON_SECONDS = 3600.0
"""What happens later than this is sent by nobody here."""


@dataclass(order=True, slots=True)
class _Delivery:
    due_at: float
    number: int
    body: bytes = field(compare=False)
    secret: str = field(compare=False)
    is_repeated: bool = field(compare=False)
    attempts: int = field(compare=False, default=0)


class Webhooks:
    """Sends the events of uploads to any of the replicas, until one answers with 200."""

    def __init__(self, mux: MuxSimulator, secret: str, ports: Callable[[], list[int]]) -> None:
        self._mux = mux
        self._secret = secret
        self._ports = ports
        self._rng = random.Random(secret)
        self._changed = threading.Condition()
        self._queue: list[_Delivery] = []
        self._count = 0
        self._since = float("inf")
        self._held: list[Upload] = []
        self._stopping = False
        self.accepted = 0
        self.forged_statuses: list[int] = []

    def start(self) -> None:
        """Send what happens from now on, and what has happened within the last seconds."""
        with self._changed:
            self._since = self._mux.state.clock.now() - 5.0
            held, self._held = self._held, []
        for upload in held:
            self.announce(upload)
        for number in range(SENDERS):
            threading.Thread(target=self._run, name=f"webhooks-{number}", daemon=True).start()

    def stop(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def announce(self, upload: Upload) -> None:
        """Send the events of an upload whose file was just sent, each at its time."""
        with self._changed:
            if self._since == float("inf"):
                self._held.append(upload)
                return
        now = self._mux.state.clock.now()
        for event in self._events(upload):
            if self._since < event.at < now + HORIZON_SECONDS:
                self._announce(event)

    def _events(self, upload: Upload) -> Iterator[ScheduledEvent]:
        yield from upload_events(upload)
        if (asset := asset_of(self._mux, upload)) is not None:
            yield from asset_events(asset)

    def _announce(self, event: ScheduledEvent) -> None:
        data = event_data(event)
        body = self._body(event, data)
        for _ in range(2 if self._rng.random() < COPIES_SHARE else 1):
            is_late = self._rng.random() < LATE_SHARE
            longest = LATE_SECONDS if is_late else USUAL_DELAY_SECONDS
            self._push(event.at + self._rng.uniform(0, longest), body, self._secret)
        if self._rng.random() < FORGED_SHARE:
            forged = {**data, "status": "ready", "playback_ids": [{"id": "f0", "policy": "public"}]}
            self._push(event.at, self._body(event, forged), "not the secret", is_repeated=False)

    def _body(self, event: ScheduledEvent, data: dict[str, Any]) -> bytes:
        return json.dumps(event_json(event.type, event.at, data, self._mux.state)).encode()

    def _push(self, due_at: float, body: bytes, secret: str, *, is_repeated: bool = True) -> None:
        with self._changed:
            self._count += 1
            heapq.heappush(self._queue, _Delivery(due_at, self._count, body, secret, is_repeated))
            self._changed.notify()

    def _next(self) -> _Delivery | None:
        with self._changed:
            while not self._stopping:
                pause = self._queue[0].due_at - self._mux.state.clock.now() if self._queue else 1.0
                if pause <= 0:
                    return heapq.heappop(self._queue)
                self._changed.wait(pause)
        return None

    def _run(self) -> None:
        while (delivery := self._next()) is not None:
            ports = self._ports()
            port = self._rng.choice(ports) if ports else 1
            header = signature(delivery.secret, time.time(), delivery.body)
            status = post_webhook(f"{HOST}:{port}", PATH, delivery.body, header)
            self._note(delivery, status)

    def _note(self, delivery: _Delivery, status: int | None) -> None:
        with self._changed:
            if not delivery.is_repeated:
                self.forged_statuses += [status] if status is not None else []
            elif status == 200:
                self.accepted += 1
            else:
                pause = RETRY_SECONDS[min(delivery.attempts, len(RETRY_SECONDS) - 1)]
                delivery.due_at = self._mux.state.clock.now() + pause
                delivery.attempts += 1
                heapq.heappush(self._queue, delivery)
