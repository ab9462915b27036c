"""Record the requests that the simulated Mux received."""

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sandbox.fault_injection import is_connected

_MAX_REQUESTS = 200_000


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request; `status` is None when no complete response was sent.

    `began_at` and `at` are when it arrived and when it was answered.
    """

    began_at: float
    at: float
    method: str
    path: str
    query: str
    route: str
    status: int | None


def peak_per_second(requests: Sequence[LoggedRequest]) -> int:
    """Return the largest number of requests within one second."""
    at = sorted(request.at for request in requests)
    return max(bisect_left(at, start + 1) - index for index, start in enumerate(at))


class RequestLog:
    """Keep the latest requests, oldest first; safe to use from any thread."""

    def __init__(self) -> None:
        """Start empty."""
        self._changed = threading.Condition()
        self._requests: deque[LoggedRequest] = deque(maxlen=_MAX_REQUESTS)

    def add(self, request: LoggedRequest) -> None:
        """Record a request."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def clear(self) -> None:
        """Remove all requests."""
        with self._changed:
            self._requests.clear()

    def all(self) -> list[LoggedRequest]:
        """Return the requests in the order of their answers; times are of the monotonic clock."""
        with self._changed:
            return list(self._requests)

    def by_route(self) -> Counter[str]:
        """Count the requests by route, such as `GET /video/v1/assets/{asset_id}`."""
        return Counter(request.route for request in self.all())

    def wait_for(self, count: int, timeout_seconds: float = 60.0) -> None:
        """Block until `count` requests are recorded.

        Raises:
            TimeoutError: there were fewer within `timeout_seconds`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout_seconds):
                raise TimeoutError(f"{len(self._requests)} of {count} requests")


def log_requests(log: RequestLog) -> Middleware:
    """Return the outermost middleware, which records every request."""

    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        began_at, status = time.monotonic(), None
        try:
            response = await handler(request)
            if is_connected(request):
                status = response.status
            return response
        finally:
            log.add(_logged(request, began_at, status))

    return record


def _logged(request: web.Request, began_at: float, status: int | None) -> LoggedRequest:
    resource = request.match_info.route.resource
    return LoggedRequest(
        began_at=began_at,
        at=time.monotonic(),
        method=request.method,
        path=request.path,
        query=request.query_string,
        route=f"{request.method} {resource.canonical if resource else request.path}",
        status=status,
    )
