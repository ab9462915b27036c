"""Tell from PostgREST's code what is wrong with a call to the database. Pure."""

from worker.errors import SchemaOutdated, StatementTimeout, SupabaseUnavailable

_PASSING = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock timeout: the same call, repeated, will pass."""

_UNAUTHORIZED = frozenset({"401", "PGRST301", "PGRST302", "PGRST303"})
_FORBIDDEN = frozenset({"403", "42501"})


class _Conflict(SupabaseUnavailable):
    """Others were in the way; the database undid the call."""


def fault_of(code: str, message: str, function: str, needed_file: str) -> SupabaseUnavailable:
    """Give the fault that a code of PostgREST or Postgres stands for."""
    if code in _PASSING:
        return _Conflict(code, f"{function} met others at work: {message}")
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
    if code == "PGRST202":
        return SchemaOutdated(
            "function_missing",
            f"The database has no function {function}: apply sql/ up to {needed_file}.sql. "
            "If that was done just now, PostgREST is about to notice.",
        )
    return SupabaseUnavailable(code or "gateway", f"Supabase failed {function}: {message}")
