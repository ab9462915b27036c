import json
import math
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
from worker.retry import MAX_ATTEMPTS
from worker.supabase.errors import error_for, max_attempts


def classified(fault: Fault) -> SupabaseUnavailable:
    """Return the exception for a response, as the client reads it."""
    if fault.content_type != "application/json" or not fault.body:
        phrase = next((s.phrase for s in HTTPStatus if s == fault.status), "Request failed")
        return error_for("worker_claim", str(fault.status), fault.status, phrase)
    body = json.loads(fault.body)
    return error_for("worker_claim", body.get("code"), fault.status, body["message"])


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
    "a role not granted": "unauthorized",
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


def test_a_permanent_error_needs_an_operator_and_says_what_to_do() -> None:
    """In two sentences or more; it is not retried at once, since that would not help."""
    errors = {name: classified(fault) for name, fault in LASTING.items()}
    assert {name: fault.reason for name, fault in errors.items()} == REASONS
    assert {type(fault) for fault in errors.values()} == {SupabaseNeedsOperator, SchemaOutdated}
    for name, fault in errors.items():
        assert fault.needs_operator, name
        expected = MAX_ATTEMPTS if fault.reason == "function_missing" else 1
        assert max_attempts(fault) == expected, name
        assert re.fullmatch(r".+\. [A-Z].+\.", fault.message), name


@pytest.mark.parametrize("name", PASSING)
def test_a_transient_error_needs_no_operator(name: str) -> None:
    """It ends the scan, after the call was retried a few times."""
    fault = classified(PASSING[name])
    assert type(fault) is SupabaseUnavailable
    assert not fault.needs_operator
    assert max_attempts(fault) == MAX_ATTEMPTS


@pytest.mark.parametrize("name", MOMENTARY)
def test_an_error_that_passes_within_seconds_is_busy(name: str) -> None:
    """Serialization failures, deadlocks, lock timeouts, and clocks that differ."""
    fault = classified(MOMENTARY[name])
    assert isinstance(fault, SupabaseBusy)
    assert max_attempts(fault) == math.inf


def test_the_messages_of_some_errors() -> None:
    """They say what was found, then what to do."""
    found = {
        name: classified(LASTING[name]).message
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


def test_a_statement_timeout_is_not_retried() -> None:
    """The same call would time out again; a smaller one may not."""
    fault = error_for("worker_settle", "57014", 500, "canceling statement")
    assert isinstance(fault, StatementTimeout)
    assert max_attempts(fault) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("Name or service not known", "no_such_host"),
        ("nodename nor servname provided, or not known", "no_such_host"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "certificate"),
    ],
)
def test_a_wrong_host_needs_an_operator(words: str, reason: str) -> None:
    """A name that does not exist, or a certificate of another host."""
    fault = error_for("worker_claim", "connection", 0, words)
    assert (fault.reason, fault.needs_operator) == (reason, True)


def test_a_broken_connection_is_transient() -> None:
    """So is a name lookup that fails for the moment."""
    for words in ("the connection was closed", "Temporary failure in name resolution"):
        fault = error_for("worker_claim", "connection", 0, words)
        assert type(fault) is SupabaseUnavailable
        assert fault.message == f"Supabase did not answer: {words}."


def test_postgrest_says_why_it_cannot_connect() -> None:
    """A wrong password is permanent, other reasons are not."""
    details = 'FATAL:  password authentication failed for user "authenticator"'
    lasting = error_for("worker_claim", "PGRST000", 503, "Database connection error.", details)
    assert (lasting.reason, lasting.needs_operator) == ("database_login", True)
    passing = error_for("worker_claim", "PGRST000", 503, "Database connection error.", "refused")
    assert (passing.reason, passing.needs_operator) == ("PGRST000", False)


def test_a_message_of_the_database_is_shown_unchanged() -> None:
    """Braces in it are no placeholders."""
    fault = error_for("worker_claim", "P0001", 400, "no {function} today")
    assert "(P0001: no {function} today)" in fault.message
