"""The doctor's checks of grants: who may call which function and see which table. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.doctor.checks import REAPPLY, Check, Facts, reapply_advice
from worker.project_key import WORKER_ROLE

NEEDED_FUNCTIONS = frozenset(
    f"worker_{what}"
    for what in (
        *("claim", "doctor", "prune_events", "record_refusal", "release"),
        *("schema_version", "settle", "acquire_requests", "slow_down"),
        *("note_events", "summary"),
        *("adopt", "backfill_begin", "backfill_candidates", "backfill_end"),
        *("backfill_failures", "backfill_progress", "untracked"),
        *("find_lessons", "lesson", "publish", "retry"),
        *("failures", "list_lessons", "overview", "lesson_events", "make_due"),
    )
)
CALLED_AS_USER = {"is_owner", "lesson_key"}  # by the policies and by track_upload
OPEN_TO_APP = frozenset(
    {"check_asset_status", "publish_lesson", "track_upload"}
    | {"app_check_status", "app_lock_lesson", "app_publish", "app_track_upload"}
)
"""What signed-in users may call: the app's three functions, and the private ones they use."""

OPEN_WITHOUT_OWNER = frozenset(
    {"track_upload", "app_check_status", "app_lock_lesson", "app_track_upload"}
)
"""What the service role may call instead, where lessons have no owner (`--owner none`)."""

RENAME = "Rename or drop the app's functions, and change their callers."


def check_functions(facts: Facts) -> Check:
    """Check that each function exists, and that only the worker's roles may call it."""
    functions = [f for f in facts["functions"] if not f["is_for_app"]]
    role = facts["role"] if facts["role"] == WORKER_ROLE else "service_role"
    problems = {
        "missing": sorted(NEEDED_FUNCTIONS - {f["name"] for f in functions}),
        f"closed to {role}": _named(functions, lambda f: not f[role] and not f["is_trigger"]),
        "open to browsers": _named(
            functions,
            lambda f: f["anon"] or (f["authenticated"] and f["name"] not in CALLED_AS_USER),
        ),
        "created by the app with a name of the worker's": facts["functions_of_the_app"],
    }
    alone = "service_role alone"
    if role == WORKER_ROLE:
        alone = f"service_role and {role} alone"
    good = f"all {len(functions)} are for {alone}"
    reapply = reapply_advice(facts)
    advice = f"{RENAME} {reapply}" if facts["functions_of_the_app"] else reapply
    return _check_grants("functions", functions, problems, good, advice)


def check_app_functions(facts: Facts) -> Check:
    """Check that signed-in users alone may call the app's functions, or else the service role."""
    functions = [f for f in facts["functions"] if f["is_for_app"]]
    if not functions:
        detail = "the database has none of track_upload, check_asset_status, publish_lesson"
        return Check("app functions", "warning", detail, f"{REAPPLY} An app may do without them.")
    role, open_to_it = "authenticated", OPEN_TO_APP
    good = "the app's three are for signed-in users"
    if _is_without_owner(functions):
        role, open_to_it = "service_role", OPEN_WITHOUT_OWNER
        good = "track_upload is for service_role, since lessons have no owner"
    problems = {
        "missing": sorted(OPEN_TO_APP - {f["name"] for f in functions}),
        f"closed to {role}": _named(functions, lambda f: f["name"] in open_to_it and not f[role]),
        "open to anon": _named(functions, lambda f: f["anon"]),
        f"open to {WORKER_ROLE}": _named(functions, lambda f: f[WORKER_ROLE]),
        "not closed": _named(
            functions,
            lambda f: f["name"] not in OPEN_TO_APP and (f["authenticated"] or f["service_role"]),
        ),
    }
    return _check_grants("app functions", functions, problems, good)


def _is_without_owner(functions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether sql/ has granted what the app calls to the service role, and nothing to users."""
    of_service = any(f["name"] == "track_upload" and f["service_role"] for f in functions)
    return of_service and not any(f["authenticated"] for f in functions)


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
