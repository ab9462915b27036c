from dataclasses import replace
from typing import Any, Literal

import pytest

from tests.unit.backfill.listed_mux import ListedMux, listed, waiting
from worker import wording
from worker.backfill.publish import LEASE_SECONDS, PublishResult, publish
from worker.decide import Rules
from worker.errors import WorkerError
from worker.lesson import Lesson
from worker.supabase.lessons import LessonStore
from worker.telemetry.hooks import Telemetry

Json = dict[str, Any]

LESSON = Lesson("l1", "draft", False, None, None, None)
CLAIM = {
    "id": "t1",
    "lesson_id": "l1",
    "lesson_status": "draft",
    "upload_id": "u1",
    "asset_id": None,
    "tracked_at": "t",
    "leased_until": "t",
    "due_at": "t",
    "age_seconds": 0,
    "check_count": 0,
    "missing_seconds": None,
    "missing_count": 0,
}
PLANNED = {"outcome": "adopted", "upload_id": "u1"}
ADOPTED = {**PLANNED, "claim": CLAIM}
SETTLED = {"outcome": "published", "lesson_id": "l1", "asset_id": "a1", "playback_id": "p1"}


class Database:
    """A database that answers what is planned, what is done, and what is settled."""

    def __init__(
        self, planned: Json, done: Json | None = None, settled: Json | None = SETTLED
    ) -> None:
        self._planned = planned
        self._done = done or ADOPTED
        self._settled = [settled] if settled else []
        self.recorded = "env1"
        self.writes: list[tuple[str, Json]] = []

    async def call(self, function: str, params: Json) -> Any:
        """Answer a call of `LessonStore`."""
        if function == "worker_doctor":
            return {"environment_id": self.recorded}
        if function == "worker_adopt" and params["dry_run"]:
            assert params["adoptions"] == [{"lesson_id": "l1", "by_hand": True}]
            return [{"lesson_id": "l1", **self._planned}]
        self.writes.append((function, params))
        return (
            self._settled if function == "worker_publish" else [{"lesson_id": "l1", **self._done}]
        )


class Recorder(Telemetry):
    """Records who is said to have settled something."""

    def __init__(self) -> None:
        self.actors: list[str | None] = []

    def settled(self, settlements: Any, outcomes: Any, actor: str | None = None) -> None:
        """Record the actor."""
        self.actors.append(actor)


async def published(
    database: Database,
    mux: ListedMux | None = None,
    telemetry: Telemetry | None = None,
    lesson: Lesson = LESSON,
) -> PublishResult:
    """Publish the lesson as the operator Ines."""
    return await publish(
        lesson,
        mux or ListedMux(listed(1)),
        LessonStore(database.call),
        Rules(),
        ("Ines", "by mail"),
        telemetry,
    )


async def test_a_lesson_is_looked_at_once_adopted_and_settled_in_the_operators_name() -> None:
    """The row is leased meanwhile, and is claimed by the verdict."""
    database, mux, recorder = Database(PLANNED), ListedMux(listed(1)), Recorder()
    result = await published(database, mux, recorder)
    assert result == PublishResult("published", LESSON, "a1", "p1")
    assert mux.sent == ["asset of u1"]
    (_, adoption), (_, publication) = database.writes
    assert adoption["adoptions"] == [
        {"lesson_id": "l1", "by_hand": True, "id": "u1", "upload_id": "u1", "asset_id": "a1"}
    ]
    assert adoption["lease_seconds"] == LEASE_SECONDS
    verdict = publication.pop("verdict")
    assert (verdict["verdict"], verdict["playback_id"]) == ("publish", "p1")
    claims = [(claimed["id"], claimed["leased_until"]) for claimed in verdict["claimed"]]
    assert claims == [("t1", "t")]
    assert publication == {"environment_id": "env1", "operator": "Ines", "why": "by mail"}
    assert recorder.actors == ["operator Ines"]


async def test_a_lesson_that_plays_its_video_already_is_not_written() -> None:
    """Mux is asked first: the playback id may have been replaced."""
    database = Database({"outcome": "adopted", "upload_id": "u1", "asset_id": "a1"})
    for playback_id, outcome in (("p1", "published_before"), ("old", "published")):
        lesson = replace(LESSON, is_published=True, asset_id="a1", playback_id=playback_id)
        database.writes.clear()
        assert (await published(database, lesson=lesson)).outcome == outcome
        assert bool(database.writes) == (outcome == "published")


NOT_ADOPTED = {
    "busy": "l1 is locked by another transaction. Try again.",
    "lesson_mismatch": f"l1 is not published. {wording.FAILURES['lesson_mismatch']}",
    "several_instructors": "l1 is not published. "
    f"{wording.BACKFILL_RESULTS['several_instructors']}",
    "older": "l1 is not published: it has a newer video than the one it names. To go back to the "
    "older one, delete its row of mux_asset_tracking and track that upload again.",
    "names_nothing": "l1 is not published: it names no video. Have the instructor upload one.",
    "unreadable_id": "l1 is not published: it names something that is no id of Mux. Have the "
    "instructor upload a video.",
    "not_found": f"l1 is not published. {wording.FAILURES['upload_not_found']}",
    "deleted": "l1 was changed in the meantime. Check its status, then try again.",
    "ask": "l1 was changed in the meantime. Check its status, then try again.",
    "refused": "l1 is not published. The database refuses it: no",
}


def not_adopted(word: str) -> Json:
    """Return the answer of the database with this reason, or else with this outcome."""
    disputed = word in ("lesson_mismatch", "several_instructors")
    if word in ("busy", "ask", "refused"):
        return {"outcome": word, "message": "no" if word == "refused" else None}
    return {"outcome": "disputed" if disputed else "left_alone", "reason": word}


@pytest.mark.parametrize("word", NOT_ADOPTED)
async def test_a_lesson_that_is_not_adopted_is_refused_with_its_reason(word: str) -> None:
    """What happened, and what to do. It may be known only after Mux was asked."""
    sentences = NOT_ADOPTED[word]
    plans = [not_adopted(word)] if word not in ("busy", "ask", "refused") else []
    for database in (*map(Database, plans), Database(PLANNED, not_adopted(word))):
        with pytest.raises(WorkerError) as error:
            await published(database)
        assert str(error.value) == sentences
        assert "worker_publish" not in [function for function, _ in database.writes]


@pytest.mark.parametrize(
    ("upload_id", "sentences"),
    [
        (
            "new",
            (
                ": its upload is waiting at Mux. Wait: the worker publishes a tracked lesson by "
                "itself."
            ),
        ),
        ("gone", f" (upload_not_found). {wording.FAILURES['upload_not_found']}"),
        (
            "bad",
            (
                f" (mux_fault). {wording.BACKFILL_RESULTS['mux_fault']} Mux does not answer about "
                "this upload: Mux answered with 500."
            ),
        ),
        ("u2", f" (asset_errored). {wording.FAILURES['asset_errored']}"),
    ],
)
async def test_a_video_that_cannot_be_played_is_refused_before_anything_is_written(
    upload_id: str, sentences: str
) -> None:
    """With what Mux says now."""
    mux = ListedMux(listed(2, status="errored"), uploads=(waiting("new"),))
    mux.faults = {"bad"}
    database = Database({"outcome": "ask", "upload_id": upload_id})
    with pytest.raises(WorkerError) as error:
        await published(database, mux)
    assert str(error.value) == f"l1 is not published{sentences}"
    assert database.writes == []


async def test_a_token_of_another_environment_is_named_as_the_cause() -> None:
    """There Mux knows no id, which says nothing about the lesson's."""
    database = Database(PLANNED)
    database.recorded = "env2"
    with pytest.raises(WorkerError, match="belongs to environment env1"):
        await published(database, ListedMux())
    assert database.writes == []


@pytest.mark.parametrize(
    ("settled", "sentences"),
    [
        (None, "l1 was changed in the meantime. Check its status, then try again."),
        ({"outcome": "busy"}, "l1 is locked by another transaction. Try again."),
        ({"outcome": "failed", "message": "It broke."}, "l1 is not published. It broke."),
        (
            {"outcome": "refused", "message": "no"},
            "l1 is not published. The database refuses it: no",
        ),
    ],
)
async def test_a_verdict_that_publishes_nothing_is_refused_with_its_reason(
    settled: Json | None, sentences: str
) -> None:
    """The lesson is tracked all the same."""
    answer = {"lesson_id": "l1", **settled} if settled else None
    with pytest.raises(WorkerError) as error:
        await published(Database(PLANNED, settled=answer))
    assert str(error.value) == sentences


@pytest.mark.parametrize(
    ("outcome", "status", "sentence"),
    [
        ("published", "draft", "l1 is published."),
        ("attached", "in review", "l1 has its video. Its status stays in review."),
        ("attached", "f\x1balse", "l1 has its video. Its status stays f\\u{001b}alse."),
        ("attached", None, "l1 has its video."),
        ("unchanged", "draft", "l1 was settled by another process just now. Check its status."),
        ("published_before", "published", "l1 is published already, and plays as p1."),
    ],
)
def test_the_result_is_a_sentence_with_the_apps_own_status(
    outcome: Literal["published", "attached", "unchanged", "published_before"],
    status: str | None,
    sentence: str,
) -> None:
    """A lesson may be without a status."""
    lesson = Lesson("l1", status, False, None, None, None)
    assert str(PublishResult(outcome, lesson, "a1", "p1")) == sentence


def test_an_id_steers_no_terminal() -> None:
    """It may be any text of the app's."""
    lesson = Lesson("a/b\x1b[2J", "draft", False, None, None, None)
    assert str(PublishResult("published", lesson, None, None)) == "a/b\\u{001b}[2J is published."
