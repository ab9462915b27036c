"""The command `status`: how all lessons stand, or one of them with its history."""

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from worker.backfill.publish import find_lesson, observe_lesson
from worker.cli.status_view import lesson_lines, table_lines
from worker.errors import Unavailable, explain
from worker.supabase.lessons import LessonStore

if TYPE_CHECKING:
    from worker.cli.command import Parts
    from worker.settings import Settings

DONE, FAILED = 0, 1
CLEAR = "\x1b[H\x1b[2J"


async def status(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
    """Run `status [LESSON]`."""
    async with parts(settings, asyncio.Event()) as (mux, store, _):
        await store.check_schema()
        books = LessonStore(store.call)
        if arguments.lesson is not None:
            return await _lesson(arguments, books, mux)
        while True:
            told = await books.status()
            if arguments.watch is not None and sys.stdout.isatty() and not arguments.json:
                print(CLEAR, end="")
            print(json.dumps(told) if arguments.json else "\n".join(table_lines(told)), flush=True)
            if arguments.watch is None:
                return DONE
            await asyncio.sleep(arguments.watch)


async def _lesson(arguments: argparse.Namespace, books: LessonStore, mux: Any) -> int:
    lesson = await find_lesson(books, arguments.lesson)
    told = await books.lesson(lesson.id)
    code = DONE
    try:
        seen = (await observe_lesson(lesson, mux)).observation
        told["mux"] = None if seen is None else seen.as_json()
    except Unavailable as fault:
        told["mux"] = {"unavailable": explain(fault)}
        code = FAILED
    print(json.dumps(told, indent=2) if arguments.json else "\n".join(lesson_lines(told)))
    return code
