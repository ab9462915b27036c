"""Judge the facts that the doctor finds: one check each, with what to do where it fails. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from worker.model import Environment

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
OPEN_TO_APP = frozenset(
    {"check_asset_status", "publish_lesson", "track_upload"}
    | {"app_lock_lesson", "app_publish", "app_track_upload"}
)
"""What signed-in users may call: the app's three functions, and the private ones behind them."""

MUX_READS_PER_SECOND = 5
"""What Mux allows an environment: https://www.mux.com/docs/core/make-api-requests."""

WORST_CLOCK_SECONDS = 30.0
REAPPLY = "Apply the files of sql/ again, in order, as the owner of lessons."
RENAME = "Rename or drop what the app made, and change what calls it."
MOST_LISTED = 12
"""So many differences are listed; with more, something larger is wrong than each of them."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, what was seen, and what to do about it."""

    name: str
    health: Health
    seen: str
    advice: str = ""

    def without(self, secrets: Iterable[str]) -> Self:
        """Take out secrets, which a service may repeat, and what would steer a terminal."""

        def clean(text: str) -> str:
            for secret in sorted(filter(None, secrets), key=len, reverse=True):
                text = text.replace(secret, "***")
            return "".join(c if c.isprintable() else "?" for c in text)

        return replace(self, seen=clean(self.seen), advice=clean(self.advice))


def check_pace(requests_per_second: float, lease_seconds: float, timeout_seconds: float) -> Check:
    """Judge the settings that are allowed and yet unwise."""
    seen, advice = [], []
    if requests_per_second > MUX_READS_PER_SECOND:
        seen.append(f"MUX_REQUESTS_PER_SECOND is {requests_per_second:g}, Mux allows 5 to all")
        advice.append("Set MUX_REQUESTS_PER_SECOND to 4 or less.")
    if lease_seconds < 2 * timeout_seconds:
        seen.append(f"LEASE_SECONDS is {lease_seconds:g}, two slow answers of Mux take longer")
        advice.append("Set LEASE_SECONDS to at least twice MUX_TIMEOUT_SECONDS.")
    if seen:
        return Check("settings", "warning", "; ".join(seen), " ".join(advice))
    return Check("settings", "ok", "all required ones are there, none is odd")


def check_role(facts: Facts) -> Check:
    """Judge whose key it is; the anon key is the classic mix-up."""
    role = facts["role"]
    if role != "service_role":
        advice = "Set SUPABASE_SERVICE_ROLE_KEY to the service_role or secret key."
        return Check("key", "failed", f"of the role {role}", advice)
    if not facts["passes_row_security"]:
        advice = "alter role service_role bypassrls, as Supabase has it."
        return Check("key", "failed", "service_role sees no lessons of others", advice)
    return Check("key", "ok", "accepted, of the role service_role")


def check_schema(facts: Facts, needed: str, files: Sequence[str]) -> Check:
    """Judge whether all files of sql/ that this version needs are applied."""
    applied = facts["schema_version"] or "000"
    if applied < needed:
        advice = f"Apply the files after {applied}.sql up to {needed}.sql, then the last one again."
        return Check("schema", "failed", f"sql/ is applied only up to {applied}.sql", advice)
    seen = f"sql/ is applied up to {applied}.sql"
    if missing := sorted(set(files) - set(facts["applied_files"])):
        named = ", ".join(f"{name}.sql" for name in missing)
        return Check("schema", "failed", f"{seen}, but without {named}", REAPPLY)
    return Check("schema", "ok", seen)


def check_objects(facts: Facts) -> Check:
    """Judge whether the catalog still is as sql/ made it."""
    if not facts["has_snapshot"]:
        return Check("objects", "skipped", "there is no snapshot to compare with")
    if differences := facts["differences"]:
        listed = differences[:MOST_LISTED]
        if more := len(differences) - len(listed):
            listed.append(f"and {more} more")
        advice = f"{REAPPLY} If the change is intended, apply only sql/900_snapshot.sql."
        return Check("objects", "failed", "; ".join(listed), advice)
    return Check("objects", "ok", "are as sql/ made them")


def check_lessons(facts: Facts) -> Check:
    """Judge the app's own table, which may have changed since sql/ was applied."""
    if problems := facts["lessons_problems"]:
        advice = "Change the table: the worker cannot publish its lessons as it is."
        return Check("lessons", "failed", "; ".join(problems), advice)
    if not facts["lessons_may_be_used"]:
        return Check("lessons", "failed", "service_role may not read it or write its ids", REAPPLY)
    return Check("lessons", "ok", "has what the worker needs, and may be written")


def check_row_security(facts: Facts) -> Check:
    """Judge whether a table is open to everybody who has the anon key."""
    tables: Mapping[str, bool] = facts["row_level_security"]
    if missing := sorted(NEEDED_TABLES - tables.keys()):
        return Check("row security", "failed", f"there is no {', '.join(missing)}", REAPPLY)
    if unprotected := sorted(name for name, is_on in tables.items() if not is_on):
        advice = "alter table ... enable row level security, with the app's policies in place."
        return Check("row security", "failed", f"is off on {', '.join(unprotected)}", advice)
    return Check(
        "row security", "ok", f"is on for lessons and all {len(tables) - 1} of the worker's"
    )


def check_functions(facts: Facts) -> Check:
    """Judge whether each function is there, for the service role and nobody else."""
    functions = [f for f in facts["functions"] if not f["is_for_app"]]
    faults = {
        "missing": sorted(NEEDED_FUNCTIONS - {f["name"] for f in functions}),
        "closed to service_role": _named(
            functions, lambda f: not f["service_role"] and not f["is_trigger"]
        ),
        "open to browsers": _named(functions, lambda f: f["anon"] or f["authenticated"]),
        "made by the app, under a name of the worker's": facts["functions_of_the_app"],
    }
    good = f"all {len(functions)} are for service_role alone"
    advice = f"{RENAME} {REAPPLY}" if facts["functions_of_the_app"] else REAPPLY
    return _check_grants("functions", functions, faults, good, advice)


def check_app_functions(facts: Facts) -> Check:
    """Judge whether signed-in users, and nobody else, may call what the app calls for them."""
    functions = [f for f in facts["functions"] if f["is_for_app"]]
    if not functions:
        seen = "the database has none of track_upload, check_asset_status, publish_lesson"
        return Check("app functions", "warning", seen, f"{REAPPLY} An app may do without them.")
    faults = {
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
    return _check_grants("app functions", functions, faults, good)


def _check_grants(
    name: str,
    functions: Sequence[Mapping[str, Any]],
    faults: Mapping[str, Sequence[str]],
    good: str,
    advice: str = REAPPLY,
) -> Check:
    """Fail over any fault; warn of a role of the DBA's own, which somebody may have meant."""
    seen = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
    if seen:
        return Check(name, "failed", seen, advice)
    if also := _named(functions, lambda f: f["others"]):
        roles = ", ".join(sorted({role for f in functions for role in f["others"]}))
        unless = "revoke execute on them, unless it is meant."
        return Check(name, "warning", f"open to {roles} too: {', '.join(also)}", unless)
    return Check(name, "ok", good)


def _named(
    functions: Sequence[Mapping[str, Any]], which: Callable[[Mapping[str, Any]], Any]
) -> list[str]:
    return [f["name"] for f in functions if which(f)]


def check_anon(facts: Facts) -> Check:
    """Judge what those who are not logged in may see and call of the worker's."""
    schemas = [f"mux_private ({role})" for role in facts["private_schema_open_to"]]
    callable_ = [f"{f['name']}()" for f in facts["functions"] if f["anon"]]
    if granted := [*facts["open_to_anon"], *callable_, *schemas]:
        return Check("anon", "failed", f"is granted something on {', '.join(granted)}", REAPPLY)
    return Check("anon", "ok", "may see and call nothing of the worker's")


def check_clock(facts: Facts, now: float) -> Check:
    """Judge this machine's clock; ages are counted by the database's all the same."""
    apart = abs(float(facts["database_time"]) - now)
    if apart > WORST_CLOCK_SECONDS:
        seen = f"differs from the database's by {apart:.0f} s"
        return Check("clock", "warning", seen, "Set this machine's clock by NTP.")
    return Check("clock", "ok", f"differs from the database's by {apart:.1f} s")


def check_environment(environment: Environment, home: str | None, known: int, asked: int) -> Check:
    """Judge whether the token belongs to the environment that the app uploads to.

    `home` is where our ids were last found. There, an id that is gone was deleted: Mux deletes
    its test assets after a day.
    """
    name = f"{environment.name} ({environment.type}, {environment.id})"
    if asked and not known and home == environment.id:
        seen = f"{name} knows none of our last {asked} uploads, and did know others"
        return Check("Mux environment", "warning", seen, "Were they deleted in Mux?")
    if asked and not known:
        advice = "Use a token of the environment that the app uploads to."
        return Check("Mux environment", "failed", f"{name} knows none of our ids", advice)
    if home is not None and home != environment.id:
        seen = f"{name}; ids were last found in {home}"
        return Check("Mux environment", "warning", seen, "Make sure that this is meant.")
    if asked:
        return Check("Mux environment", "ok", f"{name} knows {known} of our last {asked} uploads")
    return Check("Mux environment", "ok", f"{name}; there is no upload yet to look for")


def check_rate_limit(limit: str | None, remaining: str | None) -> Check:
    """Judge what is left of the limit right now, by Mux's own headers."""
    if limit is None or remaining is None:
        return Check("Mux rate limit", "skipped", "Mux did not say")
    if remaining == "0":
        advice = "Something else uses this token or environment: give the worker its own."
        return Check("Mux rate limit", "warning", f"nothing is left of {limit}", advice)
    return Check("Mux rate limit", "ok", f"{remaining} of {limit} left")
