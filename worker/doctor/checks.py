"""The checks of the doctor: each turns facts into a result, with advice where it fails. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self

from worker.model import Environment
from worker.project_key import WORKER_ROLE
from worker.text import plain_id

Health = Literal["ok", "warning", "failed", "skipped"]
Facts = Mapping[str, Any]

NEEDED_TABLES = frozenset({"lessons", "mux_asset_tracking", "mux_asset_events"})
MUX_READS_PER_SECOND = 5  # https://www.mux.com/docs/core/make-api-requests

MAX_CLOCK_DIFFERENCE_SECONDS = 30.0
EXPIRES_SOON_SECONDS = 30 * 24 * 3600.0
REAPPLY = (
    "Apply the files of sql/ again, or what mux-worker sql printed for your table of lessons, in "
    "order, as the owner of that table."
)
REAPPLY_ROLE = (
    "Apply sql/optional/worker_role.sql again, or what mux-worker sql --optional worker_role "
    "prints for your table of lessons. If a policy of the app is in the way, restrict it to the "
    "roles that it is for, such as: to authenticated."
)
MAX_LISTED = 12  # differences; with more, the cause is larger than each of them


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, its result, the facts behind it, and what to do."""

    name: str
    health: Health
    detail: str
    advice: str = ""

    def without(self, secrets: Iterable[str]) -> Self:
        """Return the check without secrets, which a service may repeat, in printable text."""

        def clean(text: str) -> str:
            for secret in sorted(filter(None, secrets), key=len, reverse=True):
                text = text.replace(secret, "***")
            return plain_id(text)

        return replace(self, detail=clean(self.detail), advice=clean(self.advice))


def check_pace(requests_per_second: float, lease_seconds: float, timeout_seconds: float) -> Check:
    """Warn of settings that are allowed but have drawbacks."""
    details, advice = [], []
    if requests_per_second > MUX_READS_PER_SECOND:
        details.append(f"MUX_REQUESTS_PER_SECOND is {requests_per_second:g}, but Mux allows 5")
        advice.append("Set MUX_REQUESTS_PER_SECOND to 4 or less.")
    if lease_seconds < 2 * timeout_seconds:
        details.append(f"LEASE_SECONDS is {lease_seconds:g}, shorter than two Mux timeouts")
        advice.append("Set LEASE_SECONDS to at least twice MUX_TIMEOUT_SECONDS.")
    if details:
        return Check("settings", "warning", "; ".join(details), " ".join(advice))
    return Check("settings", "ok", "complete and without unusual values")


def check_role(facts: Facts, expires_at: float | None, now: float) -> Check:
    """Check the role of the key; the anon key is the usual mistake."""
    role = facts["role"]
    if role not in ("service_role", WORKER_ROLE):
        advice = "Set SUPABASE_SERVICE_ROLE_KEY to the service_role or secret key."
        return Check("key", "failed", f"belongs to the role {role}", advice)
    if role == "service_role" and not facts["passes_row_security"]:
        advice = "Run: alter role service_role bypassrls. It is Supabase's default."
        return Check("key", "failed", "service_role is subject to row level security", advice)
    if role == WORKER_ROLE and facts["role_excess"]:
        detail = f"belongs to the role {role}, which {', and '.join(facts['role_excess'])}"
        advice = "Take these rights from the role. The worker does not need them."
        return Check("key", "warning", detail, advice)
    detail = f"belongs to the role {role}"
    if expires_at is not None and expires_at - now < EXPIRES_SOON_SECONDS:
        day = datetime.fromtimestamp(expires_at, UTC).date()
        advice = "Set a new key before that day, and restart the worker."
        return Check("key", "warning", f"{detail}, and expires on {day}", advice)
    return Check("key", "ok", f"accepted, {detail}")


def check_schema(facts: Facts, needed: int) -> Check:
    """Check that all files of sql/ are applied, in a version that this worker can use."""
    if missing := facts["missing_files"]:
        named = ", ".join(f"{name}.sql" for name in missing)
        return Check("schema", "failed", f"sql/ is applied without {named}", REAPPLY)
    version: int = facts["schema_version"]
    detail = f"version {version} of sql/ is applied"
    if version < needed:
        detail = f"{detail}, and this worker needs version {needed}"
        return Check("schema", "failed", detail, REAPPLY)
    return Check("schema", "ok", detail)


def check_objects(facts: Facts) -> Check:
    """Check that the catalog is still as sql/ created it."""
    if not facts["has_snapshot"]:
        return Check("objects", "skipped", "there is no snapshot to compare")
    if differences := facts["differences"]:
        listed = differences[:MAX_LISTED]
        if more := len(differences) - len(listed):
            listed.append(f"and {more} more")
        advice = f"{REAPPLY} If the change is intended, apply only sql/910_snapshot.sql."
        return Check("objects", "failed", "; ".join(listed), advice)
    return Check("objects", "ok", "are as sql/ created them")


def check_lessons(facts: Facts) -> Check:
    """Check the app's own table, which may have changed since sql/ was applied."""
    table = facts["lessons"] or "the table"
    if problems := facts["lessons_problems"]:
        advice = (
            "The worker cannot publish its lessons as it is. Change the table, or apply what "
            "mux-worker sql prints for it."
        )
        return Check("lessons", "failed", f"{table}: {'; '.join(problems)}", advice)
    if denied := facts["lessons_denied"]:
        detail = f"{facts['role']} cannot read {table} or write its ids: {denied}"
        return Check("lessons", "failed", detail, reapply_advice(facts))
    if hidden := facts["lessons_hidden"]:
        return Check("lessons", "failed", f"{table}: {'; '.join(hidden)}", reapply_advice(facts))
    return Check("lessons", "ok", f"{table} has all needed columns, and can be written")


def check_triggers(facts: Facts) -> Check:
    """Warn of triggers of the app that name what the worker's role has no right to.

    They run with its rights when the worker publishes, and what they raise refuses the lesson.
    """
    if doubts := facts["trigger_doubts"]:
        advice = (
            "Such a trigger refuses the lesson if it runs there. Make its function security "
            f"definer, or grant {facts['role']} what it needs. docs/database.md has the details."
        )
        return Check("triggers", "warning", "; ".join(doubts), advice)
    return Check("triggers", "ok", f"name nothing that {facts['role']} has no right to")


def reapply_advice(facts: Facts) -> str:
    """Return which files to apply again, by the role of the key."""
    return REAPPLY_ROLE if facts["role"] == WORKER_ROLE else REAPPLY


def check_row_security(facts: Facts) -> Check:
    """Check that row level security is on, so that the anon key reads no table."""
    tables: Mapping[str, bool] = facts["row_level_security"]
    lessons = facts["lessons"]
    if missing := sorted(NEEDED_TABLES - tables.keys()):
        return Check("row security", "failed", f"there is no {', '.join(missing)}", REAPPLY)
    if unprotected := sorted(name for name, is_on in tables.items() if not is_on):
        unprotected = [lessons if name == "lessons" else name for name in unprotected]
        advice = "Run: alter table ... enable row level security. Add the app's policies first."
        return Check("row security", "failed", f"is off on {', '.join(unprotected)}", advice)
    return Check(
        "row security", "ok", f"is on for {lessons} and all {len(tables) - 1} of the worker's"
    )


def check_schedule(facts: Facts) -> Check:
    """Check that the schedule has what waits, and nothing else."""
    gaps: Mapping[str, Any] | None = facts["schedule"]
    if gaps is None:
        return Check("schedule", "skipped", "there is no mux_asset_tracking")
    at_least = "" if gaps["is_complete"] else "at least "
    details = [
        f"{at_least}{count} {problem}"
        for count, problem in (
            (gaps["unscheduled"], "rows of mux_asset_tracking wait and are not in the schedule"),
            (gaps["unneeded"], "rows of the schedule belong to no waiting row"),
        )
        if count
    ]
    if details:
        advice = (
            "The adoption of a running worker corrects this within minutes. If it persists, look "
            "for adoption.failed in the log, and apply sql/058_earlier_uploads.sql again."
        )
        return Check("schedule", "warning", "; ".join(details), advice)
    return Check("schedule", "ok", "has what waits and nothing else")


def check_clock(facts: Facts, now: float) -> Check:
    """Compare this machine's clock with the database's, which alone counts ages."""
    apart = abs(float(facts["database_time"]) - now)
    if apart > MAX_CLOCK_DIFFERENCE_SECONDS:
        detail = f"differs from the database's by {apart:.0f} s"
        return Check("clock", "warning", detail, "Set this machine's clock by NTP.")
    return Check("clock", "ok", f"differs from the database's by {apart:.1f} s")


def check_environment(
    environment: Environment, recorded_environment: str | None, known: int, asked: int
) -> Check:
    """Check that the token belongs to the environment that the app uploads to.

    In the recorded environment, where tracked ids were last found, an unknown id was deleted: Mux
    deletes its test assets after a day.
    """
    name = f"{environment.name} ({environment.type}, {environment.id})"
    if asked and not known and recorded_environment == environment.id:
        detail = f"{name} knows none of the last {asked} uploads, but knew earlier ones"
        advice = "Check whether they were deleted in Mux."
        return Check("Mux environment", "warning", detail, advice)
    if asked and not known:
        advice = "Use a token of the environment that the app uploads to."
        return Check("Mux environment", "failed", f"{name} knows none of the tracked ids", advice)
    if recorded_environment not in (None, environment.id):
        detail = f"{name}; ids were last found in {recorded_environment}"
        return Check("Mux environment", "warning", detail, "Check that this is intended.")
    if asked:
        return Check("Mux environment", "ok", f"{name} knows {known} of the last {asked} uploads")
    return Check("Mux environment", "ok", f"{name}; there is no upload to look up yet")


def check_rate_limit(limit: str | None, remaining: str | None) -> Check:
    """Check how many requests Mux's headers say are left."""
    if limit is None or remaining is None:
        return Check("Mux rate limit", "skipped", "Mux did not report it")
    if remaining == "0":
        advice = "Something else uses this token or environment: give the worker its own."
        return Check("Mux rate limit", "warning", f"no requests left of {limit}", advice)
    return Check("Mux rate limit", "ok", f"{remaining} of {limit} left")
