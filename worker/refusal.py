"""What an error of Supabase's means for the worker, by its code: the status says too little."""

from worker.errors import SchemaOutdated, StatementTimeout, SupabaseUnavailable

REQUIRED_FILE = "016_status_page"
"""The last file of sql/ that this worker needs applied."""

_PASSING = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock timeout: the same call, repeated, will pass."""

_UNAUTHORIZED = frozenset({"401", "PGRST301", "PGRST302", "PGRST303"})
_FORBIDDEN = frozenset({"403", "42501"})


class Conflict(SupabaseUnavailable):
    """Others were in the way; the database undid the call."""


def refusal(code: str, message: str, function: str) -> SupabaseUnavailable:  # noqa: PLR0911  # a table
    """Give our error for PostgREST's, about a call of a function."""
    if code in _PASSING:
        return Conflict(code, f"{function} met others at work: {message}")
    if code == "57014":
        return StatementTimeout(code, f"{function} exceeds the statement timeout.")
    if code in _UNAUTHORIZED or "API key" in message:
        return SupabaseUnavailable(
            "unauthorized",
            f"Supabase refuses SUPABASE_SERVICE_ROLE_KEY ({message}): set the right one and start "
            "the worker anew.",
        )
    if code in _FORBIDDEN:
        return SupabaseUnavailable(
            "forbidden", f"The key may not call {function}, was sql/ applied whole? {message}"
        )
    if code == "21000":  # of Supabase's safeupdate; refused again until sql/ is another
        advice = "Apply the files of sql/ from this version again, in order."
        return SchemaOutdated(code, f"Supabase refuses {function}: {message}. {advice}")
    if code == "PGRST202":
        return SchemaOutdated(
            "function_missing",
            f"The database has no function {function}: apply sql/ up to {REQUIRED_FILE}.sql. "
            "If that was done just now, PostgREST is about to notice.",
        )
    return SupabaseUnavailable(code or "gateway", f"Supabase failed {function}: {message}")


def will_not_pass(error: BaseException | None) -> bool:
    """Tell whether the same call at once would fail again: too large, or somebody has to act."""
    return isinstance(error, StatementTimeout) or (
        isinstance(error, SupabaseUnavailable)
        and error.needs_somebody
        and error.reason != "function_missing"
    )
