"""Judge the facts that the doctor finds: one check each, with what to do where it fails. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from worker.model import Environment

Health = Literal["ok", "warning", "failed", "skipped"]
Facts = Mapping[str, Any]

NEEDED_COLUMNS = frozenset(
    {"id", "creator_id", "status", "mux_asset_id", "mux_playback_id", "updated_at"}
)
MUX_READS_PER_SECOND = 5
"""What Mux allows an environment: https://www.mux.com/docs/core/make-api-requests."""

WORST_CLOCK_SECONDS = 30.0
REAPPLY = "Apply the files of sql/ again, in order, as the owner of lessons."


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, what was seen, and what to do about it."""

    name: str
    health: Health
    seen: str
    advice: str = ""


def check_pace(requests_per_second: float, lease_seconds: float, timeout_seconds: float) -> Check:
    """Judge the settings that are allowed and yet unwise."""
    if requests_per_second > MUX_READS_PER_SECOND:
        seen = f"MUX_REQUESTS_PER_SECOND is {requests_per_second:g}, Mux allows 5 to all who ask"
        return Check("settings", "warning", seen, "Set it to 4 or less.")
    if lease_seconds < 2 * timeout_seconds:
        seen = f"LEASE_SECONDS is {lease_seconds:g}, two slow answers of Mux take longer"
        return Check("settings", "warning", seen, "Set it to at least twice MUX_TIMEOUT_SECONDS.")
    return Check("settings", "ok", "all required ones are there, none is odd")


def check_database(facts: Facts, newest_needed: str, now: float) -> Iterator[Check]:
    """Judge what `worker_doctor` told."""
    yield check_role(facts["role"])
    yield check_schema(facts["schema_version"], newest_needed)
    yield check_lessons(facts["lessons_columns"], facts["lessons_may_be_written"])
    yield check_row_security(facts["row_level_security"])
    yield check_functions(facts["functions"])
    yield check_anon(facts["open_to_anon"])
    yield check_clock(float(facts["database_time"]), now)


def check_role(role: str) -> Check:
    """Judge whose key it is; the anon key is the classic mix-up."""
    if role == "service_role":
        return Check("key", "ok", "accepted, of the role service_role")
    advice = "Set SUPABASE_SERVICE_ROLE_KEY to the service_role or secret key."
    return Check("key", "failed", f"of the role {role}", advice)


def check_schema(applied: str, needed: str) -> Check:
    """Judge whether all files of sql/ that this version knows are applied."""
    if applied >= needed:
        return Check("schema", "ok", f"sql/ is applied up to {applied}.sql")
    advice = f"Apply the files after {applied}.sql up to {needed}.sql."
    return Check("schema", "failed", f"sql/ is applied only up to {applied}.sql", advice)


def check_lessons(columns: Sequence[str], may_be_written: bool) -> Check:
    """Judge the app's own table, which may have changed since sql/ was applied."""
    missing = sorted(NEEDED_COLUMNS - set(columns))
    if missing:
        seen = f"has no {', '.join(missing)}"
        return Check("lessons", "failed", seen, "Bring the columns back; the worker needs them.")
    if not may_be_written:
        return Check("lessons", "failed", "service_role may not write its ids", REAPPLY)
    return Check("lessons", "ok", "has what the worker needs, and may be written")


def check_row_security(tables: Mapping[str, bool]) -> Check:
    """Judge whether a table is open to everybody who has the anon key."""
    unprotected = sorted(name for name, is_on in tables.items() if not is_on)
    if unprotected:
        advice = "alter table … enable row level security, with the app's policies in place."
        return Check("row security", "failed", f"is off on {', '.join(unprotected)}", advice)
    return Check("row security", "ok", f"is on for {', '.join(sorted(tables))}")


def check_functions(functions: Sequence[Mapping[str, Any]]) -> Check:
    """Judge whether each function is for the service role and nobody else."""
    closed = [f["name"] for f in functions if not f["service_role"]]
    leaks = [f["name"] for f in functions if f["anon"] or f["authenticated"]]
    if closed or leaks:
        seen = f"closed to service_role: {', '.join(closed)}" if closed else ""
        seen += "; " if closed and leaks else ""
        seen += f"open to browsers: {', '.join(leaks)}" if leaks else ""
        return Check("functions", "failed", seen, REAPPLY)
    return Check("functions", "ok", f"all {len(functions)} are for service_role alone")


def check_anon(tables: Sequence[str]) -> Check:
    """Judge what those who are not logged in may see."""
    if tables:
        return Check("anon", "failed", f"is granted something on {', '.join(tables)}", REAPPLY)
    return Check("anon", "ok", "may see and call nothing of the worker's")


def check_clock(database: float, here: float) -> Check:
    """Judge this machine's clock; ages are counted by the database's all the same."""
    apart = abs(database - here)
    if apart > WORST_CLOCK_SECONDS:
        seen = f"differs from the database's by {apart:.0f} s"
        return Check("clock", "warning", seen, "Set this machine's clock by NTP.")
    return Check("clock", "ok", f"differs from the database's by {apart:.1f} s")


def check_environment(environment: Environment, home: str | None, known: int, asked: int) -> Check:
    """Judge whether the token belongs to the environment that the app uploads to."""
    name = f"{environment.name} ({environment.type}, {environment.id})"
    if asked and not known:
        advice = "Use a token of the environment that the app uploads to."
        return Check("Mux environment", "failed", f"{name} knows none of our ids", advice)
    if home is not None and home != environment.id:
        seen = f"{name}; ids were last found in {home}"
        return Check("Mux environment", "warning", seen, "Make sure that this is meant.")
    if asked:
        return Check("Mux environment", "ok", f"{name} knows {known} of our last {asked} videos")
    return Check("Mux environment", "ok", f"{name}; no video was published yet to look for")


def check_rate_limit(limit: str | None, remaining: str | None) -> Check:
    """Judge what is left of the limit right now, by Mux's own headers."""
    if limit is None or remaining is None:
        return Check("Mux rate limit", "skipped", "Mux did not say")
    if remaining == "0":
        advice = "Something else uses this token or environment: give the worker its own."
        return Check("Mux rate limit", "warning", f"nothing is left of {limit}", advice)
    return Check("Mux rate limit", "ok", f"{remaining} of {limit} left")
