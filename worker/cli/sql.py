"""The command `sql`: print the SQL that prepares the database, for the app's table of lessons."""

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from worker.cli.command import Subparsers
from worker.cli.exit_codes import DONE
from worker.errors import UsageError

if TYPE_CHECKING:
    from worker.adapter.options import Options

OPTIONS = {
    "lessons": ("SCHEMA.TABLE", "the app's table of lessons (public.lessons)"),
    "key": (
        "COLUMN[:TYPE]",
        "its primary key (id); TYPE is uuid, bigint, integer or text, else the table's own",
    ),
    "owner": (
        "COLUMN[:SCHEMA.TABLE.COLUMN ...]",
        (
            "where the user's id stands (creator_id), if need be in a parent, such as "
            "course_id:public.courses.instructor_id; or none"
        ),
    ),
    "status": ("COLUMN", "what says whether a lesson is published (status), or none"),
    "draft": ("WORD", "its value for a draft (draft); true, false and null are words, too"),
    "published": ("WORD", "its value for a published lesson (published)"),
    "asset": ("COLUMN", "where the Mux asset id stands (mux_asset_id)"),
    "playback": ("COLUMN", "where the Mux playback id stands (mux_playback_id)"),
    "updated": ("COLUMN", "when the lesson last changed (updated_at), or none"),
    "title": ("COLUMN", "its title, for the dashboard (title), or none"),
}
"""The options that describe the app's table, each with what it takes and its help."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "sql",
        help="print the SQL that prepares the database",
        description="Print the SQL that prepares the database. The options describe the app's "
        "table of lessons; their defaults are in parentheses. Without a table of that form, "
        "--inspect proposes the options.",
        examples={
            'mux-worker sql | psql "$DATABASE_URL" -v ON_ERROR_STOP=1': "apply it",
            "mux-worker sql --write supabase/migrations": "write migrations for supabase db push",
            "mux-worker sql --inspect": "find the options that fit the database",
        },
    )
    for option, (takes, help_text) in OPTIONS.items():
        parser.add_argument(f"--{option}", metavar=takes, help=help_text)
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--write",
        metavar="DIR",
        help="write migrations into this directory instead, only those that changed",
    )
    action.add_argument(
        "--optional",
        metavar="NAME",
        help="print a file of sql/optional instead: lesson_indexes, realtime, tracking_indexes or "
        "worker_role",
    )
    action.add_argument(
        "--undo",
        action="store_true",
        help="print the SQL that removes everything again, the worker's tables with their rows too",
    )
    action.add_argument(
        "--inspect",
        action="store_true",
        help="read the database at DATABASE_URL and print the options that fit it",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    given: dict[str, str | None] = {option: getattr(arguments, option) for option in OPTIONS}
    if arguments.inspect:
        _inspect(given, arguments.env_file)
        return DONE
    if arguments.undo:
        _print_undo()
        return DONE
    from worker.adapter.options import Options

    options = Options.parse(given)
    if arguments.write is not None:
        _write(options, arguments.write)
    elif arguments.optional is not None:
        _print_optional(options, arguments.optional)
    else:
        _print(options)
    return DONE


def _print(options: "Options") -> None:
    """Print one script; in UTF-8, whatever the encoding of the terminal."""
    from worker.adapter.render import scripts

    for script in scripts(options).values():
        sys.stdout.buffer.write(script.encode())


def _print_undo() -> None:
    """Print one script, which asks the database itself what the options were."""
    from worker.sql_files import undo_files

    for file in undo_files():
        sys.stdout.buffer.write(file.read_bytes())


def _print_optional(options: "Options", name: str) -> None:
    from worker.adapter.render import optional_script
    from worker.sql_files import optional_files

    files = optional_files()
    if name not in files:
        raise UsageError(f"--optional: there is no {name}. Give one of {', '.join(files)}.")
    sys.stdout.buffer.write(optional_script(options, files[name]).encode())


def _write(options: "Options", directory: str) -> None:
    from datetime import UTC, datetime
    from pathlib import Path

    from worker.adapter import migrations
    from worker.adapter.render import scripts

    written = migrations.write(scripts(options), Path(directory), datetime.now(UTC))
    for file in written:
        print(file)
    if not written:
        print(f"Nothing has changed in {directory}.", file=sys.stderr)


def _inspect(given: dict[str, str | None], env_file: str | None) -> None:
    from worker.env_file import DatabaseSettings

    url = DatabaseSettings.load(env_file).database_url
    if not url:
        raise UsageError("--inspect needs DATABASE_URL, the address of the database.")
    try:
        from worker.adapter.catalog import Catalog
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        message = 'pip install "mux-worker[inspect]"'
        raise UsageError(
            f"--inspect needs psycopg, which is not installed. Run: {message}"
        ) from None
    from worker.adapter.proposal import propose
    from worker.cli.console import columns, show
    from worker.text import plain_id

    with Catalog(url) as catalog:
        proposal = propose(catalog.tables(), catalog.seen_words, given)
    print(shlex.join(["mux-worker", "sql", *proposal.options.arguments()]))
    print()
    rows = columns(12, 20)
    for option, text in proposal.options.texts().items():
        if option in proposal.reasons:
            rows.add_row(f"--{option}", plain_id(text), plain_id(proposal.reasons[option]))
    show(rows)
