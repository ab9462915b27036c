"""The command `sql`: print the files of sql/ as one script."""

import argparse
import sys

from worker.cli.command import Subparsers
from worker.cli.exit_codes import DONE


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("sql", help="print the SQL that prepares the database")
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Run the command; bytes are printed unchanged, whatever the encoding of the terminal."""
    from worker.sql_files import sql_files

    for file in sql_files():
        sys.stdout.buffer.write(file.read_bytes())
    return DONE
