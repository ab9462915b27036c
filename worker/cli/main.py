"""The command line: parses the arguments and runs one command."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from worker import __version__
from worker.cli import backfill, doctor, health, publish, retry, run, scan, sql, status
from worker.cli.exit_codes import FAILED, WRONG_SCHEMA, WRONG_USE
from worker.errors import SchemaRefused, SettingsError, UsageError, WorkerError

COMMANDS = (run, scan, backfill, publish, retry, status, doctor, health, sql)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # titles and names may be any text
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (SettingsError, UsageError) as error:
        print(error, file=sys.stderr)
        code = WRONG_USE
    except WorkerError as error:
        print(error, file=sys.stderr)
        code = WRONG_SCHEMA if isinstance(error, SchemaRefused) else FAILED
    except BrokenPipeError:  # the reader has closed the pipe: `doctor | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except KeyboardInterrupt:
        code = FAILED
    sys.exit(code)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands; `run` of its result is the command's function."""
    parser = argparse.ArgumentParser(
        prog="mux-worker",
        description="Publishes Supabase lessons as soon as their Mux video can be played.",
        epilog="Settings come from the environment or .env; .env.example lists them all. "
        "Exit status: 0 done, 1 failed, 2 wrong use or wrong settings, 3 the database lacks files "
        "of sql/ that this version needs.",
    )
    parser.add_argument("--version", action="version", version=f"mux-worker {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser
