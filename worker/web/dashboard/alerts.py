"""Find what needs an operator, from the state of the services and the lessons. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from worker.overview import Counts
from worker.telemetry.scan_history import OutageState, ScanEntry
from worker.text import duration
from worker.web.dashboard.overview_cache import Snapshot

Severity = Literal["bad", "warn"]
"""An error or a warning, named like the style sheet's classes."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong, and what to do about it."""

    severity: Severity
    message: str
    advice: str


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What the process knows without a call to Mux or the database."""

    loop_problem: str | None
    last_scan_at: float | None
    started_at: float
    scans: tuple[ScanEntry, ...]
    mux: OutageState | None
    supabase: OutageState | None
    mux_requests: int
    rate_limit: tuple[str | None, str | None]
    accepts_webhooks: bool


def alerts(state: ServiceState, snapshot: Snapshot) -> list[Alert]:
    """Return what needs an operator, errors first."""
    found = list(_of_services(state, snapshot))
    if snapshot.overview is not None:
        found += _of_lessons(snapshot.overview.counts)
    return sorted(found, key=lambda alert: alert.severity != "bad")


def _of_services(state: ServiceState, snapshot: Snapshot) -> Iterator[Alert]:
    if state.loop_problem is not None:
        message = f"The scan loop hangs: {state.loop_problem}."
        yield Alert("bad", message, "Restart the worker and report the problem.")
    if state.supabase is not None:
        message = f"Supabase has not answered since {_moment(state.supabase.since)}."
        yield Alert("bad", message, _of_outage(state.supabase.message, state, snapshot))
    elif snapshot.error is not None:
        message = f"Supabase has not answered this page since {_moment(snapshot.out_since)}."
        yield Alert("bad", message, _of_outage(snapshot.error, state, snapshot))
    if state.mux is not None and state.mux.needs_operator:
        advice = "Set a valid MUX_TOKEN_ID and MUX_TOKEN_SECRET."
        yield Alert("bad", "Mux refuses the credentials.", advice)
    elif state.mux is not None:
        advice = "No lesson fails because of this. See status.mux.com."
        message = f"Mux has not answered since {_moment(state.mux.since)}. {state.mux.message}"
        yield Alert("bad", message, advice)


def _of_outage(error: str, state: ServiceState, snapshot: Snapshot) -> str:
    """Return the error, what is known of the lessons and since when, and what to do."""
    if snapshot.overview is None:
        known = "This worker has not read the lessons yet, so none are shown."
    else:
        at = _moment(datetime.fromisoformat(snapshot.overview.now).timestamp())
        known = f"The lessons are shown as they were at {at}; what changed since is not known."
    needs_operator = state.supabase is not None and state.supabase.needs_operator
    advice = (
        "This does not resolve by itself."
        if needs_operator
        else "The worker tries again by itself, and no lesson is lost. See status.supabase.com."
    )
    return f"{error} {known} {advice}"


def _moment(at: float | None) -> str:
    return "now" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _of_lessons(counts: Counts) -> Iterator[Alert]:
    """Yield that the worker is behind; the lists show each lesson that needs somebody."""
    late = counts.late_seconds
    if late is not None:
        message = f"A lesson has been due for {duration(late)}. The worker is behind."
        yield Alert("warn", message, "Check MUX_REQUESTS_PER_SECOND, and the log for an outage.")


def headline(state: ServiceState, snapshot: Snapshot) -> str:
    """Return the state in one sentence, for the page's title and for screen readers."""
    for alert in alerts(state, snapshot):
        if alert.severity == "bad":
            return alert.message
    if snapshot.overview is None:
        return "The lessons are not known."
    return snapshot.overview.headline
