"""The commands `publish` and `retry`: what an operator does to single lessons, by name."""

import argparse
import asyncio
import os
from typing import TYPE_CHECKING

from worker.backfill import publish as by_hand
from worker.backfill.publish import find_lesson
from worker.lesson import Lesson
from worker.supabase.lessons import RETRIES_PER_CALL, LessonStore

if TYPE_CHECKING:
    from worker.cli.command import Parts
    from worker.settings import Settings

DONE, FAILED = 0, 1


def operator() -> str:
    """Give the name that the audit keeps: OPERATOR, else who is logged in here."""
    names = (os.environ.get(name) for name in ("OPERATOR", "SUDO_USER", "USER", "LOGNAME"))
    return next((name.strip() for name in names if name and name.strip()), "unknown")


async def publish(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
    """Run `publish LESSON`."""
    async with parts(settings, asyncio.Event()) as (mux, store, _):
        await store.check_schema()
        books = LessonStore(store.call)
        lesson = await find_lesson(books, arguments.lesson)
        by = (operator(), arguments.reason)
        done = await by_hand.publish(lesson, mux, books, settings.rules, by)
    print(done)
    if done.outcome != "published_before":
        print(f"asset {done.asset_id}\nplays as {done.playback_id}")
    return DONE


async def retry(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
    """Run `retry LESSON…` or `retry --all-failed`."""
    by = (operator(), arguments.reason)
    async with parts(settings, asyncio.Event()) as (_, store, _scanner):
        await store.check_schema()
        books = LessonStore(store.call)
        if arguments.all_failed:
            return await _retry_all(books, arguments.type, by)
        lessons = [await find_lesson(books, id_) for id_ in arguments.lessons]
        retried = await books.retry([lesson.id for lesson in lessons], arguments.type, None, by)
    for lesson in lessons:
        print(f"{lesson.id} {_told(lesson, lesson.id in retried, arguments.type)}")
    return DONE if len(retried) == len({lesson.id for lesson in lessons}) else FAILED


def _told(lesson: Lesson, is_retried: bool, error_type: str | None) -> str:
    row = lesson.row
    if is_retried:
        return "is due again."
    if row is None or row.status != "error":
        return f"is {row.status if row else 'not tracked'}: there is nothing to retry."
    if error_type not in (None, row.error_type):
        return f"failed with {row.error_type}, not with {error_type}: it is left as it is."
    return "is locked by somebody else: try again in a moment."


async def _retry_all(books: LessonStore, error_type: str | None, by: tuple[str, str | None]) -> int:
    count, after = 0, None
    while retried := await books.retry(None, error_type, after, by):
        count, after = count + len(retried), retried[-1]
        if len(retried) < RETRIES_PER_CALL:
            break
    print(f"{count:,} failed lesson{'' if count == 1 else 's'} due again.")
    return DONE
