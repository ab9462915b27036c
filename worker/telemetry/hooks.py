"""Who is told what happens in the worker: nobody, unless its numbers are kept. Pure."""

from collections.abc import Sequence

from worker.model import Outcome, Source


class Watch:
    """Is told what happens and keeps nothing of it; what keeps numbers overrides its methods."""

    def settled(self, source: Source, outcomes: Sequence[Outcome]) -> None:
        """Hear that facts from one source were settled."""

    def scanned(self, seconds: float) -> None:
        """Hear that a scan ended by itself."""

    def mux_answered(self, route: str, status: str) -> None:
        """Hear what Mux answered: a status, or in one word why there was none."""

    def mux_retried(self, reason: str) -> None:
        """Hear that a request to Mux is going to be repeated."""

    def rpc_ended(self, function: str, seconds: float, reason: str) -> None:
        """Hear that a call to the database ended; `reason` is one word if it failed, else empty."""

    def webhook_answered(self, result: str) -> None:
        """Hear how a webhook was answered."""

    def published_after_ready(self, seconds: float) -> None:
        """Hear how long a lesson whose video was ready was not published."""
