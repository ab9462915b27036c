from typing import Any, Literal

import pytest

from tests.unit.backfill.listed_mux import ListedMux, listed
from worker import wording
from worker.backfill.publish import PublishResult, publish
from worker.decide import Rules
from worker.errors import WorkerError
from worker.lesson import Lesson
from worker.supabase.lessons import LessonStore
from worker.telemetry.hooks import Telemetry

Json = dict[str, Any]

LESSON = Lesson("l1", "draft", None, None, None)
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
ADOPTED = {"outcome": "adopted", "upload_id": "u1", "claim": CLAIM}


class Database:
    """A database that gives the answers to `worker_adopt` and `worker_publish` in turn."""

    def __init__(self, *adoptions: Json, settled: Json | None = None, home: str = "env1") -> None:
        self._adoptions = list(adoptions)
        self._settled = [settled] if settled else []
        self._home = home
        self.calls: list[tuple[str, Json]] = []

    async def call(self, function: str, params: Json) -> Any:
        """Answer a call of `LessonStore`."""
        if function == "worker_doctor":
            return {"environment_id": self._home}
        self.calls.append((function, params))
        if function == "worker_publish":
            return self._settled
        return [{"lesson_id": "l1", **self._adoptions.pop(0)}]


class Recorder(Telemetry):
    """Records who is said to have settled something."""

    def __init__(self) -> None:
        self.actors: list[str | None] = []

    def settled(self, settlements: Any, outcomes: Any, actor: str | None = None) -> None:
        """Record the actor."""
        self.actors.append(actor)


async def published(
    database: Database, mux: ListedMux | None = None, telemetry: Telemetry | None = None
) -> PublishResult:
    """Publish the lesson as the operator Ines."""
    return await publish(
        LESSON,
        mux or ListedMux(listed(1)),
        LessonStore(database.call),
        Rules(),
        ("Ines", "by mail"),
        telemetry,
    )


async def test_a_lesson_is_adopted_looked_at_once_and_settled_in_the_operators_name() -> None:
    """The row is leased meanwhile, and is claimed by the verdict."""
    settled = {"outcome": "published", "lesson_id": "l1", "asset_id": "a1", "playback_id": "p1"}
    database, mux, recorder = Database(ADOPTED, settled=settled), ListedMux(listed(1)), Recorder()
    result = await published(database, mux, recorder)
    assert result == PublishResult("published", LESSON, "a1", "p1")
    assert mux.sent == ["asset of u1"]
    (_, adoption), (_, publication) = database.calls
    assert adoption["adoptions"] == [{"lesson_id": "l1", "by_hand": True}]
    assert adoption["lease_seconds"] == 5
    verdict = publication.pop("verdict")
    assert (verdict["verdict"], verdict["playback_id"]) == ("publish", "p1")
    assert [(claimed["id"], claimed["leased_until"]) for claimed in verdict["claimed"]] == [
        ("t1", "t")
    ]
    assert publication == {"environment_id": "env1", "operator": "Ines", "why": "by mail"}
    assert recorder.actors == ["operator Ines"]


async def test_a_new_id_of_a_lesson_with_a_history_is_identified_first() -> None:
    """The second adoption is by hand as well."""
    ask = {"outcome": "ask", "upload_id": "u1"}
    settled = {"outcome": "published", "lesson_id": "l1"}
    database = Database(ask, ADOPTED, settled=settled)
    await published(database)
    assert database.calls[1][1]["adoptions"] == [
        {"lesson_id": "l1", "by_hand": True, "id": "u1", "upload_id": "u1", "asset_id": "a1"}
    ]


async def test_a_lesson_that_is_published_already_is_not_settled() -> None:
    """Mux is not asked."""
    mux, database = ListedMux(), Database({"outcome": "unchanged", "reason": "published"})
    assert (await published(database, mux)).outcome == "published_before"
    assert mux.sent == []


@pytest.mark.parametrize(
    ("adoption", "sentences"),
    [
        ({"outcome": "busy"}, "l1 is locked by another transaction. Try again."),
        ({"outcome": "disputed"}, f"l1 is not published. {wording.DISPUTED}"),
        (
            {"outcome": "refused", "message": "no"},
            "l1 is not published. The database refuses it: no",
        ),
        (
            {"outcome": "left_alone", "reason": "older"},
            (
                "l1 is not published: it has a newer video than the one it names. To go back to "
                "the older one, delete its row of mux_asset_tracking and track that upload again."
            ),
        ),
        (
            {"outcome": "left_alone", "reason": "names_nothing"},
            "l1 is not published: it names no video. Have the instructor upload one.",
        ),
        (
            {"outcome": "left_alone", "reason": "unreadable_id"},
            (
                "l1 is not published: it names something that is no id of Mux. Have the instructor "
                "upload a video."
            ),
        ),
        (
            {"outcome": "left_alone", "reason": "not_found"},
            f"l1 is not published. {wording.failure('upload_not_found')}",
        ),
        (
            {"outcome": "left_alone", "reason": "deleted"},
            "l1 was changed in the meantime. Check its status, then try again.",
        ),
    ],
    ids=lambda value: value.get("reason", value["outcome"]) if isinstance(value, dict) else None,
)
async def test_a_lesson_that_is_not_adopted_is_refused_with_its_reason(
    adoption: Json, sentences: str
) -> None:
    """What happened, and what to do. Nothing is settled."""
    database = Database(adoption)
    with pytest.raises(WorkerError) as error:
        await published(database)
    assert str(error.value) == sentences
    assert [function for function, _ in database.calls] == ["worker_adopt"]


async def test_an_id_about_which_mux_does_not_answer_is_named_as_such() -> None:
    """The lesson stays as it is."""
    mux = ListedMux()
    mux.faults = {"u1"}
    with pytest.raises(WorkerError, match="Mux does not answer about the id that it names"):
        await published(Database({"outcome": "ask", "upload_id": "u1"}), mux)


@pytest.mark.parametrize("adoption", [{"outcome": "ask", "upload_id": "u1"}, ADOPTED])
async def test_a_token_of_another_environment_is_named_as_the_cause(adoption: Json) -> None:
    """There Mux knows no id, which says nothing about the lesson's."""
    with pytest.raises(WorkerError, match="belongs to environment env1"):
        await published(Database(adoption, home="env2"), ListedMux())


@pytest.mark.parametrize(
    ("settled", "sentences"),
    [
        (None, "l1 was changed in the meantime. Check its status, then try again."),
        ({"outcome": "busy"}, "l1 is locked by another transaction. Try again."),
        ({"outcome": "failed", "message": "It broke."}, "l1 is not published: It broke."),
        (
            {"outcome": "waiting", "reason": "upload_waiting"},
            (
                "l1 is not published yet: Mux waits for the file. The worker publishes it when the "
                "video is ready."
            ),
        ),
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
        await published(Database(ADOPTED, settled=answer))
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
    lesson = Lesson("l1", status, None, None, None)
    assert str(PublishResult(outcome, lesson, "a1", "p1")) == sentence


def test_an_id_steers_no_terminal() -> None:
    """It may be any text of the app's."""
    lesson = Lesson("a/b\x1b[2J", "draft", None, None, None)
    assert str(PublishResult("published", lesson, None, None)) == "a/b\\u{001b}[2J is published."
