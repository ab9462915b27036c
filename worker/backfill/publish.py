"""What an operator does to one lesson by hand, whatever the button: a command, or a page's form."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from worker import wording
from worker.backfill.plan import UPDATED, Options, Step, step
from worker.backfill.search import Found, Search
from worker.decide import Rules, settlement
from worker.errors import WorkerError
from worker.lesson import Lesson
from worker.scan.environment import check_environment
from worker.scan.mux_reader import MuxReader
from worker.supabase.lessons import Books
from worker.supabase.serialize import settlement_json

LEASE_SECONDS = 5.0

By = tuple[str, str | None]
"""Who did it, and why, for the audit."""


class KnowsMux(MuxReader, Protocol):
    """What publishing by hand needs of Mux."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a lesson that was to be published, with the ids that it plays by."""

    outcome: Literal["published", "attached", "unchanged", "published_before"]
    lesson: Lesson
    asset_id: str | None
    playback_id: str | None

    def __str__(self) -> str:
        """Say it in one sentence."""
        lesson = self.lesson
        match self.outcome:
            case "published":
                return f"{lesson.id} is published."
            case "attached":
                return f"{lesson.id} has its video; it is no draft and stays {lesson.status}."
            case "unchanged":
                return f"{lesson.id} was settled by somebody else just now: see status."
            case "published_before":
                return f"{lesson.id} is published already, and plays as {self.playback_id}."


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


async def look(lesson: Lesson, mux: MuxReader) -> Found:
    """Ask Mux about one lesson's video."""
    async for page in Search([lesson], mux, asyncio.Event()).pages():
        for found in page:
            return found
    raise WorkerError("Mux was not asked to the end: try again.")


async def publish(lesson: Lesson, mux: KnowsMux, books: Books, rules: Rules, by: By) -> Done:
    """Ask Mux about a lesson, and publish it if its video can be played.

    Raises WorkerError with the reason where it is not published, Unavailable where Mux or Supabase
    does not answer.
    """
    environment = await mux.environment()
    found = await look(lesson, mux)
    if found.observation is not None and not found.observation.found:
        await check_environment(mux, books)
    rivals = await books.rivals([target.id for target in lesson.targets])
    one = step(found, rules, Options(include_drafts=True), rivals)
    seen = one.observation
    if one.kind not in UPDATED or seen is None:
        raise WorkerError(f"{lesson.id} is not published: {_why_not(one)}")
    decided = settlement(seen, (), rules)
    playback_id = decided.verdict.playback_id
    wanted = ("published", seen.asset_id, playback_id)
    if (lesson.status, lesson.asset_id, lesson.playback_id) == wanted:
        return Done("published_before", lesson, seen.asset_id, playback_id)
    if one.act != "settle" or one.missing:
        answer = (await books.adopt([replace(one, by_hand=True).adoption()], LEASE_SECONDS))[0]
        if answer["outcome"] != "adopted":
            return _done(lesson, [answer])
    outcomes = await books.publish(settlement_json(decided), environment, by)
    return _done(lesson, outcomes)


def _done(lesson: Lesson, outcomes: Sequence[dict[str, str]]) -> Done:
    outcome = next((one for one in outcomes if one.get("lesson_id") == lesson.id), None)
    if outcome is None:
        raise WorkerError(
            f"{lesson.id} was changed meanwhile: look at it with status and try again."
        )
    match outcome["outcome"]:
        case "published" | "attached" | "unchanged" as name:
            return Done(name, lesson, outcome["asset_id"], outcome["playback_id"])
        case "busy":
            raise WorkerError(f"{lesson.id} is locked by somebody else: try again in a moment.")
        case "older":
            raise WorkerError(
                f"{lesson.id} is not published: it has a newer video than the one it names. To go "
                "back to the older one, delete its row of mux_asset_tracking and track that upload "
                "again."
            )
        case "disputed":
            raise WorkerError(f"{lesson.id} is not published: {wording.failure('lesson_mismatch')}")
        case "changed" | "gone" | "ask" | "left_alone":
            raise WorkerError(f"{lesson.id} was changed meanwhile: look at it and try again.")
        case "failed":
            raise WorkerError(f"{lesson.id} is not published: {outcome.get('message')}")
        case other:
            why = outcome.get("message") or other
            raise WorkerError(f"{lesson.id} is not published, the database refuses: {why}")


def _why_not(one: Step) -> str:
    seen = one.observation
    if one.kind == "followed" and seen is not None:
        return (
            f"its {seen.subject} is {seen.status} at Mux. Wait: the worker publishes a tracked "
            "lesson by itself."
        )
    if one.kind == "no_video":
        return "nothing here tells of a video. Have the instructor upload one."
    return f"{one.kind}: {wording.kind(one.kind, one.message)}"
