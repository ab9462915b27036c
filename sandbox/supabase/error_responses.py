"""Error responses of a hosted project, as its gateway and PostgREST send them."""

import json
from collections.abc import Mapping

from sandbox.fault_injection import Fault


def postgrest_error(code: str, message: str = "a fault", status: int = 500) -> Fault:
    """Return an error response as PostgREST sends it."""
    body = {"code": code, "message": message, "details": None, "hint": None}
    return Fault("answer", status=status, body=json.dumps(body))


def gateway_error(status: int, message: str) -> Fault:
    """Return an error response as the gateway sends it: JSON without a code."""
    return Fault("answer", status=status, body=json.dumps({"message": message}))


def page(status: int) -> Fault:
    """Return an HTML page, as a proxy or another server sends it."""
    return Fault("answer", status=status, body="<html>hello</html>", content_type="text/html")


RESTRICTED = (
    "Service for this project is restricted due to the following violations: exceed_egress_quota. "
    "The project owner must upgrade their plan or remove spend caps to restore service."
)

LASTING: Mapping[str, Fault] = {
    "a project over its quota": gateway_error(402, RESTRICTED),
    "a paused project": page(540),
    "a wrong key": gateway_error(401, "Invalid API key"),
    "no key": gateway_error(401, "No API key found in request"),
    "a disabled key": gateway_error(401, "Legacy API keys are disabled"),
    "a key of the wrong group": gateway_error(403, "You cannot consume this service"),
    "a blocked address": page(403),
    "a route that is not there": gateway_error(404, "no Route matched with those values"),
    "another server": page(404),
    "a server of files": page(405),
    "a redirect": Fault("answer", status=301, headers={"Location": "https://x.example"}),
    "an expired token": postgrest_error("PGRST303", "JWT expired", 401),
    "a token of another project": postgrest_error("PGRST301", "No suitable key", 401),
    "no token": postgrest_error("PGRST302", "Anonymous access is disabled", 401),
    "a role that is gone": postgrest_error("22023", 'role "x" does not exist', 401),
    "a role not granted": postgrest_error("42501", 'permission denied to set role "x"', 401),
    "no secret for tokens": postgrest_error("PGRST300", "Server lacks JWT secret", 500),
    "a schema that is not exposed": postgrest_error("PGRST106", "Invalid schema: public", 406),
    "a path of its own": postgrest_error("PGRST125", "Invalid path specified", 404),
    "a function of the app's": postgrest_error("PGRST203", "Could not choose", 300),
    "a function that is gone": postgrest_error("PGRST202", "Could not find the function", 404),
    "a function that went just now": postgrest_error(
        "42883", "function public.worker_claim(batch_size => integer) does not exist", 404
    ),
    "a read-only database": postgrest_error("25006", "cannot execute UPDATE", 405),
    "a full disk": postgrest_error("53100", "could not extend file", 503),
    "a missing grant": postgrest_error("42501", "permission denied for table lessons", 403),
    "a missing table": postgrest_error("42P01", 'relation "x" does not exist', 404),
    "a missing function": postgrest_error("42883", "function x() does not exist", 404),
    "a missing schema": postgrest_error("3F000", 'schema "mux_private" does not exist', 400),
    "safeupdate": postgrest_error("21000", "UPDATE requires a WHERE clause", 400),
    "parameters of another version": postgrest_error("PT400", "worker_claim needs x", 400),
    "a trigger that refuses": postgrest_error("P0001", "not on Sundays", 400),
    "a wrong password": postgrest_error("28P01", "password authentication failed", 403),
    "a database that is gone": postgrest_error("3D000", 'database "x" does not exist', 400),
}
"""Errors that last until an operator acts."""

PASSING: Mapping[str, Fault] = {
    "an overloaded gateway": gateway_error(429, "Too many requests"),
    "no PostgREST": gateway_error(503, "name resolution failed"),
    "a gateway's timeout": page(544),
    "a project that is down": page(521),
    "a project that does not answer": page(522),
    "no TLS to the project": page(525),
    "no database": postgrest_error("PGRST000", "Database connection error. Retrying.", 503),
    "a client's fault": postgrest_error("PGRST001", "Database client error.", 503),
    "a schema cache that loads": postgrest_error("PGRST002", "Could not query", 503),
    "no connection free": postgrest_error("PGRST003", "Timed out acquiring connection", 504),
    "too many connections": postgrest_error("53300", "too many connections", 503),
    "a database that restarts": postgrest_error("57P03", "the database system is starting up"),
    "a connection that was cut": postgrest_error("57P01", "terminating connection", 503),
    "a lost connection": postgrest_error("08006", "connection failure", 503),
    "a stale plan": postgrest_error("0A000", "cached plan must not change result type", 400),
}
"""Errors that end without an operator, but not within one call's retries."""

MOMENTARY: Mapping[str, Fault] = {
    "a serialization failure": postgrest_error("40001", "could not serialize access"),
    "a deadlock": postgrest_error("40P01", "deadlock detected"),
    "a lock timeout": postgrest_error("55P03", "canceling statement due to lock timeout"),
    "a token from the future": postgrest_error("PGRST303", "JWT issued at future", 401),
    "a token that is too new": postgrest_error("PGRST303", "JWT not yet valid", 401),
    "a token from the future, of old": postgrest_error("PGRST301", "JWTIssuedAtFuture", 401),
}
"""Errors that end within seconds, so that a retry of the call succeeds."""
