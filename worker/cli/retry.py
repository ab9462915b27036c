"""The command `retry`: make failed lessons due again."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from worker.cli.command import (
    LESSON_HELP,
    REASON_HELP,
    Subparsers,
    no_completions,
    operator_name,
    run_command,
)
from worker.cli.error_types import UNKNOWN, check_error_type, listed_types
from worker.cli.exit_codes import DONE, FAILED
from worker.text import ago, plain_id
from worker.wording import FAILURES, STATES, count

if TYPE_CHECKING:
    from worker.lesson import Lesson
    from worker.settings import Settings
    from worker.supabase.lessons import By, LessonStore


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "retry",
        help="make failed lessons due again",
        description="Make failed lessons due again and restart their clocks, as if their uploads "
        "had just begun. The next scan asks Mux about them; what is still wrong fails again. Use "
        "it once the cause is fixed.",
        examples={
            'mux-worker retry "Sourdough"': "one lesson, by its title",
            "mux-worker retry --all-failed --dry-run": "what would be retried",
            "mux-worker retry --all-failed --type upload_timed_out": "all with one error type",
        },
        uses_schema=True,
        exit_codes={1: "failed, or a LESSON was left unchanged for the reason that is printed"},
    )
    lessons = parser.add_argument("lessons", metavar="LESSON", nargs="*", help=LESSON_HELP)
    lessons.completer = no_completions
    parser.add_argument("--all-failed", action="store_true", help="retry every failed lesson")
    error_type = parser.add_argument(
        "--type",
        metavar="TYPE",
        help="only lessons with this error type, such as upload_timed_out; unknown: without one",
    )
    error_type.completer = lambda **_: [*FAILURES, UNKNOWN]
    parser.add_argument("--dry-run", action="store_true", help="print what would be done only")
    parser.add_argument("--reason", metavar="TEXT", help=REASON_HELP)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.lessons and arguments.all_failed:
        arguments.parser.error("A LESSON and --all-failed do not go together")
    if not arguments.lessons and not arguments.all_failed:
        arguments.parser.error("Name a LESSON, or use --all-failed")
    return run_command(_retry, arguments)


async def _retry(arguments: argparse.Namespace, settings: "Settings") -> int:
    import asyncio

    from worker.app import parts
    from worker.supabase.lessons import LessonStore

    by = (operator_name(), arguments.reason)
    async with parts(settings, asyncio.Event()) as (_, scan_store, _, _):
        await scan_store.check_schema()
        store = LessonStore(scan_store.call)
        failed = await store.failure_counts()
        if arguments.type is not None:
            check_error_type(arguments.type, failed)
        if not arguments.all_failed:
            return await _retry_named(store, arguments, by)
        chosen = {name: number for name, number in failed.items() if arguments.type in (None, name)}
        return await _retry_all(store, arguments, chosen, by)


async def _retry_named(store: "LessonStore", arguments: argparse.Namespace, by: "By") -> int:
    from worker.cli.lessons import find_lesson

    found = [await find_lesson(store, name) for name in arguments.lessons]
    lessons = {lesson.id: lesson for lesson in found}
    if arguments.dry_run:
        retried = [id_ for id_, lesson in lessons.items() if _fits(lesson, arguments.type)]
    else:
        retried = await store.retry(list(lessons), arguments.type, None, by)
    for id_, lesson in lessons.items():
        if id_ not in retried:
            result = _left_alone(lesson, arguments.type)
        elif arguments.dry_run:
            when = "" if lesson.since_seconds is None else f" {ago(lesson.since_seconds)}"
            result = f"would be due again. It failed{when}: {lesson.why}"
        else:
            result = "is due again."
        print(f"{lesson.label} {result}")
    if arguments.dry_run:
        print("Nothing was changed.")
    return DONE if len(retried) == len(lessons) else FAILED


def _fits(lesson: "Lesson", error_type: str | None) -> bool:
    return lesson.state == "failed" and error_type in (None, _type_of(lesson))


def _type_of(lesson: "Lesson") -> str:
    return (lesson.row and lesson.row.error_type) or UNKNOWN


def _left_alone(lesson: "Lesson", error_type: str | None) -> str:
    if lesson.state != "failed":
        return f"has not failed: it is {STATES[lesson.state]}. There is nothing to retry."
    if not _fits(lesson, error_type):
        return f"failed with {plain_id(_type_of(lesson))}, not with {error_type}. It is unchanged."
    return "is locked by another transaction. Try again in a moment."


async def _retry_all(
    store: "LessonStore", arguments: argparse.Namespace, chosen: Mapping[str, int], by: "By"
) -> int:
    """Retry all failed lessons of the chosen types, after saying which these are."""
    from worker.supabase.lessons import RETRIES_PER_CALL

    if not chosen:
        with_type = f" with {arguments.type}" if arguments.type else ""
        print(f"No lesson has failed{with_type}. There is nothing to retry.")
        return DONE
    print(listed_types(chosen))
    if arguments.dry_run:
        print("They would be due again. Nothing was changed.")
        return DONE
    total, after = 0, None
    while retried := await store.retry(None, arguments.type, after, by):
        total, after = total + len(retried), retried[-1]
        if len(retried) < RETRIES_PER_CALL:
            break
    print(f"{count(total, 'failed lesson is', 'failed lessons are')} due again.")
    return DONE
