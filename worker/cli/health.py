"""The command `health`: check this machine's worker, for platforms without HTTP checks.

It requests /healthz, or without PORT reads the liveness file.
"""

import argparse
from typing import TYPE_CHECKING

from worker.cli.command import Subparsers
from worker.cli.exit_codes import DONE, FAILED
from worker.errors import error_text

if TYPE_CHECKING:
    from worker.settings import Settings

TIMEOUT_SECONDS = 5.0


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "health",
        help="check whether this machine's worker works",
        description="Check whether the worker on this machine works, for platforms without HTTP "
        "checks: ask its /healthz where PORT is set, else read its liveness file.",
        examples={"mux-worker health": "as the health check of a container"},
        exit_codes={0: "the worker works", 1: "it does not, for the reason that is printed"},
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from worker.settings import Settings

    problem = _problem(Settings.load(arguments.env_file))
    print(problem or "The worker works.")
    return DONE if problem is None else FAILED


def _problem(settings: "Settings") -> str | None:
    """Return what is wrong with the worker, or None."""
    if settings.port is None:
        return _problem_in_file(settings)
    return _problem_over_http(settings.loopback_host, settings.port)


def _problem_in_file(settings: "Settings") -> str | None:
    import time

    from worker.telemetry import liveness

    file = liveness.file_of(settings)
    if file is None:
        return liveness.NO_DIRECTORY
    return _sentence(liveness.problem_in(file, time.monotonic()))


def _problem_over_http(host: str, port: int) -> str | None:
    import http.client

    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        body = response.read(65536)
    except (OSError, http.client.HTTPException) as error:
        return (
            f"Nothing answers at {host}:{port} ({error_text(error)}). Check that the worker runs, "
            "and that its PORT is the same."
        )
    finally:
        connection.close()
    return None if response.status == 200 else _sentence(_reason(response.status, body))


def _sentence(problem: str | None) -> str | None:
    """Return a problem as a sentence, and where to read more."""
    if problem is None:
        return None
    return f"{problem[0].upper()}{problem[1:]}. Read the worker's log."


def _reason(status: int, body: bytes) -> str:
    import json

    try:
        return str(json.loads(body)["reason"]) or f"/healthz answered with {status}"
    except (ValueError, KeyError, TypeError):
        return f"/healthz answered with {status}"
