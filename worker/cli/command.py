"""Run one command: read the settings, set up the log, and end every error in one sentence."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from worker.cli.exit_codes import FAILED
from worker.errors import SchemaRefused, SettingsError, UsageError, WorkerError, explain

if TYPE_CHECKING:
    from worker.settings import Settings

    Body = Callable[[argparse.Namespace, Settings], Coroutine[Any, Any, int]]

Subparsers = Any
"""What `add_subparsers` returns; argparse has no public name for its type."""

LESSON_HELP = "its id or title, or the id of its upload or asset"

REASON_HELP = "the reason, for the audit"


def no_completions(**_: Any) -> tuple[()]:
    """Complete nothing, also no file names: what is expected is known to the database alone."""
    return ()


def run_command(
    body: "Body",
    arguments: argparse.Namespace,
    *,
    log_errors_only: bool = True,
    interrupted: int = FAILED,
) -> int:
    """Run the body of a command and return its exit code, `interrupted` after Ctrl-C.

    Raises WorkerError with one sentence for any exception; LOG_LEVEL=debug prints the traceback,
    and shows the whole log.
    """
    import asyncio

    from worker.settings import Settings
    from worker.telemetry import logs

    settings = Settings.load(arguments.env_file)
    is_debug = settings.log_level == "debug"
    level = "error" if log_errors_only and not is_debug else settings.log_level
    logs.configure(
        level=level, form=settings.log_format, secrets=settings.secrets, stream=sys.stderr
    )
    try:
        return asyncio.run(body(arguments, settings))
    except (SettingsError, UsageError, SchemaRefused, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        return interrupted
    except Exception as error:
        if is_debug:
            traceback.print_exc()
        raise WorkerError(explain(error)) from error


def operator_name() -> str:
    """Return the name for the audit: OPERATOR, else the user who is logged in."""
    names = (os.environ.get(name) for name in ("OPERATOR", "SUDO_USER", "USER", "LOGNAME"))
    return next((name.strip() for name in names if name and name.strip()), "unknown")
