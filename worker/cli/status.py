"""The command `status`: the lessons that need somebody, a list of lessons, or one lesson."""

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from worker.cli.command import LESSON_HELP, Subparsers, no_completions, run_command
from worker.cli.console import console, show, text_of
from worker.cli.exit_codes import DONE, FAILED
from worker.wording import FAILURES

if TYPE_CHECKING:
    from rich.console import RenderableType

    from worker.lesson import Lesson
    from worker.model import Query
    from worker.overview import Overview
    from worker.settings import Settings
    from worker.supabase.lessons import LessonStore

    Render = Callable[[], Awaitable[RenderableType]]
    """Reads what is to be shown: a text where that is not for a terminal."""

LIST_HELP = {
    "unplayable": "list the lessons that are published and play nothing",
    "failed": "list the lessons that failed, the latest first",
    "stuck": "list the lessons that wait for over half an hour, the oldest first",
    "waiting": "list the other lessons that wait for their video, the oldest first",
    "published": "list the lessons that were published last",
}
SHOWN_OF_EACH_LIST = 5
DEFAULT_LIMIT = 30
MAX_LIMIT = 100_000


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "status",
        usage="%(prog)s [options] [LESSON | --STATE]",
        help="list the lessons that need somebody, or show one with its history",
        description="Count the lessons in each state, and list those that need somebody, with the "
        "reason and what to do. With a state, list all lessons in it; with a LESSON, show what is "
        "known of it, what Mux says now, and its history.",
        examples={
            "mux-worker status": "what needs somebody",
            "mux-worker status --failed --search bread": "failed lessons with bread in the title",
            'mux-worker status "Sourdough"': "one lesson, by its title",
            "mux-worker status --json | jq .counts": "for a program",
        },
        uses_schema=True,
        exit_codes={1: "failed, or Mux did not answer about the LESSON"},
    )
    lesson = parser.add_argument("lesson", metavar="LESSON", nargs="?", help=LESSON_HELP)
    lesson.completer = no_completions
    lists = parser.add_mutually_exclusive_group()
    for state, help_text in LIST_HELP.items():
        lists.add_argument(
            f"--{state}", dest="state", action="store_const", const=state, help=help_text
        )
    parser.add_argument(
        "--search",
        metavar="TEXT",
        help="only lessons with TEXT in the title, or of the instructor whose id begins with it",
    )
    error_type = parser.add_argument(
        "--type", metavar="TYPE", help="only lessons with this error type, such as asset_errored"
    )
    error_type.completer = lambda **_: FAILURES
    parser.add_argument(
        "--limit",
        type=_limit,
        default=DEFAULT_LIMIT,
        metavar="N",
        help=f"list N lessons at most, {DEFAULT_LIMIT} by default",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="repeat it every SECONDS, 2 by default, until Ctrl-C",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; Ctrl-C is the way to end --watch."""
    if arguments.lesson is not None and (_is_list(arguments) or arguments.watch is not None):
        arguments.parser.error("A LESSON is shown alone, without --watch and a list")
    return run_command(_status, arguments, interrupted=DONE)


def _is_list(arguments: argparse.Namespace) -> bool:
    return bool(arguments.state or arguments.search or arguments.type is not None)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0.1 <= float(text) <= 3600:
            return float(text)
    raise argparse.ArgumentTypeError("must be a number from 0.1 to 3600")


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MAX_LIMIT}")


async def _status(arguments: argparse.Namespace, settings: "Settings") -> int:
    import asyncio

    from worker.app import parts
    from worker.supabase.lessons import LessonStore

    async with parts(settings, asyncio.Event()) as (mux, store, _, _):
        await store.check_schema()
        lessons = LessonStore(store.call)
        if arguments.lesson is not None:
            return await _show_lesson(arguments, lessons, mux)

        async def render() -> "RenderableType":
            return await (_list if _is_list(arguments) else _overview)(arguments, lessons)

        if arguments.watch is not None:
            await _watch(arguments, render)
        _print(await render())
    return DONE


async def _overview(arguments: argparse.Namespace, lessons: "LessonStore") -> "RenderableType":
    from worker.cli.status_view import NEED_SOMEBODY, counts_view, line, overview_view

    overview = await lessons.overview(SHOWN_OF_EACH_LIST)
    if arguments.json:
        return _json(overview_json(overview))
    if console().is_terminal:
        return overview_view(overview)
    listed = [lesson for state in NEED_SOMEBODY for lesson in overview.lists[state].lessons]
    return "\n".join([text_of(counts_view(overview)), *map(line, listed)]).rstrip("\n")


async def _list(arguments: argparse.Namespace, lessons: "LessonStore") -> "RenderableType":
    from worker.cli.error_types import check_error_type
    from worker.cli.lessons import read_list
    from worker.cli.status_view import line, list_view, more_of
    from worker.overview import ALL

    if arguments.type is not None:
        check_error_type(arguments.type, await lessons.failure_counts())
    state = arguments.state or ("failed" if arguments.type else ALL)
    found, has_more = await read_list(
        lessons, state, arguments.limit, search=arguments.search, error_type=arguments.type
    )
    if arguments.json:
        return _json({"lessons": [lesson_json(x) for x in found], "has_more": has_more})
    if console().is_terminal:
        is_filtered = bool(arguments.search or arguments.type)
        return list_view(state, found, has_more=has_more, is_filtered=is_filtered)
    if has_more:
        print(more_of(found), file=sys.stderr)
    return "\n".join(map(line, found))


def overview_json(overview: "Overview") -> dict[str, Any]:
    """Return the overview as the command prints it for programs."""
    from dataclasses import asdict

    lists = {
        state: [lesson_json(lesson) for lesson in page.lessons]
        for state, page in overview.lists.items()
    }
    return {
        "now": overview.now,
        "counts": asdict(overview.counts),
        "day": asdict(overview.day),
        "lists": lists,
    }


def lesson_json(lesson: "Lesson") -> dict[str, Any]:
    """Return a lesson of a list as the command prints it for programs."""
    from dataclasses import asdict

    return {**asdict(lesson), "why": lesson.why, "advice": lesson.advice}


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2 if console().is_terminal else None)


def _print(view: "RenderableType") -> None:
    """Print a view; a text as it is, since rich would break its lines and expand its tabs."""
    if not isinstance(view, str):
        show(view)
    elif view:
        print(view, flush=True)


async def _watch(arguments: argparse.Namespace, render: "Render") -> None:
    """Show it until the process is interrupted: in place on a terminal, else repeatedly."""
    import asyncio

    from rich.live import Live

    target = console()
    if arguments.json or not target.is_terminal:
        while True:
            _print(await render())
            await asyncio.sleep(arguments.watch)
    with Live(console=target, auto_refresh=False) as live:
        while True:
            live.update(await render(), refresh=True)
            await asyncio.sleep(arguments.watch)


async def _show_lesson(arguments: argparse.Namespace, lessons: "LessonStore", mux: Any) -> int:
    from worker.backfill.publish import look
    from worker.cli.lesson_view import lesson_view
    from worker.cli.lessons import find_lesson
    from worker.errors import Unavailable, explain

    lesson = await find_lesson(lessons, arguments.lesson)
    details = await lessons.lesson(lesson.id)
    query, code = await _query(lesson.id, details["row"], lessons), DONE
    try:
        details["mux"] = (await look(query, mux)).as_json() if query else None
    except Unavailable as error:
        details["mux"] = {"unavailable": explain(error)}
        code = FAILED
    _print(_json(details) if arguments.json else lesson_view(lesson, details))
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
