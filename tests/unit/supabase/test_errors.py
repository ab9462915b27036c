import json
import re
from http import HTTPStatus

import pytest

from sandbox.fault_injection import Fault
from sandbox.supabase.error_responses import LASTING, MOMENTARY, PASSING
from worker.errors import (
    SchemaOutdated,
    StatementTimeout,
    SupabaseBusy,
    SupabaseNeedsOperator,
    SupabaseUnavailable,
)
from worker.supabase.errors import is_final, refusal


def judged(fault: Fault) -> SupabaseUnavailable:
    """Judge an answer the way the client hands it on."""
    if fault.content_type != "application/json" or not fault.body:
        phrase = next((s.phrase for s in HTTPStatus if s == fault.status), "Request failed")
        return refusal("worker_claim", str(fault.status), fault.status, phrase)
    told = json.loads(fault.body)
    return refusal("worker_claim", told.get("code"), fault.status, told["message"])


REASONS = {
    "a project over its quota": "restricted",
    "a paused project": "paused",
    "a wrong key": "unauthorized",
    "no key": "unauthorized",
    "a disabled key": "unauthorized",
    "a key of the wrong group": "forbidden",
    "a blocked address": "forbidden",
    "a route that is not there": "wrong_address",
    "another server": "wrong_address",
    "a server of files": "wrong_address",
    "a redirect": "wrong_address",
    "an expired token": "unauthorized",
    "a token of another project": "unauthorized",
    "no token": "unauthorized",
    "a role that is gone": "unauthorized",
    "no secret for tokens": "jwt_secret_missing",
    "a schema that is not exposed": "schema_not_exposed",
    "a path of its own": "PGRST125",
    "a function of the app's": "function_ambiguous",
    "a function that is gone": "function_missing",
    "a function that went just now": "function_missing",
    "a read-only database": "read_only",
    "a full disk": "disk_full",
    "a missing grant": "forbidden",
    "a missing table": "42P01",
    "a missing function": "42883",
    "a missing schema": "3F000",
    "safeupdate": "21000",
    "parameters of another version": "PT400",
    "a trigger that refuses": "P0001",
    "a wrong password": "database_login",
    "a database that is gone": "database_login",
}


def test_what_lasts_needs_an_operator_and_says_what_to_do() -> None:
    """In two sentences or more; it is not repeated at once, since that would not help."""
    told = {name: judged(fault) for name, fault in LASTING.items()}
    assert {name: fault.reason for name, fault in told.items()} == REASONS
    assert {type(fault) for fault in told.values()} == {SupabaseNeedsOperator, SchemaOutdated}
    for name, fault in told.items():
        assert fault.needs_operator, name
        assert is_final(fault) == (fault.reason != "function_missing"), name
        assert re.fullmatch(r".+\. [A-Z].+\.", fault.message), name


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_no_error(name: str) -> None:
    """It ends the scan, and the call is repeated a few times before."""
    fault = judged(PASSING[name])
    assert type(fault) is SupabaseUnavailable
    assert not fault.needs_operator
    assert not is_final(fault)


@pytest.mark.parametrize("name", MOMENTARY)
def test_what_passes_within_seconds_is_repeated_for_seconds(name: str) -> None:
    """Serialization failures, deadlocks, lock timeouts, and clocks that differ."""
    fault = judged(MOMENTARY[name])
    assert isinstance(fault, SupabaseBusy)
    assert not is_final(fault)


def test_the_words_of_some_faults() -> None:
    """They name what was found, then what to do."""
    found = {
        name: judged(LASTING[name]).message
        for name in ("a project over its quota", "a paused project", "a schema that is not exposed")
    }
    assert found == {
        "a project over its quota": "Supabase has restricted the project (402: Service for this "
        "project is restricted due to the following violations: exceed_egress_quota. The project "
        "owner must upgrade their plan or remove spend caps to restore service). Upgrade the plan, "
        "remove the spend cap or pay the overdue bill in the dashboard.",
        "a paused project": "The Supabase project is paused. Restore it in the dashboard.",
        "a schema that is not exposed": "The Data API does not expose the schema public. Add "
        "public to the exposed schemas in the dashboard's API settings.",
    }


def test_a_statement_that_takes_too_long_is_not_repeated() -> None:
    """The same call would be cut off again; a smaller one may not."""
    fault = refusal("worker_settle", "57014", 500, "canceling statement")
    assert isinstance(fault, StatementTimeout)
    assert is_final(fault)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("ConnectError: [Errno -2] Name or service not known", "no_such_host"),
        ("ConnectError: [Errno 8] nodename nor servname provided, or not known", "no_such_host"),
        ("ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "certificate"),
    ],
)
def test_a_host_that_is_wrong_needs_an_operator(words: str, reason: str) -> None:
    """A name that nobody has, or a certificate of somebody else."""
    fault = refusal("worker_claim", "connection", 0, words)
    assert (fault.reason, fault.needs_operator) == (reason, True)


def test_a_broken_connection_passes() -> None:
    """Also a resolver that is not there for the moment."""
    for words in ("ReadError", "ConnectError: [Errno -3] Temporary failure in name resolution"):
        fault = refusal("worker_claim", "connection", 0, words)
        assert type(fault) is SupabaseUnavailable
        assert fault.message == f"No answer from Supabase: {words}"


def test_postgrest_says_why_it_cannot_connect() -> None:
    """A password that is wrong lasts, other reasons do not."""
    said = 'FATAL:  password authentication failed for user "authenticator"'
    lasting = refusal("worker_claim", "PGRST000", 503, "Database connection error.", said)
    assert (lasting.reason, lasting.needs_operator) == ("database_login", True)
    passing = refusal("worker_claim", "PGRST000", 503, "Database connection error.", "refused")
    assert (passing.reason, passing.needs_operator) == ("PGRST000", False)


def test_words_of_others_are_shown_as_they_are() -> None:
    """Braces in them are no places to fill."""
    fault = refusal("worker_claim", "P0001", 400, "no {function} today")
    assert "(P0001: no {function} today)" in fault.message
