"""What stands before the simulated Mux's routes: request log, rate limits, credentials."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import BasicAuth, web
from aiohttp.typedefs import Handler, Middleware

from sandbox.mux.ids import Credentials
from sandbox.mux.responses import error_json

UPLOAD_URL_PREFIX = "/direct-uploads/"


class RateLimit:
    """Limit requests with a token bucket that holds one second's worth, and at least one."""

    def __init__(self, per_second: float | None) -> None:
        """Begin full; None sets no limit."""
        self.per_second = per_second
        self._tokens = self._size
        self._filled_at = time.monotonic()

    @property
    def _size(self) -> float:
        return max(1.0, self.per_second or 0.0)

    @property
    def headers(self) -> dict[str, str]:
        """Give the headers that tell of the limit; without a limit there are none."""
        if self.per_second is None:
            return {}
        remaining = str(math.floor(self._tokens))
        return {"X-RateLimit-Limit": f"{self.per_second:g}", "X-RateLimit-Remaining": remaining}

    def take(self) -> bool:
        """Take a token; tell whether there was one."""
        if self.per_second is None:
            return True
        now = time.monotonic()
        refill = (now - self._filled_at) * self.per_second
        self._tokens, self._filled_at = min(self._size, self._tokens + refill), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(slots=True)
class RateLimits:
    """The limits in force: Mux's own are 5 GET and 1 of anything else a second."""

    get: RateLimit
    post: RateLimit
    retry_after_seconds: int | None = None

    @classmethod
    def per_second(
        cls, get: float | None, post: float | None, retry_after_seconds: int | None = None
    ) -> "RateLimits":
        """Give limits in requests a second; `Retry-After` is sent only when it is set."""
        return cls(RateLimit(get), RateLimit(post), retry_after_seconds)

    def of(self, request: web.Request) -> RateLimit:
        """Give the limit that counts `request`."""
        return self.get if request.method in ("GET", "HEAD") else self.post


async def _refused_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.content_type == "application/json":
            return web.Response(body=error.body, status=error.status, headers=error.headers)
        kind = "not_found" if error.status == 404 else "invalid_request"
        return web.json_response(error_json(kind, error.reason), status=error.status)


def guard(credentials: Callable[[], Credentials], limits: Callable[[], RateLimits]) -> Middleware:
    """Let in who knows the token and keeps to the limits; tell everyone of the limits."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(UPLOAD_URL_PREFIX):  # at Mux another host, with signed urls
            return await _refused_as_json(request, handler)
        limit = limits().of(request)
        if not _knows(request, credentials()):
            body = error_json("unauthorized", "Unauthorized request")
            reply: web.StreamResponse = web.json_response(body, status=401)
        elif not limit.take():
            reply = _too_many(limits().retry_after_seconds)
        else:
            reply = await _refused_as_json(request, handler)
        reply.headers.update(limit.headers)
        return reply

    return check


def _knows(request: web.Request, credentials: Credentials) -> bool:
    try:
        given = BasicAuth.decode(request.headers.get("Authorization", ""))
    except ValueError:
        return False
    return (given.login, given.password) == (credentials.token_id, credentials.token_secret)


def _too_many(retry_after_seconds: int | None) -> web.Response:
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    body = {"errors": ["Too many requests, retry later."]}
    return web.json_response(body, status=429, headers=headers)
