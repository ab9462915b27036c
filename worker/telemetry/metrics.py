"""The numbers: what happened in the worker, as Prometheus reads it."""

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
from worker.model import Outcome, Source
from worker.telemetry.hooks import Watch

WAITS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400)
READY_WAITS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
SCANS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300)
CALLS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
NOT_KNOWN = float("nan")


class Metrics(Watch):
    """Keeps the numbers of one worker, in a registry of its own."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asked for
        self.registry = CollectorRegistry()
        build = self._gauge(
            "build_info", "Always 1; the labels tell what runs.", "version", "python"
        )
        build.labels(__version__, platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)
        self._outcomes = self._counter(
            "outcomes", "What settling did to tracking rows.", "outcome", "source"
        )
        self._lessons = self._gauge(
            "lessons",
            "Tracking rows by status; to count those that are ready would read them all.",
            "status",
        )
        self._due = self._gauge("lessons_due", "Tracking rows that are due.")
        self._stuck = self._gauge("lessons_stuck", "Rows processing for over half an hour.")
        self._oldest = self._gauge("oldest_due_seconds", "How long the oldest row has been due.")
        self._tracked = self._histogram(
            "tracked_to_published_seconds", "From the begin of tracking to publication.", WAITS
        )
        self._ready = self._histogram(
            "ready_to_published_seconds",
            "From the moment at which Mux says that the video became ready to publication; only "
            "webhooks tell that moment.",
            READY_WAITS,
        )
        self._scans = self._histogram("scan_seconds", "Length of scans.", SCANS)
        self._asked = self._counter(
            "mux_requests", "Requests to Mux; status is a reason where there was no answer.",
            "route", "status",
        )  # fmt: skip
        self._retried = self._counter(
            "mux_retries", "Requests to Mux that were repeated.", "reason"
        )
        self._rpcs = self._histogram(
            "rpc_seconds", "Length of calls to the database.", CALLS, "function"
        )
        self._rpc_errors = self._counter(
            "rpc_errors", "Calls to the database that failed.", "function", "reason"
        )
        self._webhooks = self._counter("webhooks", "Webhooks by what was answered.", "result")
        self._refused_tokens = self._counter(
            "refused_tokens", "Requests to the dashboard or the metrics with a wrong OPS_TOKEN."
        )
        self._rate_left = self._gauge(
            "mux_rate_limit_remaining", "What is left of Mux's rate limit, as Mux said last."
        )
        self._last_pass = self._gauge(
            "last_pass_timestamp_seconds", "When a pass ended last, in unix time."
        )
        self._rate_left.set(NOT_KNOWN)
        self.counted(None)
        for result in ("accepted", "ignored", "invalid", "unsigned", "too_large", "unavailable"):
            self._webhooks.labels(result)
        for outcome in ("published", "attached", "updated", "unplayable", "failed", "refused"):
            for source in ("webhook", "sweep", "probe"):
                self._outcomes.labels(outcome, source)

    def text(self) -> bytes:
        """Give all numbers in Prometheus's text format."""
        return generate_latest(self.registry)

    def ask_for(
        self, rate_left: Callable[[], float | None], last_pass_at: Callable[[], float | None]
    ) -> None:
        """Name who knows what is only looked up when the numbers are asked for."""
        self._rate_left.set_function(lambda: _known(rate_left()))
        self._last_pass.set_function(lambda: last_pass_at() or 0.0)  # none yet is long ago

    def counted(self, summary: Mapping[str, Any] | None) -> None:
        """Take in what the tables hold; None where they could not be counted."""
        told = summary or {}
        for status in ("processing", "error"):
            self._lessons.labels(status).set(told.get(status, NOT_KNOWN))
        self._due.set(told.get("due", NOT_KNOWN))
        self._stuck.set(told.get("stuck", NOT_KNOWN))
        oldest = told.get("oldest_due_seconds", NOT_KNOWN)
        self._oldest.set(0.0 if oldest is None else oldest)

    def settled(self, source: Source, outcomes: Sequence[Outcome]) -> None:
        """Count outcomes, and measure how long those that were published took."""
        for outcome in outcomes:
            self._outcomes.labels(outcome.name, source).inc()
            if outcome.name == "published" and outcome.age_seconds is not None:
                self._tracked.observe(outcome.age_seconds)

    def published_after_ready(self, seconds: float) -> None:
        """Measure how long a lesson whose video was ready was not published."""
        self._ready.observe(seconds)

    def scanned(self, seconds: float) -> None:
        """Measure a scan."""
        self._scans.observe(seconds)

    def mux_answered(self, route: str, status: str) -> None:
        """Count a request to Mux."""
        self._asked.labels(route, status).inc()

    def mux_retried(self, reason: str) -> None:
        """Count a repeated request to Mux."""
        self._retried.labels(reason).inc()

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

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"mux_worker_{name}", says, labels, registry=self.registry)

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        return Gauge(f"mux_worker_{name}", says, labels, registry=self.registry)

    def _histogram(self, name: str, says: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(
            f"mux_worker_{name}", says, labels, buckets=buckets, registry=self.registry
        )


def _known(value: float | None) -> float:
    return NOT_KNOWN if value is None else value
