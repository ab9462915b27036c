"""Find what needs an operator, from the state of the services and the lessons. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from worker.overview import Counts
from worker.telemetry.scan_history import OutageState, ScanEntry
from worker.text import duration
from worker.web.dashboard.overview_cache import Snapshot
from worker.wording import count

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
    mux_is_unauthorized: bool
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
        message = f"Supabase is unavailable: {state.supabase.message}"
        yield Alert("bad", message, _supabase_advice(state))
    elif snapshot.error is not None:
        message = f"Supabase does not answer this page: {snapshot.error}"
        yield Alert("bad", message, _supabase_advice(state))
    if state.mux_is_unauthorized:
        advice = "Set a valid MUX_TOKEN_ID and MUX_TOKEN_SECRET."
        yield Alert("bad", "Mux refuses the credentials.", advice)
    elif state.mux is not None:
        advice = "No lesson fails because of this. See status.mux.com."
        yield Alert("bad", f"Mux is unavailable: {state.mux.message}", advice)


def _supabase_advice(state: ServiceState) -> str:
    if state.supabase is not None and state.supabase.needs_operator:
        return "This does not resolve by itself."
    return "No lesson is lost. See status.supabase.com."


def _of_lessons(counts: Counts) -> Iterator[Alert]:
    if counts.unplayable:
        message = f"{count(counts.unplayable, 'published lesson')} can no longer play the video."
        yield Alert("bad", message, "See the list below for the reason and what to do.")
    if counts.stuck:
        lessons = count(counts.stuck, "lesson has", "lessons have")
        message = f"{lessons} waited for over half an hour."
        yield Alert("warn", message, "See the list below. Each lesson's page shows Mux's response.")
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
