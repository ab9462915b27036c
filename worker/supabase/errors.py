"""Sort what Supabase answers in place of a result: one table of its errors, by their codes."""

import re
from typing import NamedTuple

from worker.errors import (
    SchemaOutdated,
    StatementTimeout,
    SupabaseBusy,
    SupabaseNeedsOperator,
    SupabaseUnavailable,
)

REQUIRED_FILE = "016_status_page"
"""The last file of sql/ that this worker needs applied."""

_CODE = re.compile(r"PGRST\w+|[0-9A-Z]{5}|connection")
"""A code of PostgREST's, an SQLSTATE, or ours for an exchange that broke off."""


class _Rule(NamedTuple):
    """What a code means; `words`, where there are any, must occur in what was said."""

    codes: str
    fault: type[SupabaseUnavailable]
    sentence: str
    reason: str = ""
    """One word for log and metric; the code itself where there is none."""

    words: str = ""


_DISK = "Free disk space, or increase the disk size in the dashboard's database settings."
_KEY = (
    "Supabase refuses SUPABASE_SERVICE_ROLE_KEY ({message}). Set the project's service_role or "
    "secret key, and restart the worker."
)
_LOGIN = (
    "The database refuses the login of PostgREST ({message}). Restart the project in the "
    "dashboard; if that does not help, ask Supabase's support."
)
_FAILED = "Supabase failed {function} ({message})."

_RULES = (
    # What passes within seconds, and is repeated for that long.
    _Rule(
        "40001|40P01|55P03",  # serialization failure, deadlock, lock timeout
        SupabaseBusy,
        "{function} conflicts with other transactions ({message}).",
    ),
    # A token that Supabase's gateway makes for each request, and PostgREST's clock is behind:
    # https://github.com/PostgREST/postgrest/issues/5196. PostgREST 12 answers PGRST301.
    _Rule(
        "PGRST30[13]",
        SupabaseBusy,
        "The clocks within Supabase differ ({message}). If this lasts, ask Supabase's support.",
        "clock_skew",
        words="(?i)issued ?at ?future|not ?yet ?valid",
    ),
    # What the same call in smaller pieces may avoid.
    _Rule("57014", StatementTimeout, "{function} exceeds the statement timeout."),
    # What lasts until an operator acts. PostgREST: docs.postgrest.org/en/stable/references/errors
    _Rule(
        "PGRST106",
        SupabaseNeedsOperator,
        "The Data API does not expose the schema public. Add public to the exposed schemas in the "
        "dashboard's API settings.",
        "schema_not_exposed",
    ),
    _Rule(
        "PGRST202|42883",  # the latter while PostgREST does not know yet that it is gone
        SchemaOutdated,
        f"The database has no function {{function}}: apply sql/ up to {REQUIRED_FILE}.sql. "
        "If that was done just now, PostgREST is about to notice.",
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
    _Rule("PGRST30[123]|401", SupabaseNeedsOperator, _KEY, "unauthorized"),
    _Rule("22023", SupabaseNeedsOperator, _KEY, "unauthorized", words="^role .* does not exist"),
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
        "The key may not call {function} ({message}). Apply the files of sql/ again, in order.",
        "forbidden",
    ),
    # What passes: connections, resources, restarts, plans and prepared statements that are stale.
    _Rule(
        "08...|25P..|40...|53...|55...|57...|58...|XX...|0A000|26000|42P05",
        SupabaseUnavailable,
        _FAILED,
    ),
    _Rule(
        "21000|3F000|42...|PT...",  # PT…: raised by functions of sql/, of wrong parameters
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
        "PostgREST loads its schema cache. If this lasts, check that every exposed schema in the "
        "dashboard's API settings exists.",
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
        "Supabase does not let the worker in ({message}). Check SUPABASE_SERVICE_ROLE_KEY, and any "
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
        "What answers at SUPABASE_URL is not a Supabase project ({message}). Set it to "
        "https://<ref>.supabase.co, with the project's ref.",
        "wrong_address",
    ),
    _Rule(
        "52.|530",
        SupabaseUnavailable,
        "The gateway does not reach the project ({message}). If this lasts, restart the project in "
        "the dashboard.",
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
    _Rule("connection", SupabaseUnavailable, "No answer from Supabase: {message}"),
    _Rule(".*", SupabaseUnavailable, _FAILED),
)
"""The first rule that fits counts."""


def refusal(
    function: str, code: str | None, status: int, message: str, details: str = ""
) -> SupabaseUnavailable:
    """Return our error for a call of a function that was answered with an error.

    What is answered without a code comes from the gateway or from something before it, and is
    judged by its HTTP status.
    """
    code = code if code and _CODE.fullmatch(code) else str(status)
    said = f"{message} {details}"
    rule = next(r for r in _RULES if re.fullmatch(r.codes, code) and re.search(r.words, said))
    sentence = rule.sentence.format(function=function, message=_named(code, message))
    return rule.fault(rule.reason or code, sentence)


def _named(code: str, message: str) -> str:
    """Put the code before what was said, unless it is ours."""
    said = message.strip().removesuffix(".")
    return said if code == "connection" else f"{code}: {said}"


def is_final(error: BaseException | None) -> bool:
    """Whether the same call at once would fail again: too large, or an operator has to act."""
    return isinstance(error, StatementTimeout | SupabaseNeedsOperator) and not (
        isinstance(error, SchemaOutdated)  # PostgREST may be about to notice a new function
    )
