"""The checks of the doctor: each turns facts into a result, with advice where it fails. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from worker.model import Environment
from worker.text import plain_id

Health = Literal["ok", "warning", "failed", "skipped"]
Facts = Mapping[str, Any]

NEEDED_TABLES = frozenset({"lessons", "mux_asset_tracking", "mux_asset_events"})
NEEDED_FUNCTIONS = frozenset(
    f"worker_{what}"
    for what in (
        *("claim", "doctor", "prune_events", "record_refusal", "release"),
        *("schema_version", "settle", "acquire_requests", "slow_down"),
        *("note_events", "summary", "take_note"),
        *("adopt", "backfill_begin", "backfill_findings", "backfill_note", "legacy_lessons"),
        *("rivals", "untracked", "find_lessons", "lesson", "publish", "retry", "status"),
        *("overview", "lesson_events", "make_due"),
    )
)
CALLED_AS_USER = {"is_owner", "lesson_key"}  # by the policies and by track_upload
OPEN_TO_APP = frozenset(
    {"check_asset_status", "publish_lesson", "track_upload"}
    | {"app_check_status", "app_lock_lesson", "app_publish", "app_track_upload"}
)
"""What signed-in users may call: the app's three functions, and the private ones they use."""

MUX_READS_PER_SECOND = 5  # https://www.mux.com/docs/core/make-api-requests

MAX_CLOCK_DIFFERENCE_SECONDS = 30.0
REAPPLY = "Apply the files of sql/ again, in order, as the owner of lessons."
RENAME = "Rename or drop the app's functions, and change their callers."
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


def check_role(facts: Facts) -> Check:
    """Check the role of the key; the anon key is the usual mistake."""
    role = facts["role"]
    if role != "service_role":
        advice = "Set SUPABASE_SERVICE_ROLE_KEY to the service_role or secret key."
        return Check("key", "failed", f"belongs to the role {role}", advice)
    if not facts["passes_row_security"]:
        advice = "Run: alter role service_role bypassrls. It is Supabase's default."
        return Check("key", "failed", "service_role is subject to row level security", advice)
    return Check("key", "ok", "accepted, belongs to the role service_role")


def check_schema(facts: Facts, needed: str, files: Sequence[str]) -> Check:
    """Check that all files of sql/ that this version needs are applied."""
    applied = facts["schema_version"] or "000"
    if applied < needed:
        advice = f"Apply the files after {applied}.sql up to {needed}.sql, then the last one again."
        return Check("schema", "failed", f"sql/ is applied only up to {applied}.sql", advice)
    detail = f"sql/ is applied up to {applied}.sql"
    if missing := sorted(set(files) - set(facts["applied_files"])):
        named = ", ".join(f"{name}.sql" for name in missing)
        return Check("schema", "failed", f"{detail}, but without {named}", REAPPLY)
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
    if problems := facts["lessons_problems"]:
        advice = "Change the table: the worker cannot publish its lessons as it is."
        return Check("lessons", "failed", "; ".join(problems), advice)
    if not facts["lessons_may_be_used"]:
        return Check("lessons", "failed", "service_role cannot read it or write its ids", REAPPLY)
    return Check("lessons", "ok", "has all needed columns, and can be written")


def check_row_security(facts: Facts) -> Check:
    """Check that row level security is on, so that the anon key reads no table."""
    tables: Mapping[str, bool] = facts["row_level_security"]
    if missing := sorted(NEEDED_TABLES - tables.keys()):
        return Check("row security", "failed", f"there is no {', '.join(missing)}", REAPPLY)
    if unprotected := sorted(name for name, is_on in tables.items() if not is_on):
        advice = "Run: alter table ... enable row level security. Add the app's policies first."
        return Check("row security", "failed", f"is off on {', '.join(unprotected)}", advice)
    return Check(
        "row security", "ok", f"is on for lessons and all {len(tables) - 1} of the worker's"
    )


def check_functions(facts: Facts) -> Check:
    """Check that each function exists, and that only the service role may call it."""
    functions = [f for f in facts["functions"] if not f["is_for_app"]]
    problems = {
        "missing": sorted(NEEDED_FUNCTIONS - {f["name"] for f in functions}),
        "closed to service_role": _named(
            functions, lambda f: not f["service_role"] and not f["is_trigger"]
        ),
        "open to browsers": _named(
            functions,
            lambda f: f["anon"] or (f["authenticated"] and f["name"] not in CALLED_AS_USER),
        ),
        "created by the app with a name of the worker's": facts["functions_of_the_app"],
    }
    good = f"all {len(functions)} are for service_role alone"
    advice = f"{RENAME} {REAPPLY}" if facts["functions_of_the_app"] else REAPPLY
    return _check_grants("functions", functions, problems, good, advice)


def check_app_functions(facts: Facts) -> Check:
    """Check that signed-in users, and no other role, may call the app's functions."""
    functions = [f for f in facts["functions"] if f["is_for_app"]]
    if not functions:
        detail = "the database has none of track_upload, check_asset_status, publish_lesson"
        return Check("app functions", "warning", detail, f"{REAPPLY} An app may do without them.")
    problems = {
        "missing": sorted(OPEN_TO_APP - {f["name"] for f in functions}),
        "closed to authenticated": _named(
            functions, lambda f: f["name"] in OPEN_TO_APP and not f["authenticated"]
        ),
        "open to anon": _named(functions, lambda f: f["anon"]),
        "not closed": _named(
            functions,
            lambda f: f["name"] not in OPEN_TO_APP and (f["authenticated"] or f["service_role"]),
        ),
    }
    good = "the app's three are for signed-in users"
    return _check_grants("app functions", functions, problems, good)


def _check_grants(
    name: str,
    functions: Sequence[Mapping[str, Any]],
    problems: Mapping[str, Sequence[str]],
    good: str,
    advice: str = REAPPLY,
) -> Check:
    """Fail for any problem; warn of further roles, which may be intended."""
    detail = "; ".join(
        f"{problem}: {', '.join(names)}" for problem, names in problems.items() if names
    )
    if detail:
        return Check(name, "failed", detail, advice)
    if also := _named(functions, lambda f: f["others"]):
        roles = ", ".join(sorted({role for f in functions for role in f["others"]}))
        advice = "Revoke execute on them, unless it is intended."
        return Check(name, "warning", f"open to {roles} too: {', '.join(also)}", advice)
    return Check(name, "ok", good)


def _named(
    functions: Sequence[Mapping[str, Any]], which: Callable[[Mapping[str, Any]], Any]
) -> list[str]:
    return [f["name"] for f in functions if which(f)]


def check_anon(facts: Facts) -> Check:
    """Check that users who are not signed in can see and call nothing of the worker's."""
    schemas = [f"mux_private ({role})" for role in facts["private_schema_open_to"]]
    callable_ = [f"{f['name']}()" for f in facts["functions"] if f["anon"]]
    if granted := [*facts["open_to_anon"], *callable_, *schemas]:
        return Check("anon", "failed", f"has grants on {', '.join(granted)}", REAPPLY)
    return Check("anon", "ok", "can see and call nothing of the worker's")


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
