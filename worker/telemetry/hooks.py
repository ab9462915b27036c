"""Pass on what happens in the worker to the log, the metrics, the scan history and liveness."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.errors import Unavailable
from worker.model import Outcome, Settlement
from worker.telemetry.scan_report import ScanReport


class Telemetry:
    """Passes every event on to its subscribers.

    A subscriber is a Telemetry as well, which overrides the events that it records.
    """

    _subscribers: tuple["Telemetry", ...] = ()

    def __init__(self, *subscribers: "Telemetry") -> None:
        self._subscribers = subscribers

    def subscribe(self, subscriber: "Telemetry") -> None:
        """Pass the events from now on to one more subscriber."""
        self._subscribers = (*self._subscribers, subscriber)

    def _pass_on(self, event: str, *arguments: Any) -> None:
        for subscriber in self._subscribers:
            getattr(subscriber, event)(*arguments)

    def settled(
        self,
        settlements: Sequence[Settlement],
        outcomes: Sequence[Outcome],
        actor: str | None = None,
    ) -> None:
        """Report what was settled, all of one source, or what adopting did (no settlements).

        `actor` is the person who did it by hand.
        """
        self._pass_on("settled", settlements, outcomes, actor)

    def adoption_failed(self, error: Unavailable, message: str) -> None:
        """Report an error that only the adoption meets."""
        self._pass_on("adoption_failed", error, message)

    def id_failed(
        self, ids: Mapping[str, str], lesson_id: str | None, reason: str | None, message: str | None
    ) -> None:
        """Report that Mux does not answer about an id alone, given by the name of its field."""
        self._pass_on("id_failed", ids, lesson_id, reason, message)

    def environment_mismatched(
        self, settlements: Sequence[Settlement], environment: str, recorded: str | None
    ) -> None:
        """Report a page settled while the token's environment is not the recorded one."""
        self._pass_on("environment_mismatched", settlements, environment, recorded)

    def scan_progressed(self) -> None:
        """Report that the scan under way has settled a page."""
        self._pass_on("scan_progressed")

    def scan_finished(self, report: ScanReport) -> None:
        """Report a scan that was completed."""
        self._pass_on("scan_finished", report)

    def scan_failed(self, error: Unavailable) -> None:
        """Report a scan that an error of Mux or Supabase ended."""
        self._pass_on("scan_failed", error)

    def scan_ended(self, pause_seconds: float) -> None:
        """Report the end of a scan, finished or failed, and the pause before the next one."""
        self._pass_on("scan_ended", pause_seconds)

    def mux_answered(self, route: str, status: str) -> None:
        """Report a request to Mux: its status, or one word for why there was no response."""
        self._pass_on("mux_answered", route, status)

    def mux_retried(self, error: Unavailable, attempt: int, pause_seconds: float) -> None:
        """Report that a request to Mux will be repeated after a pause."""
        self._pass_on("mux_retried", error, attempt, pause_seconds)

    def rpc_ended(self, function: str, seconds: float, reason: str) -> None:
        """Report a call to the database; `reason` is one word if it failed, else empty."""
        self._pass_on("rpc_ended", function, seconds, reason)

    def webhook_answered(self, result: str) -> None:
        """Report how a webhook was answered."""
        self._pass_on("webhook_answered", result)

    def published_after_ready(self, seconds: float) -> None:
        """Report the time between the video being ready and its publication."""
        self._pass_on("published_after_ready", seconds)
