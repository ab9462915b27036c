"""Send the webhooks of the simulated Mux: signed, in time, and repeated until accepted."""

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

POLL_SECONDS = 0.02
REQUEST_TIMEOUT_SECONDS = 5.0
FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 30.0
BASE_URL = "https://storage.googleapis.com"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScheduledEvent:
    """An event that Mux sends at `at`, in unix seconds, about an upload or an asset."""

    at: float
    type: str
    subject: Upload | Asset


def signature(secret: str, seconds: float, body: bytes) -> str:
    """Return the header `mux-signature` for a body that is sent at this time."""
    signed = f"{int(seconds)}.".encode() + body
    return f"t={int(seconds)},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def event_json(
    event_type: str, happened_at: float, data: Mapping[str, Any], state: MuxState
) -> Json:
    """Return an event as Mux sends it; `data` is an upload or asset as in Mux's API."""
    event_data = dict(data)
    if "created_at" in event_data:
        # A number in events, a string in the REST API.
        event_data["created_at"] = int(event_data["created_at"])
    created_at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(happened_at))
    return {
        "type": event_type,
        "id": str(uuid4()),
        "created_at": f"{created_at}.{int(happened_at % 1 * 1e6):06d}Z",
        "object": {"type": event_type.split(".")[1], "id": event_data["id"]},
        "environment": {"name": "Development", "id": state.environment_id},
        "attempts": [],
        "data": event_data,
    }


def scheduled_events(state: MuxState) -> Iterator[ScheduledEvent]:
    """Yield every past and future event, in no particular order."""
    for upload in state.uploads():
        yield from upload_events(upload)
    for asset in state.all_assets():
        yield from asset_events(asset)


def upload_events(upload: Upload) -> Iterator[ScheduledEvent]:
    """Yield the events of an upload."""
    yield ScheduledEvent(upload.created_at, "video.upload.created", upload)
    if upload.cancelled_at is not None:
        yield ScheduledEvent(upload.cancelled_at, "video.upload.cancelled", upload)
    elif upload.file_at is not None:
        failed = upload.timeline.ending == "upload_errored"
        event_type = f"video.upload.{'errored' if failed else 'asset_created'}"
        yield ScheduledEvent(upload.file_at, event_type, upload)


def asset_events(asset: Asset) -> Iterator[ScheduledEvent]:
    """Yield the events of an asset."""
    failed = asset.timeline.ending == "asset_errored"
    event_type = f"video.asset.{'errored' if failed else 'ready'}"
    yield ScheduledEvent(asset.created_at, "video.asset.created", asset)
    yield ScheduledEvent(asset.prepared_at, event_type, asset)
    for playback_id in asset.playback_ids:
        if playback_id.exists_from > asset.created_at:
            yield ScheduledEvent(playback_id.exists_from, "video.asset.updated", asset)
        yield ScheduledEvent(playback_id.exists_until, "video.asset.updated", asset)
    yield ScheduledEvent(asset.exists_until, "video.asset.deleted", asset)


def event_data(event: ScheduledEvent) -> Json:
    """Return the data of an event: the upload or asset as it was at that time."""
    if isinstance(event.subject, Asset):
        return asset_json(event.subject, event.at)
    data = upload_json(event.subject, event.at, BASE_URL)
    if event.type == "video.upload.errored":
        data.pop("error", None)  # the reason is in the REST API only
    return data


@dataclass(order=True)
class _Delivery:
    due_at: float
    body: bytes = field(compare=False)
    attempts: int = field(compare=False, default=0)


class MuxWebhooks:
    """Send the events of a simulated Mux to a URL; a context manager.

    `copies` is how often each event is sent; `newest_first` reverses the order of the events that
    are due together. An event that is not answered with 200 is sent again, with a growing backoff.
    """

    def __init__(
        self,
        state: MuxState,
        url: str,
        secret: str,
        *,
        copies: int = 1,
        newest_first: bool = False,
    ) -> None:
        """Prepare to send everything that happens after `start`."""
        self._state = state
        self._url = urlsplit(url)
        self._secret = secret
        self._copies = copies
        self._newest_first = newest_first
        self._sent_until = 0.0
        self._queue: list[_Delivery] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mux-webhooks", daemon=True)
        self.statuses: list[int | None] = []
        """The status of each attempt's response; None where there was no response."""

    def start(self) -> None:
        """Start to send events."""
        self._sent_until = self._state.clock.now()
        self._thread.start()

    def stop(self) -> None:
        """Stop sending; do nothing if it never started."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(2 * REQUEST_TIMEOUT_SECONDS)

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
        while not self._stopping.wait(POLL_SECONDS):
            self._enqueue_new_events()
            while self._queue and self._queue[0].due_at <= time.monotonic():
                self._send(heapq.heappop(self._queue))

    def _enqueue_new_events(self) -> None:
        now = self._state.clock.now()
        events = [e for e in scheduled_events(self._state) if self._sent_until < e.at <= now]
        events.sort(key=lambda event: event.at, reverse=self._newest_first)
        self._sent_until = now
        for index, event in enumerate(events):
            message = event_json(event.type, event.at, event_data(event), self._state)
            body = json.dumps(message).encode()
            for _ in range(self._copies):
                # A microsecond apart, so that the queue keeps their order.
                heapq.heappush(self._queue, _Delivery(time.monotonic() + index * 1e-6, body))

    def _send(self, delivery: _Delivery) -> None:
        header = signature(self._secret, time.time(), delivery.body)
        status = post_webhook(self._url.netloc, self._url.path, delivery.body, header)
        self.statuses.append(status)
        if status != 200:
            backoff = min(FIRST_RETRY_SECONDS * 2**delivery.attempts, MAX_RETRY_SECONDS)
            due_at = time.monotonic() + backoff
            retry = _Delivery(due_at, delivery.body, delivery.attempts + 1)
            heapq.heappush(self._queue, retry)


def post_webhook(netloc: str, path: str, body: bytes, header: str | None) -> int | None:
    """Send a webhook; return the response's status, or None when there is none within 5 s."""
    connection = http.client.HTTPConnection(netloc, timeout=REQUEST_TIMEOUT_SECONDS)
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
