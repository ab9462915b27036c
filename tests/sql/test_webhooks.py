from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.course import let_pass as pass_time
from tests.sql.service import PUBLISH, Json, Service, fact

pytestmark = pytest.mark.stack


def note(kind: str, upload: str | None, asset: str | None = None) -> Json:
    """Build an item of `worker_take_note`."""
    verdict, reason = {
        "deleted": ("mark_deleted", "asset_deleted"),
        "look": ("look", "upload_errored"),
    }[kind]
    seen = {"source": "webhook", "upload_id": upload, "asset_id": asset}
    return {
        "verdict": verdict, "reason": reason, "upload_id": upload,
        "asset_id": asset, "observation": seen,
    }  # fmt: skip


def take(service: Service, *notes: Json) -> list[tuple[Any, ...]]:
    """Take notes; give outcome and reason of each."""
    row = service.connection.execute("select worker_take_note(%s)", [Jsonb(list(notes))]).fetchone()
    assert row is not None
    return [(outcome["outcome"], outcome.get("reason")) for outcome in row[0]]


def postpone(db: psycopg.Connection) -> None:
    """Let every row be due in an hour."""
    db.execute("update mux_private.schedule set next_check_at = now() + interval '1 hour'")


def let_pass(db: psycopg.Connection, seconds: float) -> None:
    """Let every row have been tracked, and be due, so much earlier."""
    pass_time(db, seconds)
    db.execute(
        "update mux_private.schedule set next_check_at = next_check_at - make_interval(secs => %s) "
        "where true",
        [seconds],
    )


@pytest.fixture
def arriving(db: psycopg.Connection, service: Service) -> None:
    """Let a webhook just have arrived."""
    service.connection.execute("select worker_note_events(has_matched => true)")


@pytest.fixture(autouse=True)
def quiet(supabase: LocalSupabase, db: psycopg.Connection) -> None:
    """Begin as if no webhook had ever arrived."""
    db.execute("update mux_private.worker_state set events_at = null")


def test_an_upload_that_failed_is_looked_at_at_once(
    course: Course, db: psycopg.Connection, service: Service
) -> None:
    """Its rows that wait are due, all others are as they were, and nothing is failed by it."""
    lesson, other = course.tracked_lesson("up1"), course.tracked_lesson("up2")
    postpone(db)
    assert take(service, note("look", "up1")) == [("waiting", "upload_errored")]
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]
    assert {course.row(row)["status"] for row in (lesson, other)} == {"processing"}


def test_a_note_about_nothing_of_ours_is_unmatched(service: Service) -> None:
    """It is known to be of no use."""
    assert take(service, note("look", "up1"), note("deleted", "up1", "as1")) == [
        ("unmatched", None), ("unmatched", None),
    ]  # fmt: skip


def test_the_deletion_of_a_published_video_is_kept_and_told_once(
    course: Course, service: Service
) -> None:
    """The audit has it once, however often the event comes, and the lesson is left as it is."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    before = course.state(lesson)
    deleted = note("deleted", "up1", "as1")
    assert take(service, deleted) == [("unplayable", "asset_deleted")]
    assert take(service, deleted) == [("unchanged", "asset_deleted")]
    assert take(service, deleted, deleted) == [("unchanged", "asset_deleted")]
    assert course.state(lesson) == before
    assert course.row(lesson)["error_type"] == "asset_deleted"
    kept = [e for e in course.events(lesson) if e["event"] == "unplayable"]
    assert [(e["asset_id"], e["playback_id"], e["lesson_to_status"]) for e in kept] == [
        ("as1", "play-as1", "published")
    ]


def test_the_deletion_of_an_older_video_is_nothing(course: Course, service: Service) -> None:
    """A lesson that has a new upload does not care for what became of its old one."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    course.track(lesson, "up2")
    service.settle(fact(PUBLISH, "up2", "as2"))
    assert take(service, note("deleted", "up1", "as1")) == [("unmatched", None)]
    assert take(service, note("deleted", "up2", "as1")) == [("unmatched", None)]


def test_a_migrated_row_is_found_by_its_asset(course: Course, service: Service) -> None:
    """There the upload is not known."""
    course.tracked_lesson("migrated", mux_asset_id="as1")
    service.settle(fact(PUBLISH, None, "as1"))
    assert take(service, note("deleted", "up1", "as1")) == [("unplayable", "asset_deleted")]


def test_a_late_event_does_not_publish_what_was_deleted(course: Course, service: Service) -> None:
    """`ready` after `deleted` is old news: the lesson stays a draft and Mux is asked."""
    lesson = course.tracked_lesson("up1")
    assert take(service, note("deleted", "up1", "as1")) == [("waiting", "asset_deleted")]
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["waiting"]
    assert course.state(lesson)["status"] == "draft"
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_another_asset_of_that_upload_is_published_all_the_same(
    course: Course, service: Service
) -> None:
    """Only the asset that was deleted is gone."""
    lesson = course.tracked_lesson("up1")
    take(service, note("deleted", "up1", "as1"))
    assert service.outcomes(fact(PUBLISH, "up1", "as2")) == ["published"]
    assert course.state(lesson)["mux_asset_id"] == "as2"


def test_a_failed_row_is_not_revived_by_a_deleted_asset(course: Course, service: Service) -> None:
    """A late truth beats an early despair, but not when it is no longer one."""
    lesson = course.tracked_lesson("up1")
    course.track(lesson, "up1", mux_asset_id="as1")
    service.settle(fact({"verdict": "fail", "reason": "gave_up"}, "up1"))
    assert take(service, note("deleted", "up1", "as1")) == [("unchanged", "asset_deleted")]
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["unchanged"]


def test_while_webhooks_arrive_new_uploads_are_left_to_them(
    course: Course, db: psycopg.Connection, service: Service, arriving: None
) -> None:
    """Nobody claims a row in its first minute; after it, anybody does."""
    lesson = course.tracked_lesson("up1")
    assert service.claim() == []
    let_pass(db, 59)
    assert service.claim() == []
    let_pass(db, 2)
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


@pytest.mark.parametrize(
    ("recorded", "environment", "has_matched", "counts"),
    [
        ("ours", "ours", False, True),
        ("ours", "another", False, False),
        ("ours", None, False, False),
        ("ours", "another", True, True),
        (None, "ours", False, False),
        (None, "ours", True, True),
    ],
)
def test_webhooks_arrive_if_they_are_of_our_environment_or_about_our_rows(
    db: psycopg.Connection,
    service: Service,
    recorded: str | None,
    environment: str | None,
    has_matched: bool,
    counts: bool,
) -> None:
    """Where none is recorded yet, only a row tells; whoever asks hears which is recorded."""
    db.execute("update mux_private.worker_state set environment_id = %s where true", [recorded])
    result = service.connection.execute(
        "select worker_note_events(%s, %s)", [environment, has_matched]
    ).fetchone()
    arrive = service.connection.execute("select mux_private.events_arrive()").fetchone()
    assert (result and result[0], arrive) == (recorded, (counts,))


def test_what_something_has_made_due_is_not_left(
    course: Course, service: Service, arriving: None
) -> None:
    """An upload of that minute that a webhook says has failed is looked at at once."""
    lesson = course.tracked_lesson("up1")
    take(service, note("look", "up1"))
    claimed = service.claim()
    assert [row["lesson_id"] for row in claimed] == [str(lesson)]
    service.release(claimed)
    assert len(service.claim()) == 1


def test_what_was_claimed_before_webhooks_came_is_not_left(
    course: Course, db: psycopg.Connection, service: Service
) -> None:
    """A new upload that a scan had no time for is handed back to the scans."""
    lesson = course.tracked_lesson("up1")
    claimed = service.claim()
    db.execute("update mux_private.worker_state set events_at = now()")
    service.release(claimed)
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


@pytest.mark.parametrize("by", ["the app", "the operator"])
def test_a_failed_upload_that_is_tried_again_is_not_left(
    course: Course, service: Service, arriving: None, by: str
) -> None:
    """Mux has told of it what there was to tell: it is looked at at once."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact({"verdict": "fail", "reason": "gave_up"}, "up1"))
    if by == "the app":
        course.track(lesson, "up1")
    else:
        service.connection.execute("select worker_retry(operator => 'Olga')")
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_when_webhooks_stop_the_scan_is_as_before(
    course: Course, db: psycopg.Connection, service: Service, arriving: None
) -> None:
    """Ten minutes after the last one, by itself; and workers are told which of both it is."""
    course.tracked_lesson("up1")

    def result() -> tuple[int, bool]:
        row = service.connection.execute("select worker_claim(10, 60)").fetchone()
        assert row is not None
        return len(row[0]["rows"]), row[0]["events_arrive"]

    assert result() == (0, True)
    db.execute("update mux_private.worker_state set events_at = now() - interval '601 s'")
    course.tracked_lesson("up2")
    assert result() == (1, False)
    let_pass(db, 60)
    assert result() == (2, False)


def test_a_row_that_somebody_keeps_locked_is_busy_alone(
    course: Course, connections: Any, service: Service
) -> None:
    """A deletion is not lost, to be told of again; the facts of others are taken note of."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(5)]
    held = {"up1", "up3", "up4"}
    service.settle(*(fact(PUBLISH, f"up{n}", f"as{n}") for n in range(5)))
    holder = connections.transaction()
    holder.execute(
        "select from mux_asset_tracking where upload_id = any(%s) for update", [list(held)]
    )
    notes = [note("deleted", f"up{n}", f"as{n}") for n in range(5)]
    row = service.connection.execute("select worker_take_note(%s)", [Jsonb(notes)]).fetchone()
    assert row is not None
    ends = {one["upload_id"]: one["outcome"] for one in row[0]}
    assert ends == {f"up{n}": "busy" if f"up{n}" in held else "unplayable" for n in range(5)}
    names = ("lesson_id", "tracking_id", "asset_id")
    (busy,) = (one for one in row[0] if one["upload_id"] == "up1")
    assert [busy[name] for name in names] == [
        str(lessons[1]), str(course.row(lessons[1])["id"]), "as1",
    ]  # fmt: skip
    holder.rollback()
    assert take(service, notes[1]) == [("unplayable", "asset_deleted")]


def test_who_copied_an_asset_and_keeps_the_copy_locked_keeps_no_deletion_from_being_kept(
    db: psycopg.Connection, course: Course, service: Service, supabase: LocalSupabase
) -> None:
    """Only of the copy it is not known; the others are told of in the same call."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(2)]
    service.settle(*(fact(PUBLISH, f"up{n}", f"as{n}") for n in range(2)))
    copy = course.tracked_lesson("as0", course.bert)
    with supabase.connect(autocommit=False) as other:
        other.execute("select from mux_private.upload_history where mux_id = 'as0' for update")
        result = take(service, *(note("deleted", f"up{n}", f"as{n}") for n in range(2)))
    assert result.count(("unplayable", "asset_deleted")) == 2
    assert [course.row(lesson)["error_type"] for lesson in lessons] == ["asset_deleted"] * 2
    known = db.execute("select lesson_id from mux_private.upload_history where not is_deleted")
    assert known.fetchall() == [(copy,)]


@pytest.mark.parametrize("value", [None, {}, [1] * 101])
def test_what_is_no_list_of_notes_is_refused(service: Service, value: Any) -> None:
    """As a bad request."""
    with pytest.raises(psycopg.Error, match="worker_take_note needs facts"):
        service.connection.execute("select worker_take_note(%s)", [Jsonb(value)])
