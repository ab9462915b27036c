"""Publish one lesson by hand: look at its video, adopt the lesson, and settle as for any other."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from worker import wording
from worker.decide import Rules, decide, settlement
from worker.errors import WorkerError
from worker.lesson import Adoption, Lesson
from worker.model import Observation, Outcome, Query, Verdict
from worker.scan.environment import check_environment
from worker.scan.mux_reader import MuxReader
from worker.scan.observe import observe
from worker.supabase.lessons import By, LessonStore
from worker.supabase.serialize import settlement_json
from worker.telemetry.hooks import Telemetry
from worker.text import plain_id

LEASE_SECONDS = 5.0

CHANGED = "{} was changed in the meantime. Check its status, then try again."


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The outcome of publishing a lesson, with the ids that it plays by."""

    outcome: Literal["published", "attached", "unchanged", "published_before"]
    lesson: Lesson
    asset_id: str | None
    playback_id: str | None

    def __str__(self) -> str:
        """Return the outcome in a sentence for the operator."""
        name, status = self.lesson.label, self.lesson.status
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


async def look(query: Query, mux: MuxReader) -> Observation:
    """Return what Mux says about an upload or asset, asked once.

    Raises MuxUnavailable or MuxUnauthorized.
    """
    pages = [page async for page in observe([query], mux, asyncio.Event())]
    return pages[0][0].observation


async def publish(
    lesson: Lesson,
    mux: MuxReader,
    lessons: LessonStore,
    rules: Rules,
    by: By,
    telemetry: Telemetry | None = None,
) -> PublishResult:
    """Ask Mux about a lesson's video, and publish the lesson if the video can be played.

    Nothing is written unless it can. Raises WorkerError with the reason where the lesson is not
    published, Unavailable where Mux or Supabase does not answer.
    """
    item = {"lesson_id": lesson.id, "by_hand": True}
    (planned,) = await lessons.adopt([item], dry_run=True)
    if planned.query is None:
        raise WorkerError(_not_adopted(lesson, planned))
    environment = await mux.environment()
    observation = await look(planned.query, mux)
    if not observation.found:
        await check_environment(mux, lessons)
    verdict = decide(observation, None, rules)
    if verdict.action != "publish":
        raise WorkerError(f"{lesson.label} is not published{_reason(observation, verdict)}")
    wanted = (True, observation.asset_id, verdict.playback_id)
    if (lesson.is_published, lesson.asset_id, lesson.playback_id) == wanted:
        return PublishResult("published_before", lesson, observation.asset_id, verdict.playback_id)
    (adoption,) = await lessons.adopt([item | planned.item(observation)], lease=LEASE_SECONDS)
    if adoption.claim is None:
        raise WorkerError(_not_adopted(lesson, adoption))
    decided = settlement(observation, ((adoption.claim, 0.0),), rules)
    outcomes = await lessons.publish(settlement_json(decided), environment, by)
    if telemetry is not None:
        telemetry.settled([decided], outcomes, actor=f"operator {by[0]}")
    return _result(lesson, outcomes)


def _reason(observation: Observation, verdict: Verdict) -> str:
    if observation.found and verdict.action == "wait" and verdict.grace == "ends":
        return (
            f": its {observation.subject} is {observation.status} at Mux. Wait: the worker "
            "publishes a tracked lesson by itself."
        )
    return f" ({verdict.reason}). {wording.backfill_result(verdict.reason, verdict.message)}"


_NOT_ADOPTED = {
    "busy": "{} is locked by another transaction. Try again.",
    "lesson_mismatch": f"{{}} is not published. {wording.failure('lesson_mismatch')}",
    "several_instructors": "{} is not published. "
    f"{wording.BACKFILL_RESULTS['several_instructors']}",
    "older": "{} is not published: it has a newer video than the one it names. To go back to the "
    "older one, delete its row of mux_asset_tracking and track that upload again.",
    "names_nothing": "{} is not published: it names no video. Have the instructor upload one.",
    "unreadable_id": "{} is not published: it names something that is no id of Mux. Have the "
    "instructor upload a video.",
    "not_found": f"{{}} is not published. {wording.failure('upload_not_found')}",
}
"""Why a lesson is not published, by the reason or the outcome of its adoption."""


def _not_adopted(lesson: Lesson, adoption: Adoption) -> str:
    """Return why a lesson is not published, in sentences."""
    name, outcome = lesson.label, adoption.outcome
    if outcome.name == "refused":
        return f"{name} is not published. The database refuses it: {outcome.message}"
    sentences = _NOT_ADOPTED.get(outcome.name) or _NOT_ADOPTED.get(outcome.reason or "")
    return (sentences or CHANGED).format(name)


def _result(lesson: Lesson, outcomes: Sequence[Outcome]) -> PublishResult:
    outcome = next((outcome for outcome in outcomes if outcome.lesson_id == lesson.id), None)
    name = lesson.label
    if outcome is None:
        raise WorkerError(CHANGED.format(name))
    match outcome.name:
        case "published" | "attached" | "unchanged" as done:
            return PublishResult(done, lesson, outcome.asset_id, outcome.playback_id)
        case "busy":
            raise WorkerError(f"{name} is locked by another transaction. Try again.")
        case "failed":
            raise WorkerError(f"{name} is not published. {outcome.message}")
        case other:
            reason = outcome.message or other
            raise WorkerError(f"{name} is not published. The database refuses it: {reason}")
