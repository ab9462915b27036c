"""A lesson that has its video, and whose playback id is replaced or withdrawn in Mux."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.course import Course
from tests.sql.instructor import Instructor
from tests.sql.service import Json, Service
from worker.decide import Rules, settlement
from worker.model import Claim, Observation, PlaybackId
from worker.supabase.serialize import settlement_json
from worker.wording import FAILURES

pytestmark = pytest.mark.stack

ASSET = Observation("asset", "ready", "webhook", "up1", "as1")
MISSING = Observation("asset", "missing", "probe", None, "as1")


def listing(*ids: str, policy: str = "public") -> Observation:
    """Let Mux say that the asset is ready and lists these playback ids."""
    return replace(ASSET, playback_ids=tuple(PlaybackId(one, policy) for one in ids))


def event(seen: Observation) -> Json:
    """Build the item that an event becomes."""
    return settlement_json(settlement(seen, (), Rules()))


def look(row: Json, seen: Observation) -> Json:
    """Build the item that a look at a claimed row becomes."""
    claims = ((Claim.from_json(row), 0.5),)
    return settlement_json(settlement(replace(seen, source="probe"), claims, Rules()))


def delete(service: Service, seen: Observation = ASSET) -> list[tuple[Any, ...]]:
    """Let the event of a deletion come; give outcome and reason of each row."""
    return settled(service, event(replace(seen, status="deleted")))


def settled(service: Service, *items: Json) -> list[tuple[Any, ...]]:
    """Settle items; give outcome and reason of each row."""
    return [(one["outcome"], one.get("reason")) for one in service.settle(*items)]


def adopt(service: Service, lesson: UUID) -> str:
    """Adopt a lesson; return the outcome."""
    adoptions = Jsonb([{"lesson_id": str(lesson)}])
    query = b"select worker_adopt(%s) -> 0 ->> 'outcome'"
    row = service.connection.execute(query, [adoptions]).fetchone()
    assert row is not None
    return str(row[0])


def stands(course: Course, lesson: UUID) -> tuple[Any, ...]:
    """Give the status and the playback id of lesson and row, and why the row does not play."""
    state, row = course.state(lesson), course.row(lesson)
    return (
        *(state["status"], state["mux_playback_id"]),
        *(row["status"], row["mux_playback_id"], row["error_type"]),
    )


def audit(course: Course, lesson: UUID) -> list[tuple[str, str]]:
    """Give event and reason of what happened since the lesson was published."""
    return [(e["event"], e["reason"]) for e in course.events(lesson)[2:]]


PLAYS = ("published", "one", "ready", "one", None)
PLAYS_TWO = ("published", "two", "ready", "two", None)
WITHDRAWN = ("published", "one", "ready", "one", "playback_ids_withdrawn")
CHANGED = "playback_ids_changed"


@pytest.fixture
def lesson(course: Course, service: Service) -> UUID:
    """Give a published lesson that plays as `one`."""
    lesson = course.tracked_lesson("up1")
    assert settled(service, event(listing("one"))) == [("published", "asset_ready")]
    return lesson


def test_a_published_lesson_follows_its_replaced_playback_id(
    course: Course, service: Service, lesson: UUID
) -> None:
    """The event only has the row looked at once more; that look gives the lesson the new id."""
    before = course.state(lesson)
    assert settled(service, event(listing("two"))) == [("waiting", "recheck")]
    assert stands(course, lesson) == PLAYS
    (row,) = service.claim()
    assert (row["status"], row["playback_id"], row["lesson_id"]) == ("ready", "one", str(lesson))
    assert settled(service, look(row, listing("two"))) == [("updated", CHANGED)]
    after = course.state(lesson)
    assert after == {**before, "mux_playback_id": "two", "updated_at": after["updated_at"]}
    assert stands(course, lesson) == PLAYS_TWO
    assert course.row(lesson)["next_check_at"] is None
    assert audit(course, lesson) == [("rechecked", CHANGED), ("updated", CHANGED)]
    assert settled(service, look(row, listing("two"))) == [("unchanged", "asset_ready")]
    assert service.claim() == []


def test_an_old_event_after_the_new_id_changes_nothing(
    course: Course, service: Service, lesson: UUID
) -> None:
    """It costs a look, which finds the id that the lesson plays."""
    service.settle(event(listing("two")))
    service.settle(look(service.claim()[0], listing("two")))
    assert settled(service, event(listing("one"))) == [("waiting", "recheck")]
    assert stands(course, lesson) == PLAYS_TWO
    assert settled(service, look(service.claim()[0], listing("two"))) == [
        ("unchanged", "asset_ready")
    ]
    assert stands(course, lesson) == PLAYS_TWO
    assert service.claim() == []


def test_while_the_id_is_listed_nothing_changes(
    course: Course, service: Service, lesson: UUID
) -> None:
    """Whatever else is listed, and however often it is said."""
    for ids in (("two", "one"), ("one",)):
        assert settled(service, event(listing(*ids))) == [("unchanged", "asset_ready")]
    assert (stands(course, lesson), service.claim()) == (PLAYS, [])


def test_an_event_while_mux_is_asked_has_the_row_looked_at_again(
    course: Course, service: Service, lesson: UUID
) -> None:
    """The answer under way may be older than the event, so it settles nothing."""
    service.settle(event(listing()))
    (row,) = service.claim()
    assert settled(service, event(listing("two"))) == [("waiting", "recheck")]
    assert settled(service, look(row, listing())) == [("unchanged", "playback_ids_withdrawn")]
    assert stands(course, lesson) == PLAYS
    assert settled(service, look(service.claim()[0], listing("two"))) == [("updated", CHANGED)]
    assert audit(course, lesson) == [("rechecked", CHANGED), ("updated", CHANGED)]


def test_of_two_workers_the_late_one_settles_nothing(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """A row is handed out once; whose lease ran out meanwhile has an old answer."""
    service.settle(event(listing("two")))
    (late,) = service.claim()
    assert service.claim() == []
    db.execute("update mux_private.schedule set next_check_at = now() - interval '1 s' where true")
    (row,) = service.claim()
    assert settled(service, look(row, listing("two"))) == [("updated", CHANGED)]
    assert settled(service, look(late, listing())) == [("unchanged", "playback_ids_withdrawn")]
    assert stands(course, lesson) == PLAYS_TWO


def test_a_withdrawn_playback_id_is_told_and_one_that_comes_back_clears_it(
    course: Course, service: Service, instructor: Instructor, lesson: UUID
) -> None:
    """Lesson and row stay as they are, and the app is told why it plays no more."""
    service.settle(event(listing()))
    (outcome,) = service.settle(look(service.claim()[0], listing("sig", policy="signed")))
    sentence = FAILURES["playback_ids_withdrawn"]
    names = ("outcome", "reason", "message")
    assert [outcome[name] for name in names] == ["unplayable", "playback_ids_withdrawn", sentence]
    assert stands(course, lesson) == WITHDRAWN
    result = instructor.check_asset_status(lesson)
    assert result == {
        "status": "ready",
        "playbackId": None,
        "error": {"message": sentence, "type": "playback_ids_withdrawn"},
        "stuck": False,
        "progress": None,
        "checkedAt": result["checkedAt"],
        "durationSeconds": None,
        "aspectRatio": None,
        "maxResolution": None,
    }
    assert settled(service, event(listing())) == [("unchanged", "no_playback_id")]

    assert settled(service, event(listing("one"))) == [("waiting", "recheck")]
    assert settled(service, look(service.claim()[0], listing("one"))) == [("updated", CHANGED)]
    assert stands(course, lesson) == PLAYS
    assert instructor.check_asset_status(lesson)["playbackId"] == "one"
    assert [event for event, _ in audit(course, lesson)] == [
        *("rechecked", "unplayable"), *("rechecked", "updated"),
    ]  # fmt: skip


def test_a_lesson_that_somebody_unpublished_is_not_published(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """It follows to the new id and stays a draft."""
    db.execute("update lessons set status = 'draft' where id = %s", [lesson])
    service.settle(event(listing("two")))
    assert settled(service, look(service.claim()[0], listing("two"))) == [("updated", CHANGED)]
    assert stands(course, lesson) == ("draft", *PLAYS_TWO[1:])


def test_a_lesson_whose_ids_the_app_changed_keeps_them(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """Before the event or while Mux is asked; its row follows alone."""
    for before, after, id_ in (("own", "own", "two"), ("two", "own", "three")):
        db.execute("update lessons set mux_playback_id = %s where id = %s", [before, lesson])
        service.settle(event(listing(id_)))
        (row,) = service.claim()
        db.execute("update lessons set mux_playback_id = %s where id = %s", [after, lesson])
        assert settled(service, look(row, listing(id_))) == [("unchanged", CHANGED)]
        assert stands(course, lesson) == ("published", "own", "ready", id_, None)
        assert service.claim() == []


def test_what_is_restored_has_the_latest_playback_id(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """Also where a form had overwritten the lesson's ids when the event came."""
    form = "update lessons set mux_asset_id = 'temp_up1', mux_playback_id = 'temp_playback_up1'"
    db.execute(form.encode())
    service.settle(event(listing("two")))
    (row,) = service.claim()
    service.settle(look(row, listing("two")))
    adopt(service, lesson)
    assert stands(course, lesson) == PLAYS_TWO


def test_an_upload_that_was_replaced_changes_nothing(
    course: Course, service: Service, lesson: UUID
) -> None:
    """Neither by an event nor by a look under way, and the row is not looked at for its sake."""
    service.settle(event(listing("two")))
    (row,) = service.claim()
    course.track(lesson, "up2")
    assert settled(service, look(row, listing("two"))) == [("unmatched", None)]
    assert settled(service, event(listing("two"))) == [("unmatched", None)]
    assert course.row(lesson)["is_recheck"] is False
    assert course.state(lesson)["mux_playback_id"] == "one"


def test_a_deleted_video_is_unplayable_at_once_and_for_good(
    course: Course, service: Service, instructor: Instructor, lesson: UUID
) -> None:
    """No event from before the deletion brings it back."""
    assert delete(service) == [("unplayable", "asset_deleted")]
    assert stands(course, lesson) == (*PLAYS[:4], "asset_deleted")
    assert instructor.check_asset_status(lesson)["error"] == {
        "message": FAILURES["asset_deleted"], "type": "asset_deleted",
    }  # fmt: skip
    for ids in ((), ("one",), ("two",)):
        assert settled(service, event(listing(*ids)))[0][0] == "unchanged"
    assert delete(service) == [("unchanged", "asset_deleted")]
    assert service.claim() == []
    assert audit(course, lesson) == [("unplayable", "asset_deleted")]


def test_a_deletion_ends_the_look_that_was_to_come(
    course: Course, service: Service, lesson: UUID
) -> None:
    """Also one that is under way."""
    service.settle(event(listing("two")))
    (row,) = service.claim()
    assert delete(service) == [("unplayable", "asset_deleted")]
    assert settled(service, look(row, listing("two"))) == [("unchanged", "asset_ready")]
    assert stands(course, lesson) == (*PLAYS[:4], "asset_deleted")


def test_a_video_that_mux_does_not_know_is_looked_for_through_the_grace(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """Ten minutes and three looks, as for one that was never published."""
    service.settle(event(listing("two")))
    for _ in range(2):
        (row,) = service.claim()
        assert settled(service, look(row, MISSING)) == [("waiting", "asset_not_found")]
        assert service.claim() == []
        db.execute(
            "update mux_private.schedule set next_check_at = now(),"
            " missing_since = missing_since - interval '6 minutes' where true"
        )
    (row,) = service.claim()
    assert settled(service, look(row, MISSING)) == [("unplayable", "asset_deleted")]
    assert course.row(lesson)["error_message"] == FAILURES["asset_deleted"]
    assert settled(service, event(listing("one"))) == [("waiting", "recheck")]


def test_what_is_handed_back_is_due_again(service: Service, lesson: UUID) -> None:
    """In its place; by who has lost the lease, not."""
    service.settle(event(listing("two")))
    claimed = service.claim()
    assert service.release([{**claimed[0], "leased_until": claimed[0]["due_at"]}]) == 0
    assert service.release(claimed) == 1
    (again,) = service.claim()
    assert again["due_at"] == claimed[0]["due_at"]


def test_looks_at_published_lessons_leave_room_for_those_that_wait(
    course: Course, service: Service
) -> None:
    """What waits comes first."""
    for n in range(4):
        course.tracked_lesson(f"up{n}")
        seen = replace(ASSET, upload_id=f"up{n}", asset_id=f"as{n}")
        for ids in ("one", "two"):
            service.settle(event(replace(seen, playback_ids=(PlaybackId(ids, "public"),))))
    for n in range(4):
        course.tracked_lesson(f"new{n}")
    claimed = [row["status"] for row in service.claim(size=5)]
    assert sorted(claimed) == ["processing"] * 4 + ["ready"]


def test_an_event_that_meets_a_lock_is_to_be_told_again(
    connections: Any, service: Service, lesson: UUID
) -> None:
    """No scan would find it out; a lock on the lesson is in nobody's way."""
    holder = connections.transaction()
    holder.execute("select from lessons for update")
    assert settled(service, event(listing("two"))) == [("waiting", "recheck")]
    service.settle(look(service.claim()[0], listing("one")))
    holder.rollback()
    holder.execute("select from mux_asset_tracking for update")
    (busy,) = service.settle(event(listing("two")))
    names = ("outcome", "reason", "upload_id", "asset_id")
    assert [busy[name] for name in names] == ["busy", "recheck", "up1", "as1"]


def test_a_look_that_meets_a_locked_lesson_is_repeated_soon(
    connections: Any, service: Service, course: Course, lesson: UUID
) -> None:
    """In five seconds, without an outcome that anybody would be told."""
    service.settle(event(listing("two")))
    (row,) = service.claim()
    holder = connections.transaction()
    holder.execute("select from lessons for update")
    assert settled(service, look(row, listing("two")))[0][0] == "busy"
    wait = course.row(lesson)["next_check_at"] - datetime.now(UTC)
    assert 4 < wait.total_seconds() < 6


@pytest.fixture
def stubborn(db: psycopg.Connection) -> Iterator[None]:
    """Let the app refuse every change of a lesson."""
    db.execute(
        "create function refuse() returns trigger language plpgsql as "
        "$$ begin raise exception 'not today'; end $$; "
        "create trigger refuse before update on lessons for each row execute function refuse()"
    )
    yield
    db.execute("drop function refuse() cascade")


def test_a_lesson_that_the_app_protects_backs_off(
    course: Course, service: Service, lesson: UUID, stubborn: None
) -> None:
    """It is refused and tried again later, and the row still says that it is ready."""
    service.settle(event(listing("two")))
    assert settled(service, look(service.claim()[0], listing("two"))) == [("refused", None)]
    assert (stands(course, lesson), service.claim()) == (PLAYS, [])
    assert course.row(lesson)["is_recheck"]
    page = replace(listing("two"), source="sweep")
    assert settled(service, event(page)) == [("unchanged", "asset_ready")]
    assert service.claim() == []


def test_what_cannot_be_played_is_not_published_by_hand(
    service: Service, instructor: Instructor, lesson: UUID
) -> None:
    """409, with the sentence for the instructor."""
    delete(service)
    with pytest.raises(psycopg.Error, match="the video cannot be played"):
        instructor.publish_lesson(lesson)


def test_a_deleted_video_is_not_given_back_after_another_upload_began(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """Its ids stood in the lesson then; what is given back is the newest that was not deleted."""
    newer = replace(
        ASSET, upload_id="up2", asset_id="as2", playback_ids=(PlaybackId("two", "public"),)
    )
    course.track(lesson, "up2")
    service.settle(event(newer))
    delete(service, newer)
    course.track(lesson, "up3")
    query = b"select worker_untracked()"
    assert service.connection.execute(query).fetchone() == ([str(lesson)],)
    adopt(service, lesson)
    assert course.state(lesson)["mux_playback_id"] == "one"
    delete(service)
    course.track(lesson, "up4")
    db.execute(
        "update lessons set mux_asset_id = 'temp_up4', mux_playback_id = 'temp_playback_up4'"
    )
    state = course.state(lesson)
    adopt(service, lesson)
    assert course.state(lesson) == state


def test_dead_ids_are_not_given_back(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """A form that was left open saved the placeholder again over a video that was deleted."""
    delete(service)
    db.execute("update lessons set mux_playback_id = 'temp_playback_up1' where id = %s", [lesson])
    state = course.state(lesson)
    assert adopt(service, lesson) == "unchanged"
    assert course.state(lesson) == state


def test_a_video_that_is_deleted_after_its_ids_were_withdrawn_is_told_to_be_deleted(
    course: Course, service: Service, lesson: UUID
) -> None:
    """The later reason counts: no playback id can bring it back."""
    service.settle(event(listing()))
    service.settle(look(service.claim()[0], listing()))
    assert stands(course, lesson) == WITHDRAWN
    assert delete(service) == [("unplayable", "asset_deleted")]
    assert stands(course, lesson) == (*PLAYS[:4], "asset_deleted")
    assert audit(course, lesson)[1:] == [
        ("unplayable", "playback_ids_withdrawn"), ("unplayable", "asset_deleted"),
    ]  # fmt: skip


def withdraw(service: Service) -> None:
    """Let Mux list no playback id of the asset any more, and settle the look that finds it so."""
    service.settle(event(listing()))
    assert settled(service, look(service.claim()[0], listing())) == [
        ("unplayable", "playback_ids_withdrawn")
    ]


def overwrite(db: psycopg.Connection, lesson: UUID, upload_id: str) -> None:
    """Let a form that was left open save the placeholder of an upload, as a draft."""
    db.execute(
        "update lessons set status = 'draft', mux_asset_id = %s, mux_playback_id = null "
        "where id = %s",
        [f"temp_{upload_id}", lesson],
    )


OVERWRITTEN = ("draft", None)


def test_a_withdrawn_video_is_not_restored_until_its_playback_id_is_back(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """A draft is not published with what plays nothing."""
    withdraw(service)
    overwrite(db, lesson, "up1")
    assert adopt(service, lesson) == "unchanged"
    assert stands(course, lesson)[:2] == OVERWRITTEN
    service.settle(event(listing("one")))
    service.settle(look(service.claim()[0], listing("one")))
    assert adopt(service, lesson) == "restored"
    assert stands(course, lesson) == PLAYS


def test_the_video_before_a_withdrawn_one_is_restored(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """It is the newest that can be played."""
    older = course.state(lesson)
    course.track(lesson, "up2")
    newer = replace(ASSET, upload_id="up2", asset_id="as2")
    service.settle(event(replace(newer, playback_ids=(PlaybackId("two", "public"),))))
    service.settle(event(newer))
    service.settle(look(service.claim()[0], newer))
    assert course.row(lesson)["error_type"] == "playback_ids_withdrawn"
    overwrite(db, lesson, "up2")
    assert adopt(service, lesson) == "restored"
    assert course.state(lesson) == {**older, "updated_at": course.state(lesson)["updated_at"]}


def test_a_withdrawn_video_is_not_restored_while_the_next_one_is_awaited(
    course: Course, service: Service, db: psycopg.Connection, lesson: UUID
) -> None:
    """Its ids stand in the lesson when the next upload begins, and are noted there as well."""
    withdraw(service)
    course.track(lesson, "up2")
    overwrite(db, lesson, "up2")
    assert adopt(service, lesson) == "tracked"
    assert stands(course, lesson)[:2] == OVERWRITTEN
