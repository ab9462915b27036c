"""Turn the error responses of Supabase into exceptions: one table of its error codes."""

import math
import re
from typing import NamedTuple

from worker.errors import (
    SchemaOutdated,
    StatementTimeout,
    SupabaseBusy,
    SupabaseNeedsOperator,
    SupabaseUnavailable,
    Unavailable,
)
from worker.retry import MAX_ATTEMPTS

REQUIRED_SCHEMA = 1
"""The version of sql/ that this worker needs; 910_snapshot.sql says which one sql/ is."""

_CODE = re.compile(r"PGRST\w+|[0-9A-Z]{5}|connection")
"""A code of PostgREST, an SQLSTATE, or our own code for a broken connection."""


class _Rule(NamedTuple):
    """What some codes mean, if `words`, a regular expression, matches the error's text too."""

    codes: str
    error: type[SupabaseUnavailable]
    sentence: str
    reason: str = ""
    """One word for log and metric; if it is empty, the code."""

    words: str = ""


_DISK = "Free disk space, or increase the disk size in the dashboard's database settings."
_KEY = (
    "Supabase refuses SUPABASE_SERVICE_ROLE_KEY ({message}). Set the project's service_role or "
    "secret key, or a new one of the role mux_worker, and restart the worker."
)
_API_KEY = (
    "Supabase refuses the API key ({message}). Check SUPABASE_SERVICE_ROLE_KEY, and "
    "SUPABASE_PUBLISHABLE_KEY if the former is of the role mux_worker. Then restart the worker."
)
_LOGIN = (
    "The database refuses the login of PostgREST ({message}). Restart the project in the "
    "dashboard; if that does not help, contact Supabase's support."
)
_FAILED = "Supabase failed {function} ({message})."

_RULES = (
    # Transient within seconds, and retried for that long.
    _Rule(
        "40001|40P01|55P03",  # serialization failure, deadlock, lock timeout
        SupabaseBusy,
        "{function} conflicts with other transactions ({message}).",
    ),
    # Supabase's gateway makes a token for each request, and PostgREST's clock may be behind:
    # https://github.com/PostgREST/postgrest/issues/5196. PostgREST 12 answers with PGRST301.
    _Rule(
        "PGRST30[13]",
        SupabaseBusy,
        "The clocks within Supabase differ ({message}). If this lasts, contact Supabase's support.",
        "clock_skew",
        words="(?i)issued ?at ?future|not ?yet ?valid",
    ),
    # A smaller batch may avoid it.
    _Rule("57014", StatementTimeout, "{function} exceeds the statement timeout."),
    # Permanent until an operator acts. PostgREST: docs.postgrest.org/en/stable/references/errors
    _Rule(
        "PGRST106",
        SupabaseNeedsOperator,
        "The Data API does not expose the schema public. Add public to the exposed schemas in the "
        "dashboard's API settings.",
        "schema_not_exposed",
    ),
    _Rule(
        "PGRST202|42883",  # the latter until PostgREST notices that the function is missing
        SchemaOutdated,
        "The database has no function {function}. Apply all files of sql/ again, in order; if you "
        "have just done that, wait until PostgREST notices.",
        "function_missing",
        words=r"Could not find|^function public\.worker_",
    ),
    _Rule(
        "PGRST203",
        SupabaseNeedsOperator,
        "The database has more than one function {function}. Drop or rename those that sql/ did "
        "not create.",
        "function_ambiguous",
    ),
    _Rule(
        "PGRST300",
        SupabaseNeedsOperator,
        "PostgREST has no JWT secret. Restart the project in the dashboard; where you run "
        "PostgREST yourself, set PGRST_JWT_SECRET.",
        "jwt_secret_missing",
    ),
    _Rule("401", SupabaseNeedsOperator, _API_KEY, "unauthorized", words="(?i)api key"),
    _Rule("PGRST30[123]|401", SupabaseNeedsOperator, _KEY, "unauthorized"),
    _Rule(
        "22023|42501",
        SupabaseNeedsOperator,
        "Supabase cannot use the role of SUPABASE_SERVICE_ROLE_KEY ({message}). If it is "
        "mux_worker, apply sql/optional/worker_role.sql.",
        "unauthorized",
        words="^role .* does not exist|permission denied to set role",
    ),
    _Rule(
        "PGRST[12]..",
        SupabaseNeedsOperator,
        "PostgREST does not accept the call of {function} ({message}). Check that SUPABASE_URL is "
        "the project's address, and update the worker.",
    ),
    _Rule(
        "PGRST000",
        SupabaseNeedsOperator,
        _LOGIN,
        "database_login",
        words="authentication failed|database .* does not exist",
    ),
    # Postgres: https://www.postgresql.org/docs/current/errcodes-appendix.html
    _Rule("28...|3D000|57P04", SupabaseNeedsOperator, _LOGIN, "database_login"),
    _Rule(
        "25006",
        SupabaseNeedsOperator,
        "The database is read-only, as Supabase makes it when its disk is full. " + _DISK,
        "read_only",
    ),
    _Rule(
        "53100",
        SupabaseNeedsOperator,
        "The database's disk is full. " + _DISK,
        "disk_full",
    ),
    _Rule(
        "42501",
        SupabaseNeedsOperator,
        "The key may not call {function} ({message}). Apply the files of sql/ again, in order; if "
        "it is of the role mux_worker, sql/optional/worker_role.sql as well.",
        "forbidden",
    ),
    # Transient: connections, resources, restarts, stale plans and prepared statements.
    _Rule(
        "08...|25P..|40...|53...|55...|57...|58...|XX...|0A000|26000|42P05",
        SupabaseUnavailable,
        _FAILED,
    ),
    _Rule(
        "21000|3F000|42...|PT...",  # PT…: raised by functions of sql/ for wrong parameters
        SupabaseNeedsOperator,
        "{function} does not fit the database ({message}). Apply the files of sql/ of this version "
        "again, in order.",
    ),
    _Rule(
        "[0-9A-Z]{5}",
        SupabaseNeedsOperator,
        "The database refuses {function} ({message}). Correct the trigger or constraint behind it.",
    ),
    _Rule(
        "PGRST002",
        SupabaseUnavailable,
        "PostgREST is loading its schema cache. If this lasts, check that every exposed schema in "
        "the dashboard's API settings exists.",
    ),
    # The gateway: https://supabase.com/docs/guides/platform/http-status-codes
    _Rule(
        "402",
        SupabaseNeedsOperator,
        "Supabase has restricted the project ({message}). Upgrade the plan, remove the spend cap "
        "or pay the overdue bill in the dashboard.",
        "restricted",
    ),
    _Rule(
        "403",
        SupabaseNeedsOperator,
        "Supabase denies the worker access ({message}). Check SUPABASE_SERVICE_ROLE_KEY, and any "
        "proxy or firewall before Supabase.",
        "forbidden",
    ),
    _Rule(
        "540",
        SupabaseNeedsOperator,
        "The Supabase project is paused. Restore it in the dashboard.",
        "paused",
    ),
    _Rule(
        "3..|400|404|405|406|410|415|421|426|501",
        SupabaseNeedsOperator,
        "The server at SUPABASE_URL is not a Supabase project ({message}). Set it to "
        "https://<ref>.supabase.co, with the project's ref.",
        "wrong_address",
    ),
    _Rule(
        "52.|530",
        SupabaseUnavailable,
        "Supabase's gateway cannot reach the project ({message}). If this lasts, restart the "
        "project in the dashboard.",
    ),
    _Rule(
        "connection",
        SupabaseNeedsOperator,
        "The certificate at SUPABASE_URL is not accepted ({message}). Check SUPABASE_URL, and any "
        "proxy before Supabase.",
        "certificate",
        words="(?i)certificate.verify.failed",
    ),
    _Rule(
        "connection",
        SupabaseNeedsOperator,
        "The host of SUPABASE_URL does not exist. Correct SUPABASE_URL; if the project is paused, "
        "restore it in the dashboard.",
        "no_such_host",
        # EAI_NONAME and EAI_NODATA as glibc, musl and macOS word them.
        words="Name or service not known|Name does not resolve|nodename nor servname|No address",
    ),
    _Rule("connection", SupabaseUnavailable, "Supabase did not answer: {message}."),
    _Rule(".*", SupabaseUnavailable, _FAILED),
)
"""The first rule that matches applies."""


def error_for(
    function: str, code: str | None, status: int, message: str, details: str = ""
) -> SupabaseUnavailable:
    """Return the exception for an error response to the call of a function.

    A response without a code comes from the gateway or something in front of it, and is classified
    by its HTTP status.
    """
    code = code if code and _CODE.fullmatch(code) else str(status)
    text = f"{message} {details}"
    rule = next(r for r in _RULES if re.fullmatch(r.codes, code) and re.search(r.words, text))
    sentence = rule.sentence.format(function=function, message=_with_code(code, message))
    return rule.error(rule.reason or code, sentence)


def _with_code(code: str, message: str) -> str:
    """Return the message with the code before it, unless the code is our own."""
    message = message.strip().removesuffix(".")
    return message if code == "connection" else f"{code}: {message}"


def max_attempts(error: Unavailable) -> float:
    """Return how often a call is sent at most, by the error of the last attempt."""
    if isinstance(error, SupabaseBusy):
        return math.inf  # until the deadline
    if isinstance(error, SchemaOutdated):
        return MAX_ATTEMPTS  # PostgREST may not have noticed a new function yet
    return 1 if isinstance(error, StatementTimeout | SupabaseNeedsOperator) else MAX_ATTEMPTS
