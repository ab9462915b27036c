"""What the process itself knows of how things are, and what of it all needs somebody. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from worker.telemetry.scan_history import Fault, ScanEntry
from worker.text import duration
from worker.web.dashboard.overview_cache import Seen
from worker.wording import count

LATE_SECONDS = 300.0

Gravity = Literal["bad", "warn"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be, and what to do about it."""

    gravity: Gravity
    what: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the process knows without asking anybody."""

    loop_fault: str | None
    last_scan_at: float | None
    started_at: float
    scans: tuple[ScanEntry, ...]
    mux: Fault | None
    supabase: Fault | None
    mux_refuses: bool
    mux_requests: int
    rate_limit: tuple[str | None, str | None]
    takes_webhooks: bool


def troubles(standing: Standing, seen: Seen) -> list[Trouble]:
    """List what needs somebody, the gravest first."""
    found = [*_of_services(standing, seen), *_of_lessons(seen.told or {})]
    return sorted(found, key=lambda one: one.gravity != "bad")


def _of_services(standing: Standing, seen: Seen) -> Iterator[Trouble]:
    if standing.loop_fault is not None:
        said = f"The worker's loop hangs: {standing.loop_fault}."
        yield Trouble("bad", said, "Restart it, and report it.")
    if standing.supabase is not None:
        yield Trouble("bad", f"Supabase is out: {standing.supabase.message}", _advice(standing))
    elif seen.fault is not None:
        yield Trouble("bad", f"Supabase does not answer this page: {seen.fault}", _advice(standing))
    if standing.mux_refuses:
        advice = "Set a good MUX_TOKEN_ID and MUX_TOKEN_SECRET."
        yield Trouble("bad", "Mux refuses the credentials.", advice)
    elif standing.mux is not None:
        advice = "No lesson is failed by that. See status.mux.com."
        yield Trouble("bad", f"Mux is out: {standing.mux.message}", advice)


def _advice(standing: Standing) -> str:
    if standing.supabase is not None and standing.supabase.needs_operator:
        return "It does not pass by itself."
    return "No lesson is lost by that. See status.supabase.com."


def _of_lessons(told: Mapping[str, Any]) -> Iterator[Trouble]:
    if stuck := told.get("stuck"):
        advice = "Below is which; the page of each tells what Mux said."
        waited = f"{count(stuck, 'lesson has', 'lessons have')} waited for over half an hour."
        yield Trouble("warn", waited, advice)
    late = told.get("oldest_due_seconds")
    if late is not None and late > LATE_SECONDS:
        said = f"A lesson has been due for {duration(late)}: the worker does not get to it."
        yield Trouble("warn", said, "Look at the rate limit, and for an outage in the log.")


def headline(standing: Standing, seen: Seen) -> str:
    """Say how things are in one sentence, for the page's title and for who cannot see it."""
    found = troubles(standing, seen)
    if any(trouble.gravity == "bad" for trouble in found):
        return next(trouble.what for trouble in found if trouble.gravity == "bad")
    told = seen.told
    if told is None:
        return "Nothing is known of the lessons."
    counts = [count(told["processing"], "waits", "wait")]
    if told["stuck"]:
        counts.append(f"{told['stuck']:,} stuck")
    counts.append(f"{told['error']:,} failed")
    return ", ".join(counts) + "."
