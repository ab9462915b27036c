"""Limit how often requests to Mux are repeated."""

from dataclasses import dataclass

from worker.errors import MuxUnauthorized, MuxUnavailable, Unavailable
from worker.retry import MAX_ATTEMPTS

MAX_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How many attempts a request has in all, and how long after the first the last may begin.

    `faults` counts for no response or an unusable one, `unauthorized` for a 401 or 403. A request
    that is rate limited (429) has `MAX_ATTEMPTS`.
    """

    faults: int = MAX_ATTEMPTS
    unauthorized: int = 1
    seconds: float = MAX_RETRY_SECONDS

    def max_attempts(self, error: Unavailable) -> int:
        """Return the number of attempts after this error."""
        if isinstance(error, MuxUnauthorized):
            return self.unauthorized
        if not isinstance(error, MuxUnavailable):
            return 1  # the database, where the rate limit is kept, has been retried already
        return MAX_ATTEMPTS if error.is_rate_limit else self.faults
