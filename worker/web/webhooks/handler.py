"""`POST /webhooks/mux`: verify, read, settle and answer within the time that Mux waits."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from aiohttp import web

from worker.errors import Unavailable
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import LogThrottle, get_logger
from worker.web.webhooks.batcher import EventBatcher
from worker.web.webhooks.event import Event, InvalidEvent, read_event
from worker.web.webhooks.ingest import EventIngest
from worker.web.webhooks.signature import HEADER, SignatureProblem, read_header

DEADLINE_SECONDS = 4.0
"""Mux waits for 5 s: https://www.mux.com/docs/core/listen-for-webhooks."""

SETTLE_TIMEOUT_SECONDS = 3.5
MAX_CONCURRENT = 300
"""Events handled at the same time: fewer than connections may be open, so that health checks are
answered also while the database hangs."""

LARGE_BODY_BYTES = 64 * 1024
MAX_LARGE_BODIES = 4
"""Read at a time. Mux's events are smaller, and a body's signature is known only at its end."""

ACCEPTED_LOG_SECONDS = 60.0
REJECTED_LOG_SECONDS = 600.0

_STATUS = {
    "accepted": 200,
    "ignored": 200,
    "invalid": 400,
    "unsigned": 401,
    "too_large": 413,
    "unavailable": 503,
}
_MESSAGES: dict[SignatureProblem, str] = {
    "missing": "The request has no signature.",
    "malformed": "The signature is not in Mux's format.",
    "stale": "The signature is more than 300 s old or in the future. Check this machine's clock.",
    "wrong": "The signature does not match. Compare MUX_WEBHOOK_SECRET with the secret in Mux.",
}

log = get_logger()


@dataclass(eq=False)
class _Rejected(Exception):
    """A request that is rejected with this result; the message is for the log."""

    result: str
    reason: str
    message: str


class WebhookHandler:
    """Answers Mux's webhooks once their events are settled."""

    def __init__(
        self,
        secrets: Sequence[str],
        ingest: EventIngest,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secrets = secrets
        self._ingest = ingest
        self._telemetry = telemetry
        self._clock = clock
        self._batcher = EventBatcher[Event](ingest.settle, timeout_seconds=SETTLE_TIMEOUT_SECONDS)
        self._large_bodies = asyncio.Semaphore(MAX_LARGE_BODIES)
        self._marking: asyncio.Task[None] | None = None
        self._concurrent = 0
        self._log = _WebhookLog()

    async def handle(self, request: web.Request) -> web.Response:
        """Return the response to one request."""
        self._concurrent += 1
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                result = await self._receive(request)
        except TimeoutError:
            result = self._reject(
                _Rejected("unavailable", "timeout", "The event was not settled in time.")
            )
        except _Rejected as rejection:
            result = self._reject(rejection)
        except Unavailable as error:
            result = self._reject(_Rejected("unavailable", error.reason, error.message))
        finally:
            self._concurrent -= 1
        self._telemetry.webhook_answered(result)
        response = web.Response(status=_STATUS[result], text=f"{result}\n")
        if response.status not in (200, 401):
            response.force_close()  # the rest of the body is not read
        return response

    async def _receive(self, request: web.Request) -> str:
        signature = read_header(request.headers.get(HEADER), self._clock())
        if isinstance(signature, str):
            raise _Rejected("unsigned", signature, _MESSAGES[signature])
        if self._concurrent > MAX_CONCURRENT:
            raise _Rejected(
                "unavailable", "overloaded", f"More than {MAX_CONCURRENT} events arrived at once."
            )
        body = await self._body(request)
        if not signature.is_of(body, self._secrets):
            raise _Rejected("unsigned", "wrong", _MESSAGES["wrong"])
        try:
            event = read_event(body)
        except InvalidEvent as error:
            raise _Rejected(
                "invalid", "no_event", f"The signed body is not valid: {error}."
            ) from error
        if not event.is_ignored:
            await self._batcher.submit(event)
        if event.is_about_video:
            self._mark_webhooks_active(event.environment_id)
        self._log.accepted(event)
        return "ignored" if event.is_ignored else "accepted"

    async def _body(self, request: web.Request) -> bytes:
        size = request.content_length
        if size is not None and size > request.client_max_size:
            raise _Rejected("too_large", "too_large", "The body is over 1 MB.")
        is_small = size is not None and size <= LARGE_BODY_BYTES
        try:
            async with nullcontext() if is_small else self._large_bodies:
                return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise _Rejected("too_large", "too_large", "The body is over 1 MB.") from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise _Rejected("invalid", "unreadable", "The body cannot be read.") from error

    def _mark_webhooks_active(self, environment_id: str | None) -> None:
        """Record that webhooks arrive, without delaying the response."""
        if self._marking is None or self._marking.done():
            marking = self._ingest.mark_webhooks_active(environment_id)
            self._marking = asyncio.create_task(marking)

    def _reject(self, rejection: _Rejected) -> str:
        self._log.rejected(rejection)
        return rejection.result


class _WebhookLog:
    """Logs accepted events once a minute, and each reason of a rejection every ten minutes."""

    def __init__(self) -> None:
        self._accepted_throttle = LogThrottle(ACCEPTED_LOG_SECONDS)
        self._rejected_throttle = LogThrottle(REJECTED_LOG_SECONDS)
        self._accepted: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()

    def accepted(self, event: Event) -> None:
        """Record an event that was settled or ignored."""
        log.debug("webhook.received", type=event.type[:80], id=event.id[:80])
        self._accepted["events"] += 1
        self._accepted["ignored"] += event.is_ignored
        if self._accepted_throttle.allow("accepted"):
            log.info("webhook.accepted", **self._accepted)
            self._accepted.clear()

    def rejected(self, rejection: _Rejected) -> None:
        """Record a request that was rejected."""
        self._rejected[rejection.reason] += 1
        if self._rejected_throttle.allow(rejection.reason):
            log.warning(
                "webhook.rejected",
                reason=rejection.reason,
                message=rejection.message,
                times=self._rejected.pop(rejection.reason),
            )
