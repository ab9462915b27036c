"""Count and measure what happens in the worker, for Prometheus."""

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from worker import __version__
from worker.errors import Unavailable
from worker.model import Outcome, Settlement
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport

WAITS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400)
READY_WAITS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
SCANS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300)
CALLS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
NOT_KNOWN = float("nan")


class Metrics(Telemetry):
    """Holds the metrics of one worker, in a registry of its own.

    `rate_left` and `last_scan_at` are read when the metrics are.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(
        self, rate_left: Callable[[], float | None], last_scan_at: Callable[[], float | None]
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it adds a second series to each counter
        self.registry = CollectorRegistry()
        build = self._gauge(
            "build_info", "Always 1; the labels name the versions.", "version", "python"
        )
        build.labels(__version__, platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)
        self._add_lessons_and_scans()
        self._add_requests()
        remaining = self._gauge(
            "mux_rate_limit_remaining", "Requests left in Mux's rate limit, by its last response."
        )
        last_scan = self._gauge(
            "last_scan_timestamp_seconds", "Unix time at which the last scan ended."
        )
        remaining.set_function(lambda: _known(rate_left()))
        last_scan.set_function(lambda: last_scan_at() or 0.0)  # before the first one: long ago
        self.set_counts(None)
        self._create_series()

    def _add_lessons_and_scans(self) -> None:
        self._outcomes = self._counter(
            "outcomes", "Tracking rows that were settled, by outcome.", "outcome", "source"
        )
        self._lessons = self._gauge(
            "lessons", "Tracking rows by status; ready rows are not counted.", "status"
        )
        self._due = self._gauge("lessons_due", "Tracking rows that are due.")
        self._stuck = self._gauge("lessons_stuck", "Rows processing for over half an hour.")
        self._oldest = self._gauge(
            "oldest_due_seconds", "Seconds since the oldest due row became due."
        )
        self._tracked = self._histogram(
            "tracked_to_published_seconds", "Time from the start of tracking to publication.", WAITS
        )
        self._ready = self._histogram(
            "ready_to_published_seconds",
            "Time from ready at Mux to publication; only webhooks say when a video became ready.",
            READY_WAITS,
        )
        self._scans = self._histogram("scan_seconds", "Duration of scans.", SCANS)

    def _add_requests(self) -> None:
        self._requests = self._counter(
            "mux_requests", "Requests to Mux; status is a reason if there was no response.",
            "route", "status",
        )  # fmt: skip
        self._retries = self._counter(
            "mux_retries", "Requests to Mux that were repeated.", "reason"
        )
        self._rpcs = self._histogram(
            "rpc_seconds", "Duration of calls to the database.", CALLS, "function"
        )
        self._rpc_errors = self._counter(
            "rpc_errors", "Calls to the database that failed.", "function", "reason"
        )
        self._webhooks = self._counter("webhooks", "Webhooks by result.", "result")
        self._refused_tokens = self._counter(
            "refused_tokens", "Requests to the dashboard or the metrics with a wrong OPS_TOKEN."
        )

    def _create_series(self) -> None:
        """Create the series of known labels, so that their first increase counts."""
        for result in ("accepted", "ignored", "invalid", "unsigned", "too_large", "unavailable"):
            self._webhooks.labels(result)
        for outcome in ("published", "attached", "updated", "unplayable", "failed", "refused"):
            for source in ("webhook", "sweep", "probe"):
                self._outcomes.labels(outcome, source)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def set_counts(self, summary: Mapping[str, Any] | None) -> None:
        """Set the numbers of rows; None where they could not be counted."""
        counts = summary or {}
        for status in ("processing", "error"):
            self._lessons.labels(status).set(counts.get(status, NOT_KNOWN))
        self._due.set(counts.get("due", NOT_KNOWN))
        self._stuck.set(counts.get("stuck", NOT_KNOWN))
        oldest = counts.get("oldest_due_seconds", NOT_KNOWN)
        self._oldest.set(0.0 if oldest is None else oldest)

    def settled(
        self,
        settlements: Sequence[Settlement],
        outcomes: Sequence[Outcome],
        _actor: str | None = None,
    ) -> None:
        """Count the outcomes of a page of settlements."""
        if not settlements:
            return
        for outcome in outcomes:
            self._outcomes.labels(outcome.name, settlements[0].observation.source).inc()
            if outcome.name == "published" and outcome.age_seconds is not None:
                self._tracked.observe(outcome.age_seconds)

    def published_after_ready(self, seconds: float) -> None:
        """Measure the time between the video being ready and its publication."""
        self._ready.observe(seconds)

    def scan_finished(self, report: ScanReport) -> None:
        """Measure a scan."""
        self._scans.observe(report.seconds)

    def mux_answered(self, route: str, status: str) -> None:
        """Count a request to Mux."""
        self._requests.labels(route, status).inc()

    def mux_retried(self, error: Unavailable, _attempt: int, _pause_seconds: float) -> None:
        """Count a repeated request to Mux."""
        self._retries.labels(error.reason).inc()

    def rpc_ended(self, function: str, seconds: float, reason: str) -> None:
        """Measure a call to the database."""
        self._rpcs.labels(function).observe(seconds)
        if reason:
            self._rpc_errors.labels(function, reason).inc()

    def webhook_answered(self, result: str) -> None:
        """Count a webhook."""
        self._webhooks.labels(result).inc()

    def token_refused(self) -> None:
        """Count a request with a wrong token."""
        self._refused_tokens.inc()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"mux_worker_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"mux_worker_{name}", help_text, labels, registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, buckets: Sequence[float], *labels: str
    ) -> Histogram:
        return Histogram(
            f"mux_worker_{name}", help_text, labels, buckets=buckets, registry=self.registry
        )


def _known(value: float | None) -> float:
    return NOT_KNOWN if value is None else value
