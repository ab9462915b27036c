"""Record the requests that the gateway received."""

import threading
from collections import Counter, deque
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sandbox.fault_injection import is_connected

MAX_REQUESTS = 10_000


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request; `status` is None when no complete response was sent."""

    method: str
    path: str
    status: int | None


class RequestLog:
    """Keep the latest requests, and count all of them by path; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: deque[LoggedRequest] = deque(maxlen=MAX_REQUESTS)
        self._counts: Counter[str] = Counter()

    def add(self, request: LoggedRequest) -> None:
        """Record a request."""
        with self._lock:
            self._latest.append(request)
            self._counts[request.path] += 1

    def clear(self) -> None:
        """Remove all requests."""
        with self._lock:
            self._latest.clear()
            self._counts.clear()

    def latest(self) -> list[LoggedRequest]:
        """Return the latest requests, oldest first."""
        with self._lock:
            return list(self._latest)

    def count(self, path: str) -> int:
        """Return the number of all requests for a path."""
        with self._lock:
            return self._counts[path]

    def counts(self) -> dict[str, int]:
        """Return the number of all requests by path."""
        with self._lock:
            return dict(self._counts)

    def __len__(self) -> int:
        with self._lock:
            return self._counts.total()

    def middleware(self) -> Middleware:
        """Return an aiohttp middleware that records every request."""

        @web.middleware
        async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
            status = None
            try:
                response = await handler(request)
                status = response.status if is_connected(request) else None
                return response
            except web.HTTPException as error:
                status = error.status
                raise
            finally:
                self.add(LoggedRequest(request.method, request.path, status))

        return record
