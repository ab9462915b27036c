"""The commands `publish` and `retry`: what an operator does to single lessons, by name."""

import argparse
import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from worker.books import RETRY_AT_ONCE, Books
from worker.decide import Rules, settlement
from worker.errors import WorkerError
from worker.find import Found, Search
from worker.legacy import Lesson
from worker.repair import UPDATED, WORDS, Options, Step, step
from worker.wire import settlement_json

if TYPE_CHECKING:
    from worker.mux import Mux
    from worker.operate import Parts
    from worker.settings import Settings

DONE, FAILED = 0, 1


def operator() -> str:
    """Give the name that the audit keeps: OPERATOR, else who is logged in here."""
    names = (os.environ.get(name) for name in ("OPERATOR", "SUDO_USER", "USER", "LOGNAME"))
    return next((name.strip() for name in names if name and name.strip()), "unknown")


async def the_lesson(books: Books, id_: str) -> Lesson:
    """Give the one lesson that an id means; raises WorkerError where there is none or several."""
    found = await books.find_lessons(id_)
    if not found:
        raise WorkerError(
            f"No lesson, upload or asset here has the id {shown(id_)}: copy the whole id from the "
            "app's address, from Mux or from the log."
        )
    if len(found) > 1:
        ids = ", ".join(lesson.id for lesson in found[:5])
        raise WorkerError(f"{shown(id_)} is of several lessons, name one: {ids}.")
    return found[0]


def shown(text: str) -> str:
    """Write an id as it may be printed."""
    return ascii(text if len(text) <= 60 else f"{text[:60]}...")


async def look(lesson: Lesson, mux: "Mux") -> Found:
    """Ask Mux about one lesson's video."""
    async for page in Search([lesson], mux, asyncio.Event()).pages():
        for found in page:
            return found
    raise WorkerError("Mux was not asked to the end: try again.")


async def publish(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
    """Run `publish LESSON`."""
    rules = Rules(settings.playback_policies, settings.give_up_after_seconds)
    async with parts(settings, asyncio.Event()) as (mux, store, _):
        await store.check_schema()
        books = Books(store.call)
        lesson = await the_lesson(books, arguments.lesson)
        environment = await mux.environment()
        found = await look(lesson, mux)
        rivals = await books.rivals([target.id for target in lesson.targets()])
        one = step(found, rules, Options(include_drafts=True), rivals)
        seen = one.observation
        if one.kind not in UPDATED or seen is None:
            raise WorkerError(f"{lesson.id} is not published: {_why_not(one)}")
        playback_id = settlement(seen, (), rules).verdict.playback_id
        if (lesson.status, lesson.asset_id, lesson.playback_id) == (
            "published",
            seen.asset_id,
            playback_id,
        ):
            print(f"{lesson.id} is published already, and plays as {playback_id}.")
            return DONE
        outcomes = await books.publish(
            settlement_json(settlement(seen, (), rules)),
            None if one.act == "settle" else replace(one, anew=True).adoption(),
            environment,
            (operator(), arguments.reason),
        )
    for outcome in outcomes:
        if outcome.get("lesson_id") == lesson.id:
            return _tell(lesson, outcome)
    raise WorkerError(f"{lesson.id} was changed meanwhile: look at it with status and try again.")


def _tell(lesson: Lesson, outcome: dict[str, str]) -> int:
    match outcome["outcome"]:
        case "published":
            print(f"{lesson.id} is published.")
        case "attached":
            print(f"{lesson.id} has its video; it is no draft and stays {lesson.status}.")
        case "unchanged":
            print(f"{lesson.id} was settled by somebody else just now: see status.")
        case "busy":
            raise WorkerError(f"{lesson.id} is locked by somebody else: try again in a moment.")
        case "changed" | "gone":
            raise WorkerError(f"{lesson.id} was changed meanwhile: look at it and try again.")
        case "failed":
            raise WorkerError(f"{lesson.id} is not published: {outcome.get('message')}")
        case other:
            why = outcome.get("message") or other
            raise WorkerError(f"{lesson.id} is not published, the database refuses: {why}")
    print(f"asset {outcome['asset_id']}\nplays as {outcome['playback_id']}")
    return DONE


def _why_not(one: Step) -> str:
    seen = one.observation
    said = one.message or WORDS.get(one.kind, one.kind)
    if one.kind == "followed" and seen is not None:
        return (
            f"its {seen.subject} is {seen.status} at Mux. Wait: the worker publishes a tracked "
            "lesson by itself."
        )
    if one.kind == "no_video":
        return "nothing here tells of a video. Have the instructor upload one."
    if one.kind == "lesson_mismatch":
        return "the video belongs to an older lesson of another instructor."
    return f"{one.kind}: {said.rstrip('.')}. Have the instructor upload the video again."


async def retry(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
    """Run `retry LESSON…` or `retry --all-failed`."""
    by = (operator(), arguments.reason)
    async with parts(settings, asyncio.Event()) as (_, store, _reconciler):
        await store.check_schema()
        books = Books(store.call)
        if arguments.all_failed:
            return await _retry_all(books, arguments.type, by)
        lessons = [await the_lesson(books, id_) for id_ in arguments.lessons]
        retried = await books.retry([lesson.id for lesson in lessons], arguments.type, None, by)
    for lesson in lessons:
        if lesson.id in retried:
            print(f"{lesson.id} is due again.")
        else:
            status = lesson.row.status if lesson.row else "not tracked"
            print(f"{lesson.id} is {status}: there is nothing to retry.")
    return DONE if len(retried) == len({lesson.id for lesson in lessons}) else FAILED


async def _retry_all(books: Books, error_type: str | None, by: tuple[str, str | None]) -> int:
    count, after = 0, None
    while retried := await books.retry(None, error_type, after, by):
        count, after = count + len(retried), retried[-1]
        if len(retried) < RETRY_AT_ONCE:
            break
    print(f"{count:,} failed lesson{'' if count == 1 else 's'} due again.")
    return DONE
