"""The command line: reads the settings and runs one command."""

import argparse
import asyncio
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

from worker import __version__
from worker.cli import command
from worker.errors import SettingsError, WorkerError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from worker.app import Parts
    from worker.settings import Settings

DONE, FAILED, WRONG_USE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 1 failed, 2 wrong use or wrong settings."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # titles and names may be any text
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SettingsError as error:
        print(error, file=sys.stderr)
        code = WRONG_USE
    except WorkerError as error:
        print(error, file=sys.stderr)
        code = FAILED
    except BrokenPipeError:  # whatever read the output has enough: `doctor | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except KeyboardInterrupt:
        code = FAILED
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mux-worker",
        description="Publishes Supabase lessons the moment their Mux video can be played.",
        epilog="Settings come from the environment or .env; .env.example lists them all.",
    )
    parser.add_argument("--version", action="version", version=f"mux-worker {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run until SIGTERM or SIGINT: the daemon")
    run.set_defaults(command=_run)
    scan = commands.add_parser("scan", help="do one pass over everything that is due, then exit")
    scan.set_defaults(command=_scan)
    doctor = commands.add_parser(
        "doctor", help="check whether everything is in place, and say what to do where it is not"
    )
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.set_defaults(command=_doctor)
    health = commands.add_parser("health", help="ask the worker of this machine whether it is well")
    health.set_defaults(command=_health)
    command.add_commands(commands, _parts)
    return parser


def _parts(
    settings: "Settings", stopping: asyncio.Event, **how: bool
) -> "AbstractAsyncContextManager[Parts]":
    from worker.app import parts

    return parts(settings, stopping, None, **how)


def _run(_arguments: argparse.Namespace) -> NoReturn:
    from worker.cli.run import run_daemon
    from worker.settings import Settings
    from worker.telemetry import logs

    began = time.monotonic()
    settings = Settings.load()
    logs.configure(level=settings.log_level, form=settings.log_format, secrets=settings.secrets)
    asyncio.run(run_daemon(settings, began))


def _scan(_arguments: argparse.Namespace) -> int:
    from worker.settings import Settings
    from worker.telemetry import logs

    settings = Settings.load()
    logs.configure(
        level=settings.log_level,
        form=settings.log_format,
        secrets=settings.secrets,
        stream=sys.stderr,
    )
    return asyncio.run(_scan_everything(settings))


async def _scan_everything(settings: "Settings") -> int:
    """Scan until all that was due has been looked at, and print what came of it."""
    from collections import Counter

    from worker.shutdown import Signals

    stopping = asyncio.Event()
    Signals(stopping, settings.shutdown_seconds).listen()
    outcomes: Counter[str] = Counter()
    looked_at = released = 0
    left_to_others = False
    async with _parts(settings, stopping) as (_, store, scanner):
        await store.check_schema()
        due = (await store.summary())["due"]
        while not stopping.is_set():
            report = await scanner.scan()
            outcomes += report.outcomes
            looked_at += report.looked_at
            released = report.released
            left_to_others = report.left_to_others
            if not report.is_full or looked_at >= due:
                break  # what was looked at is due again soon, and that is another scan's
        summary = await store.summary()
    done = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())) or "nothing due"
    print(f"Looked at {looked_at} rows: {done}.")
    if left_to_others:
        print("Another worker is working off what is due.")
    print(
        f"Now {summary['processing']} processing ({summary['due']} due, {summary['stuck']} stuck), "
        f"{summary['error']} failed."
    )
    was_stopped = stopping.is_set() and released
    return FAILED if was_stopped or outcomes["refused"] else DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from worker.settings import Settings
    from worker.telemetry import logs

    settings = Settings.load()
    logs.configure(level="error", secrets=settings.secrets, stream=sys.stderr)
    return asyncio.run(_examine(settings, as_json=arguments.json))


def _health(_arguments: argparse.Namespace) -> int:
    from worker.cli.health import fault_of
    from worker.settings import Settings

    fault = fault_of(Settings.load())
    print(fault or "ok")
    return DONE if fault is None else FAILED


async def _examine(settings: "Settings", *, as_json: bool) -> int:
    from worker.cli.console import as_lines, summed_up
    from worker.doctor.doctor import examine

    checks = []
    async with _parts(settings, asyncio.Event(), alone=True) as (mux, store, _):
        async for check in examine(settings, mux, store):
            checks.append(check)
            if not as_json:
                print(as_lines(check), flush=True)
    print(
        json.dumps([asdict(check) for check in checks], indent=2) if as_json else summed_up(checks)
    )
    return FAILED if any(check.health == "failed" for check in checks) else DONE
