"""The command line: parses the arguments and runs one command."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from worker import __version__
from worker.cli import (
    backfill,
    completion,
    doctor,
    health,
    publish,
    retry,
    run,
    scan,
    sql,
    status,
)
from worker.cli.exit_codes import FAILED, WRONG_SCHEMA, WRONG_USE
from worker.cli.parser import Parser
from worker.errors import SchemaRefused, SettingsError, UsageError, WorkerError

COMMANDS = (run, scan, status, publish, retry, backfill, doctor, health, sql, completion)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # titles and names may be any text
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what the line may go on with
        completion.complete(parser)
    arguments = parser.parse_args(argv)
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


def build_parser() -> Parser:
    """Return the parser with all commands; `run` of its result is the command's function."""
    parser = Parser(
        prog="mux-worker",
        description="Publishes Supabase lessons as soon as their Mux video can be played. Settings "
        "come from the environment or .env; .env.example lists them all.",
        examples={
            "mux-worker doctor": "check whether everything is in place",
            "mux-worker run": "publish lessons until the process is stopped",
            "mux-worker status": "see which lessons need somebody",
            "mux-worker COMMAND --help": "read about a command, with examples",
        },
        uses_schema=True,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"mux-worker {__version__}",
        help="print the version and exit",
    )
    add_env_file(parser, None)
    subparsers = parser.add_subparsers(
        title="commands", required=True, dest="command", metavar="COMMAND"
    )
    for command in COMMANDS:
        command.add_parser(subparsers)
    parser.names = list(subparsers.choices)
    for subparser in subparsers.choices.values():
        subparser.set_defaults(parser=subparser)
        add_env_file(subparser, argparse.SUPPRESS)  # given before the command, it stays
    return parser


def add_env_file(parser: Parser, default: str | None) -> None:
    """Add the option that names the file of settings."""
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        default=default,
        help="read settings from FILE instead of .env",
    )
