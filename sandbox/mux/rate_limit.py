"""The rate limits of the simulated Mux: token buckets, for reads and for writes."""

import math
import time
from dataclasses import dataclass

from aiohttp import web


class RateLimit:
    """Limit requests with a token bucket that holds one second's worth, and at least one."""

    def __init__(self, per_second: float | None) -> None:
        """Start with a full bucket; None sets no limit."""
        self.per_second = per_second
        self._tokens = self._capacity
        self._filled_at = time.monotonic()

    @property
    def _capacity(self) -> float:
        return max(1.0, self.per_second or 0.0)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that describe the limit; without a limit there are none."""
        if self.per_second is None:
            return {}
        remaining = str(math.floor(self._tokens))
        return {"X-RateLimit-Limit": f"{self.per_second:g}", "X-RateLimit-Remaining": remaining}

    def acquire(self) -> bool:
        """Take a token; return whether there was one."""
        if self.per_second is None:
            return True
        now = time.monotonic()
        refill = (now - self._filled_at) * self.per_second
        self._tokens, self._filled_at = min(self._capacity, self._tokens + refill), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(slots=True)
class RateLimits:
    """The limits in force; those of Mux are 5 GETs a second and 1 request of any other method."""

    get: RateLimit
    post: RateLimit
    retry_after_seconds: int | None = None

    @classmethod
    def per_second(
        cls, get: float | None, post: float | None, retry_after_seconds: int | None = None
    ) -> "RateLimits":
        """Return limits in requests a second; `Retry-After` is sent only when it is set."""
        return cls(RateLimit(get), RateLimit(post), retry_after_seconds)

    def for_request(self, request: web.Request) -> RateLimit:
        """Return the limit that applies to `request`."""
        return self.get if request.method in ("GET", "HEAD") else self.post
