"""What clients asked of the simulated Mux."""

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sandbox.fault_injection import can_answer

_LOG_LENGTH = 200_000


@dataclass(frozen=True, slots=True)
class Seen:
    """Record one request; `status` is None when no answer was given, or not to its end."""

    at: float
    method: str
    path: str
    query: str
    route: str
    status: int | None


def busiest(seen: Sequence[Seen]) -> int:
    """Count the requests in the second that has most of them."""
    at = sorted(one.at for one in seen)
    return max(bisect_left(at, start + 1) - index for index, start in enumerate(at))


class RequestLog:
    """Hold the last requests, oldest first; safe to use from any thread."""

    def __init__(self) -> None:
        """Begin empty."""
        self._changed = threading.Condition()
        self._seen: deque[Seen] = deque(maxlen=_LOG_LENGTH)

    def add(self, seen: Seen) -> None:
        """Record a request."""
        with self._changed:
            self._seen.append(seen)
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget all requests."""
        with self._changed:
            self._seen.clear()

    def all(self) -> list[Seen]:
        """Give the requests, oldest first; `at` is in seconds of the monotonic clock."""
        with self._changed:
            return list(self._seen)

    def by_route(self) -> Counter[str]:
        """Count the requests by route, such as `GET /video/v1/assets/{asset_id}`."""
        return Counter(seen.route for seen in self.all())

    def wait_for(self, number: int, timeout_seconds: float = 30.0) -> None:
        """Block until `number` requests are recorded; raise `TimeoutError` if they are not."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._seen) >= number, timeout_seconds):
                raise TimeoutError(f"{len(self._seen)} of {number} requests")


def log_requests(log: RequestLog) -> Middleware:
    """Record every request, as the outermost middleware."""

    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        status: int | None = None
        try:
            reply = await handler(request)
            if can_answer(request):
                status = reply.status
            return reply
        finally:
            log.add(_seen(request, status))

    return record


def _seen(request: web.Request, status: int | None) -> Seen:
    resource = request.match_info.route.resource
    return Seen(
        at=time.monotonic(),
        method=request.method,
        path=request.path,
        query=request.query_string,
        route=f"{request.method} {resource.canonical if resource else request.path}",
        status=status,
    )
