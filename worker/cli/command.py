"""The operator's part of the command line: which commands there are, and what ends each."""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.errors import SettingsError, WorkerError, explain

if TYPE_CHECKING:
    from worker.settings import Settings

    Parts = Callable[..., AbstractAsyncContextManager[Any]]
    Body = Callable[[argparse.Namespace, Settings, Parts], Awaitable[int]]

DONE, FAILED, WRONG_USE = 0, 1, 2
LESSON = "its id, or the id of its upload or asset"


def add_commands(commands: Any, parts: "Parts") -> None:
    """Add the commands to the parser; `parts` puts the worker's parts together."""
    _add_backfill(commands, parts)
    _add_publish(commands, parts)
    _add_retry(commands, parts)
    _add_status(commands, parts)


def _add_backfill(commands: Any, parts: "Parts") -> None:
    backfill = commands.add_parser(
        "backfill", help="give the lessons from before the worker their videos"
    )
    which = backfill.add_mutually_exclusive_group()
    which.add_argument(
        "--plan", action="store_true", help="print what would be done, change nothing (default)"
    )
    which.add_argument("--apply", action="store_true", help="do it, after a question")
    backfill.add_argument("--yes", action="store_true", help="with --apply: do not ask")
    backfill.add_argument(
        "--include-drafts",
        action="store_true",
        help="also publish drafts with a real playback id; somebody may have unpublished them",
    )
    backfill.add_argument(
        "--trust-passthrough",
        action="store_true",
        help="take the one asset whose passthrough or external_id is the lesson's id",
    )
    backfill.add_argument(
        "--from-start", action="store_true", help="do not go on where an interrupted one was"
    )
    backfill.add_argument(
        "--report", type=_report_file, metavar="FILE", help="list the rest in FILE (.csv or .json)"
    )

    async def body(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
        from worker.cli.backfill import backfill

        return await backfill(arguments, settings, parts)

    backfill.set_defaults(command=lambda arguments: _backfill(arguments, body, parts))


def _add_publish(commands: Any, parts: "Parts") -> None:
    publish = commands.add_parser("publish", help="ask Mux about one lesson, and publish it")
    publish.add_argument("lesson", metavar="LESSON", help=LESSON)
    publish.add_argument("--reason", metavar="TEXT", help="why, for the audit")

    async def body(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
        from worker.cli.publish import publish

        return await publish(arguments, settings, parts)

    publish.set_defaults(command=lambda arguments: run(body, arguments, parts))


def _add_retry(commands: Any, parts: "Parts") -> None:
    retry = commands.add_parser("retry", help="have failed lessons looked at again")
    retry.add_argument("lessons", metavar="LESSON", nargs="*", help=LESSON)
    retry.add_argument("--all-failed", action="store_true", help="all that failed")
    retry.add_argument("--type", metavar="TYPE", help="only what failed like upload_timed_out")
    retry.add_argument("--reason", metavar="TEXT", help="why, for the audit")

    async def body(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
        from worker.cli.publish import retry

        return await retry(arguments, settings, parts)

    def command(arguments: argparse.Namespace) -> int:
        if bool(arguments.lessons) == arguments.all_failed:
            retry.error("name lessons or say --all-failed, not both")
        return run(body, arguments, parts)

    retry.set_defaults(command=command)


def _add_status(commands: Any, parts: "Parts") -> None:
    status = commands.add_parser("status", help="how all lessons stand, or one with its history")
    status.add_argument("lesson", metavar="LESSON", nargs="?", help=LESSON)
    status.add_argument("--json", action="store_true", help="print JSON")
    status.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="print the table anew every 2 seconds, or so many",
    )

    async def body(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
        from worker.cli.status import status

        return await status(arguments, settings, parts)

    def command(arguments: argparse.Namespace) -> int:
        if arguments.lesson is not None and arguments.watch is not None:
            status.error("--watch is for the table of all lessons")
        return run(body, arguments, parts, interrupted=DONE)  # that is how watching ends

    status.set_defaults(command=command)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be from 0.1 to 3600")
    return seconds


def _report_file(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in (".csv", ".json"):
        raise argparse.ArgumentTypeError("must end in .csv or .json")
    return path


def _backfill(arguments: argparse.Namespace, body: "Body", parts: "Parts") -> int:
    if arguments.apply and not arguments.yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            print(
                "backfill --apply asks first, and here is no terminal: add --yes.", file=sys.stderr
            )
            return WRONG_USE
        print("This publishes lessons, and writes their ids and their tracking rows.")
        if not _agreed():
            print("Nothing was changed.")
            return FAILED
    return run(body, arguments, parts, is_quiet=sys.stdout.isatty())


def _agreed() -> bool:
    try:
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def run(
    body: "Body",
    arguments: argparse.Namespace,
    parts: "Parts",
    *,
    is_quiet: bool = True,
    interrupted: int = FAILED,
) -> int:
    """Run a command; whatever goes wrong ends it with one sentence.

    A traceback is for LOG_LEVEL=debug alone. Quietly, the log is left to what is grave.
    """
    from worker.settings import Settings
    from worker.telemetry import logs

    settings = Settings.load()
    is_debug = settings.log_level == "debug"
    level = settings.log_level if is_debug or not is_quiet else "error"
    logs.configure(
        level=level, form=settings.log_format, secrets=settings.secrets, stream=sys.stderr
    )
    try:
        return asyncio.run(_awaited(body(arguments, settings, parts)))
    except (SettingsError, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        return interrupted
    except Exception as error:
        if is_debug:
            traceback.print_exc()
        raise WorkerError(explain(error)) from error


async def _awaited(work: Awaitable[int]) -> int:
    return await work
