"""The webhooks of the simulated Mux: what it tells, when, signed, and again when refused."""

import hashlib
import heapq
import hmac
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

from sandbox.mux.responses import asset_json, upload_json
from sandbox.mux.state import MuxState
from sandbox.mux.timeline import Asset, Upload

LOOK_EVERY_SECONDS = 0.02
ATTEMPT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
BASE_URL = "https://storage.googleapis.com"

Json = dict[str, Any]
Moment = tuple[float, str, Upload | Asset]


def signature(secret: str, seconds: float, body: bytes) -> str:
    """Give the header `mux-signature` for a body that is sent at this time."""
    signed = f"{int(seconds)}.".encode() + body
    return f"t={int(seconds)},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def event_json(kind: str, happened_at: float, data: Mapping[str, Any], state: MuxState) -> Json:
    """Give an event as Mux sends it; `data` is an upload or asset as Mux answers with it."""
    told = dict(data)
    if "created_at" in told:
        told["created_at"] = int(told["created_at"])  # a number here, a text over REST
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(happened_at))
    return {
        "type": kind,
        "id": str(uuid4()),
        "created_at": f"{moment}.{int(happened_at % 1 * 1e6):06d}Z",
        "object": {"type": kind.split(".")[1], "id": told["id"]},
        "environment": {"name": "Development", "id": state.environment_id},
        "attempts": [],
        "data": told,
    }


def moments(state: MuxState) -> Iterator[Moment]:
    """Give what Mux tells of, in any order: when, which event, and about what."""
    for upload in state.uploads():
        yield upload.created_at, "video.upload.created", upload
        if upload.cancelled_at is not None:
            yield upload.cancelled_at, "video.upload.cancelled", upload
        elif upload.file_at is not None:
            failed = upload.timeline.ending == "upload_errored"
            yield upload.file_at, f"video.upload.{'errored' if failed else 'asset_created'}", upload
    for asset in state.all_assets():
        failed = asset.timeline.ending == "asset_errored"
        yield asset.created_at, "video.asset.created", asset
        yield asset.prepared_at, f"video.asset.{'errored' if failed else 'ready'}", asset
        for playback_id in asset.playback_ids:
            if playback_id.exists_from > asset.created_at:
                yield playback_id.exists_from, "video.asset.updated", asset
            yield playback_id.exists_until, "video.asset.updated", asset
        yield asset.gone_at, "video.asset.deleted", asset


def data_of(kind: str, about: Upload | Asset, at: float) -> Json:
    """Give the data of an event: what it is about as it was then."""
    if isinstance(about, Asset):
        return asset_json(about, at)
    data = upload_json(about, at, BASE_URL)
    if kind == "video.upload.errored":
        data.pop("error", None)  # Mux keeps the reason to itself until somebody asks
    return data


@dataclass(order=True)
class _Letter:
    due_at: float
    body: bytes = field(compare=False)
    attempts: int = field(compare=False, default=0)


class MuxWebhooks:
    """Sends what happens in a simulated Mux to an address; a context manager.

    `copies` sends each event so many times; `backwards` sends what happened together in the wrong
    order. What is not answered with 200 is sent again, with growing pauses.
    """

    def __init__(
        self, state: MuxState, url: str, secret: str, *, copies: int = 1, backwards: bool = False
    ) -> None:
        """Prepare to tell of everything that happens from the start on."""
        self._state = state
        self._url = urlsplit(url)
        self._secret = secret
        self._copies = copies
        self._backwards = backwards
        self._told_until = 0.0
        self._outbox: list[_Letter] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mux-webhooks", daemon=True)
        self.statuses: list[int | None] = []
        """What each attempt was answered with; None where nobody answered."""

    def start(self) -> None:
        """Begin to tell."""
        self._told_until = self._state.clock.now()
        self._thread.start()

    def stop(self) -> None:
        """Tell no more; does nothing if it never began."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(2 * ATTEMPT_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_SECONDS):
            self._write_letters()
            while self._outbox and self._outbox[0].due_at <= time.monotonic():
                self._send(heapq.heappop(self._outbox))

    def _write_letters(self) -> None:
        now = self._state.clock.now()
        news = [m for m in moments(self._state) if self._told_until < m[0] <= now]
        self._told_until = now
        for n, (at, kind, about) in enumerate(
            sorted(news, key=lambda moment: moment[0], reverse=self._backwards)
        ):
            event = event_json(kind, at, data_of(kind, about, at), self._state)
            body = json.dumps(event).encode()
            for _ in range(self._copies):
                heapq.heappush(self._outbox, _Letter(time.monotonic() + n * 1e-6, body))

    def _send(self, letter: _Letter) -> None:
        status = post(
            self._url.netloc, self._url.path, letter.body,
            signature(self._secret, time.time(), letter.body),
        )  # fmt: skip
        self.statuses.append(status)
        if status != 200:
            pause = min(FIRST_PAUSE_SECONDS * 2**letter.attempts, LONGEST_PAUSE_SECONDS)
            again = _Letter(time.monotonic() + pause, letter.body, letter.attempts + 1)
            heapq.heappush(self._outbox, again)


def post(netloc: str, path: str, body: bytes, header: str | None) -> int | None:
    """Send a webhook; give the status, None if nobody answers within Mux's patience."""
    connection = http.client.HTTPConnection(netloc, timeout=ATTEMPT_SECONDS)
    headers = {"Content-Type": "application/json"} | ({"mux-signature": header} if header else {})
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
