"""What clients asked of the gateway, for tests that count requests."""

import threading
from collections import Counter, deque
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

MOST_REQUESTS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """Describe one request; `status` is None when no answer was given, or not to its end."""

    method: str
    path: str
    status: int | None


class GatewayLog:
    """Keep the latest requests, and count all of them by path. Safe to share among threads."""

    def __init__(self, most_kept: int = MOST_REQUESTS_KEPT) -> None:
        self._lock = threading.Lock()
        self._latest: deque[Asked] = deque(maxlen=most_kept)
        self._counts: Counter[str] = Counter()

    def add(self, request: Asked) -> None:
        """Take note of one request."""
        with self._lock:
            self._latest.append(request)
            self._counts[request.path] += 1

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._latest.clear()
            self._counts.clear()

    def latest(self) -> list[Asked]:
        """Return the requests that are still kept, oldest first."""
        with self._lock:
            return list(self._latest)

    def count(self, path: str) -> int:
        """Return how often a path was asked for, also when the requests are no longer kept."""
        with self._lock:
            return self._counts[path]

    def counts(self) -> dict[str, int]:
        """Return how often each path was asked for."""
        with self._lock:
            return dict(self._counts)

    def __len__(self) -> int:
        with self._lock:
            return self._counts.total()

    def middleware(self) -> Middleware:
        """Return an aiohttp middleware that takes note of every request."""

        @web.middleware
        async def log_request(request: web.Request, handler: Handler) -> web.StreamResponse:
            status = None
            try:
                response = await handler(request)
                status = response.status if _is_connected(request) else None
                return response
            except web.HTTPException as error:
                status = error.status
                raise
            finally:
                self.add(Asked(request.method, request.path, status))

        return log_request


def _is_connected(request: web.Request) -> bool:
    """Tell whether the client can still get an answer, no fault having cut the connection."""
    return request.transport is not None and not request.transport.is_closing()
