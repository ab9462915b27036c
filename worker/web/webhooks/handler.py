"""`POST /webhooks/mux`: verify, read, settle, answer, always within Mux's patience."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

from aiohttp import web

from worker.errors import Unavailable
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import LogThrottle, get_logger
from worker.web.webhooks.batcher import GroupCommit
from worker.web.webhooks.bodies import Bodies, Broken, TooLarge, TooManyLarge
from worker.web.webhooks.event import Event, NoEvent, read_event
from worker.web.webhooks.ingest import Hearing
from worker.web.webhooks.signature import HEADER, Fault, read_header

DEADLINE_SECONDS = 4.0
"""Mux waits for 5 s: https://www.mux.com/docs/core/listen-for-webhooks."""

SETTLE_WITHIN_SECONDS = 3.5
MOST_AT_ONCE = 300
"""So many may be answered at the same time, far fewer than connections may be open, so that health
is told also while the database hangs."""

ACCEPTED_EVERY_SECONDS = 60.0
REJECTED_EVERY_SECONDS = 600.0

_STATUS = {
    "accepted": 200,
    "ignored": 200,
    "invalid": 400,
    "unsigned": 401,
    "too_large": 413,
    "unavailable": 503,
}
_WHY: dict[Fault, str] = {
    "missing": "There is no signature.",
    "malformed": "The signature is not in Mux's form.",
    "stale": "The signature is more than 300 s old or ahead: is this machine's clock right?",
    "wrong": "The signature is of another secret or body: compare MUX_WEBHOOK_SECRET with Mux's.",
}

log = get_logger()


class _Refused(Exception):
    """The request ends with this result; the message is for the log."""

    def __init__(self, result: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.result = result
        self.reason = reason
        self.message = message


class Webhook:
    """Answers Mux's webhooks once what they say is settled."""

    def __init__(
        self,
        secrets: Sequence[str],
        hearing: Hearing,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secrets = secrets
        self._hearing = hearing
        self._telemetry = telemetry
        self._clock = clock
        self._group = GroupCommit[Event](hearing.settle, within_seconds=SETTLE_WITHIN_SECONDS)
        self._bodies = Bodies()
        self._notices: set[asyncio.Task[None]] = set()
        self._at_once = 0
        self._diary = _Diary()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        self._at_once += 1
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                result = await self._receive(request)
        except TimeoutError:
            result = self._refuse(_Refused("unavailable", "timeout", "Not settled in time."))
        except _Refused as refusal:
            result = self._refuse(refusal)
        except Unavailable as fault:
            result = self._refuse(_Refused("unavailable", fault.reason, fault.message))
        finally:
            self._at_once -= 1
        self._telemetry.webhook_answered(result)
        response = web.Response(status=_STATUS[result], text=f"{result}\n")
        if response.status not in (200, 401):
            response.force_close()  # what is left of the body is not worth reading
        return response

    async def _receive(self, request: web.Request) -> str:
        signature = read_header(request.headers.get(HEADER), self._clock())
        if isinstance(signature, str):
            raise _Refused("unsigned", signature, _WHY[signature])
        if self._at_once > MOST_AT_ONCE:
            raise _Refused("unavailable", "busy", f"More than {MOST_AT_ONCE} events at once.")
        body = await self._body(request)
        if not signature.is_of(body, self._secrets):
            raise _Refused("unsigned", "wrong", _WHY["wrong"])
        try:
            event = read_event(body)
        except NoEvent as error:
            raise _Refused("invalid", "no_event", f"Signed, and yet {error}.") from error
        if event.is_of_use:
            await self._group.submit(event)
        if event.is_of_video:
            self._notice(event.environment_id)
        self._diary.accepted(event)
        return "accepted" if event.is_of_use else "ignored"

    async def _body(self, request: web.Request) -> bytes:
        try:
            return await self._bodies.read(request)
        except TooLarge as error:
            raise _Refused("too_large", "too_large", "The body is over 1 MB.") from error
        except TooManyLarge as error:
            raise _Refused("unavailable", "busy", "Too many large bodies at once.") from error
        except Broken as error:
            raise _Refused("invalid", "unreadable", "The body is broken.") from error

    def _notice(self, environment_id: str | None) -> None:
        """Tell all workers that webhooks arrive, without holding the answer up."""
        if not self._notices:
            task = asyncio.create_task(self._hearing.notice(environment_id))
            self._notices.add(task)
            task.add_done_callback(self._notices.discard)

    def _refuse(self, refusal: _Refused) -> str:
        self._diary.rejected(refusal)
        return refusal.result


class _Diary:
    """Writes what came of webhooks: a line a minute for the good, rarer for each bad reason."""

    def __init__(self) -> None:
        self._good = LogThrottle(ACCEPTED_EVERY_SECONDS)
        self._bad = LogThrottle(REJECTED_EVERY_SECONDS)
        self._accepted: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()

    def accepted(self, event: Event) -> None:
        """Note an event that was taken in, useful or not."""
        log.debug("webhook.received", type=event.type[:80], id=event.id[:80])
        self._accepted["events"] += 1
        self._accepted["of_no_use"] += not event.is_of_use
        if self._good.allow("accepted"):
            log.info("webhook.accepted", **self._accepted)
            self._accepted.clear()

    def rejected(self, refusal: _Refused) -> None:
        """Note a request that was not taken in."""
        self._rejected[refusal.reason] += 1
        if self._bad.allow(refusal.reason):
            log.warning(
                "webhook.rejected",
                reason=refusal.reason,
                message=refusal.message,
                times=self._rejected.pop(refusal.reason),
            )
