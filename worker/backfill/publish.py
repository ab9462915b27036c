"""Publish one lesson by hand, for the command line and the dashboard."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from worker import wording
from worker.backfill.plan import UPDATED, Options, Step, step
from worker.backfill.search import Found, Search
from worker.decide import Rules, settlement
from worker.errors import WorkerError
from worker.lesson import Lesson
from worker.model import Outcome
from worker.scan.environment import check_environment
from worker.scan.mux_reader import MuxReader
from worker.supabase.lessons import By, LessonStore
from worker.supabase.serialize import settlement_json
from worker.telemetry.hooks import Telemetry
from worker.text import plain_id, quoted

LEASE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The outcome of publishing a lesson, with the ids that it plays by."""

    outcome: Literal["published", "attached", "unchanged", "published_before"]
    lesson: Lesson
    asset_id: str | None
    playback_id: str | None

    def __str__(self) -> str:
        """Return the outcome in a sentence for the operator."""
        name, status = plain_id(self.lesson.id), self.lesson.status
        match self.outcome:
            case "published":
                return f"{name} is published."
            case "attached" if status is not None:
                return f"{name} has its video. Its status stays {plain_id(status)}."
            case "attached":
                return f"{name} has its video."
            case "unchanged":
                return f"{name} was settled by another process just now. Check its status."
            case "published_before":
                return f"{name} is published already, and plays as {self.playback_id}."


async def find_lesson(lessons: LessonStore, id_: str) -> Lesson:
    """Return the only lesson with this id, be it a lesson's, an upload's or an asset's.

    Raises WorkerError where there is none, or more than one.
    """
    found = await lessons.find_lessons(id_)
    if not found:
        raise WorkerError(
            f"No lesson, upload or asset has the id {quoted(id_)}. Copy the whole id from the "
            "app's address, from Mux or from the log."
        )
    if len(found) > 1:
        ids = ", ".join(plain_id(lesson.id) for lesson in found[:5])
        raise WorkerError(f"{quoted(id_)} belongs to several lessons. Name one of them: {ids}.")
    return found[0]


async def observe_lesson(lesson: Lesson, mux: MuxReader) -> Found:
    """Return what Mux knows about a lesson's video."""
    pages = Search([lesson], mux, asyncio.Event()).pages()
    found = [found async for page in pages for found in page]
    if not found:
        raise WorkerError("The search in Mux was interrupted. Try again.")
    return found[0]


async def publish(
    lesson: Lesson,
    mux: MuxReader,
    lessons: LessonStore,
    rules: Rules,
    by: By,
    telemetry: Telemetry | None = None,
) -> PublishResult:
    """Observe a lesson's video at Mux, and publish the lesson if the video can be played.

    Raises WorkerError with the reason where it is not published, Unavailable where Mux or Supabase
    does not answer.
    """
    environment = await mux.environment()
    found = await observe_lesson(lesson, mux)
    if found.observation is not None and not found.observation.found:
        await check_environment(mux, lessons)
    rivals = await lessons.rivals([target.id for target in lesson.targets])
    planned = step(found, rules, Options(include_drafts=True), rivals)
    observation = planned.observation
    if planned.kind not in UPDATED or observation is None:
        raise WorkerError(f"{plain_id(lesson.id)} is not published: {_reason(planned)}")
    decided = settlement(observation, (), rules)
    playback_id = decided.verdict.playback_id
    wanted = (True, observation.asset_id, playback_id)
    if (lesson.is_published, lesson.asset_id, lesson.playback_id) == wanted:
        return PublishResult("published_before", lesson, observation.asset_id, playback_id)
    if planned.act != "settle" or planned.missing:
        adoption = replace(planned, by_hand=True).adoption()
        adopted = (await lessons.adopt([adoption], LEASE_SECONDS))[0]
        if adopted["outcome"] != "adopted":
            return _result(lesson, [Outcome.from_json(adopted)])
    outcomes = await lessons.publish(settlement_json(decided), environment, by)
    if telemetry is not None:
        telemetry.settled([decided], outcomes, actor=f"operator {by[0]}")
    return _result(lesson, outcomes)


def _result(lesson: Lesson, outcomes: Sequence[Outcome]) -> PublishResult:
    outcome = next((outcome for outcome in outcomes if outcome.lesson_id == lesson.id), None)
    name = plain_id(lesson.id)
    changed = f"{name} was changed in the meantime. Check its status, then try again."
    if outcome is None:
        raise WorkerError(changed)
    match outcome.name:
        case "published" | "attached" | "unchanged" as done:
            return PublishResult(done, lesson, outcome.asset_id, outcome.playback_id)
        case "busy":
            raise WorkerError(f"{name} is locked by another transaction. Try again.")
        case "older":
            raise WorkerError(
                f"{name} is not published: it has a newer video than the one it names. To go "
                "back to the older one, delete its row of mux_asset_tracking and track that upload "
                "again."
            )
        case "disputed":
            raise WorkerError(f"{name} is not published: {wording.failure('lesson_mismatch')}")
        case "changed" | "unidentified":
            raise WorkerError(changed)
        case "failed":
            raise WorkerError(f"{name} is not published: {outcome.message}")
        case other:
            reason = outcome.message or other
            raise WorkerError(f"{name} is not published. The database refuses it: {reason}")


def _reason(planned: Step) -> str:
    observation = planned.observation
    if planned.kind == "followed" and observation is not None:
        return (
            f"its {observation.subject} is {observation.status} at Mux. Wait: the worker publishes "
            "a tracked lesson by itself."
        )
    if planned.kind == "no_video":
        return "it names no video. Have the instructor upload one."
    return f"{planned.kind}: {wording.backfill_result(planned.kind, planned.message)}"
