"""The command `retry`: make failed lessons due again."""

import argparse
from typing import TYPE_CHECKING

from worker.cli.command import LESSON_HELP, Subparsers, operator_name, run_command
from worker.cli.exit_codes import DONE, FAILED
from worker.text import plain_id
from worker.wording import count

if TYPE_CHECKING:
    from worker.lesson import Lesson
    from worker.settings import Settings
    from worker.supabase.lessons import By, LessonStore


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("retry", help="make failed lessons due again")
    parser.add_argument("lessons", metavar="LESSON", nargs="*", help=LESSON_HELP)
    parser.add_argument("--all-failed", action="store_true", help="every failed lesson")
    parser.add_argument("--type", metavar="TYPE", help="only this error type: upload_timed_out")
    parser.add_argument("--reason", metavar="TEXT", help="the reason, for the audit")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if bool(arguments.lessons) == arguments.all_failed:
        arguments.parser.error("name lessons, or use --all-failed, not both")
    return run_command(_retry, arguments)


async def _retry(arguments: argparse.Namespace, settings: "Settings") -> int:
    import asyncio

    from worker.app import parts
    from worker.supabase.lessons import LessonStore

    by = (operator_name(), arguments.reason)
    async with parts(settings, asyncio.Event()) as (_, scan_store, _, _):
        await scan_store.check_schema()
        store = LessonStore(scan_store.call)
        if arguments.all_failed:
            return await _retry_all(store, arguments.type, by)
        return await _retry_named(store, arguments.lessons, arguments.type, by)


async def _retry_named(
    store: "LessonStore", names: list[str], error_type: str | None, by: "By"
) -> int:
    from worker.backfill.publish import find_lesson

    lessons = [await find_lesson(store, name) for name in names]
    retried = await store.retry([lesson.id for lesson in lessons], error_type, None, by)
    for lesson in lessons:
        print(f"{plain_id(lesson.id)} {_result(lesson, lesson.id in retried, error_type)}")
    return DONE if len(retried) == len({lesson.id for lesson in lessons}) else FAILED


def _result(lesson: "Lesson", is_retried: bool, error_type: str | None) -> str:
    row = lesson.row
    if is_retried:
        return "is due again."
    if row is None or row.status != "error":
        return f"is {row.status if row else 'not tracked'}: there is nothing to retry."
    if error_type not in (None, row.error_type):
        return f"failed with {row.error_type}, not with {error_type}: it is left unchanged."
    return "is locked by another transaction. Try again in a moment."


async def _retry_all(store: "LessonStore", error_type: str | None, by: "By") -> int:
    from worker.supabase.lessons import RETRIES_PER_CALL

    total, after = 0, None
    while retried := await store.retry(None, error_type, after, by):
        total, after = total + len(retried), retried[-1]
        if len(retried) < RETRIES_PER_CALL:
            break
    print(f"{count(total, 'failed lesson')} due again.")
    return DONE
