"""The command `status`: counts and failures of all lessons, or one lesson with its history."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from worker.cli.command import LESSON_HELP, Subparsers, run_command
from worker.cli.console import console, show
from worker.cli.exit_codes import DONE, FAILED

if TYPE_CHECKING:
    from worker.model import Query
    from worker.settings import Settings
    from worker.supabase.lessons import LessonStore


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "status", help="print the state of all lessons, or of one with its history"
    )
    parser.add_argument("lesson", metavar="LESSON", nargs="?", help=LESSON_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="repeat the table of all lessons every SECONDS, 2 by default",
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; Ctrl-C is the way to end --watch."""
    if arguments.lesson is not None and arguments.watch is not None:
        arguments.parser.error("--watch is for the table of all lessons")
    return run_command(_status, arguments, interrupted=DONE)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be from 0.1 to 3600")
    return seconds


async def _status(arguments: argparse.Namespace, settings: "Settings") -> int:
    import asyncio

    from worker.app import parts
    from worker.supabase.lessons import LessonStore

    async with parts(settings, asyncio.Event()) as (mux, store, _, _):
        await store.check_schema()
        lessons = LessonStore(store.call)
        if arguments.lesson is not None:
            return await _show_lesson(arguments, lessons, mux)
        if arguments.watch is not None:
            await _watch(arguments, lessons)
        _show_table(await lessons.status(), as_json=arguments.json)
    return DONE


def _show_table(status: dict[str, Any], *, as_json: bool) -> None:
    from worker.cli.status_view import status_view

    if as_json:
        print(json.dumps(status), flush=True)
    else:
        show(status_view(status))


async def _watch(arguments: argparse.Namespace, lessons: "LessonStore") -> None:
    """Show the table until the process is interrupted: in place on a terminal, else repeatedly."""
    import asyncio

    from rich.live import Live

    from worker.cli.status_view import status_view

    target = console()
    if arguments.json or not target.is_terminal:
        while True:
            _show_table(await lessons.status(), as_json=arguments.json)
            await asyncio.sleep(arguments.watch)
    with Live(console=target, auto_refresh=False) as live:
        while True:
            live.update(status_view(await lessons.status()), refresh=True)
            await asyncio.sleep(arguments.watch)


async def _show_lesson(arguments: argparse.Namespace, lessons: "LessonStore", mux: Any) -> int:
    from worker.backfill.publish import find_lesson, look
    from worker.cli.status_view import lesson_view
    from worker.errors import Unavailable, explain

    lesson = await find_lesson(lessons, arguments.lesson)
    details = await lessons.lesson(lesson.id)
    query, code = await _query(lesson.id, details["row"], lessons), DONE
    try:
        details["mux"] = (await look(query, mux)).as_json() if query else None
    except Unavailable as error:
        details["mux"] = {"unavailable": explain(error)}
        code = FAILED
    if arguments.json:
        print(json.dumps(details, indent=2))
    else:
        show(lesson_view(details))
    return code


async def _query(
    lesson_id: str, row: dict[str, Any] | None, lessons: "LessonStore"
) -> "Query | None":
    """Return how Mux is asked about what adopting the lesson would track, else about its row."""
    from worker.model import Query

    (adoption,) = await lessons.adopt([{"lesson_id": lesson_id, "by_hand": True}], dry_run=True)
    if adoption.query is None and row is not None:
        return Query(lesson_id, row["upload_id"], row["asset_id"])
    return adoption.query
