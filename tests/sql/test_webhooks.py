from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.course import let_pass as pass_time
from tests.sql.conftest import Connections
from tests.sql.service import PUBLISH, WAIT, Json, Service, fact, looked_at
from worker.decide import Rules, settlement
from worker.model import Observation, PlaybackId, Source
from worker.supabase.serialize import settlement_json

pytestmark = pytest.mark.stack


def deleted(upload: str | None, asset: str | None, **more: Any) -> Json:
    """Build the item that the event of a deletion becomes."""
    return item(Observation("asset", "deleted", "webhook", upload, asset, **more))


def errored(upload: str) -> Json:
    """Build the item that the event of an upload that failed becomes."""
    return item(Observation("upload", "errored", "webhook", upload))


def ready(upload: str, asset: str) -> Json:
    """Build the item that the event of an asset that is ready becomes."""
    playback_ids = (PlaybackId(f"play-{asset}", "public"),)
    return item(Observation("asset", "ready", "webhook", upload, asset, playback_ids))


def preparing(upload: str, asset: str) -> Json:
    """Build the item that the event of an asset that Mux encodes becomes."""
    return item(Observation("asset", "preparing", "webhook", upload, asset))


def waiting(upload: str) -> Json:
    """Build the item that the event of an upload without a file becomes."""
    return item(Observation("upload", "waiting", "webhook", upload))


def item(seen: Observation) -> Json:
    """Build the item that an event becomes."""
    return settlement_json(settlement(seen, (), Rules()))


def take(service: Service, *items: Json) -> list[tuple[Any, ...]]:
    """Settle items; give outcome and reason of each."""
    return [(outcome["outcome"], outcome.get("reason")) for outcome in service.settle(*items)]


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
    assert take(service, errored("up1")) == [("waiting", "upload_errored")]
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]
    assert {course.row(row)["status"] for row in (lesson, other)} == {"processing"}


def test_an_event_about_nothing_of_ours_is_unmatched(service: Service) -> None:
    """It is known to be of no use."""
    assert take(service, errored("up1"), deleted("up1", "as1")) == [
        ("unmatched", None), ("unmatched", None),
    ]  # fmt: skip


def test_the_deletion_of_a_published_video_is_kept_and_told_once(
    course: Course, service: Service
) -> None:
    """The audit has it once, however often the event comes, and the lesson is left as it is."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    before = course.state(lesson)
    again = ("unchanged", "asset_deleted")
    assert take(service, deleted("up1", "as1")) == [("unplayable", "asset_deleted")]
    assert take(service, deleted("up1", "as1")) == [again]
    assert take(service, deleted("up1", "as1"), deleted("up1", "as1")) == [again, again]
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
    assert take(service, deleted("up1", "as1")) == [("unmatched", None)]
    assert take(service, deleted("up2", "as1")) == [("unmatched", None)]


def test_a_migrated_row_is_found_by_its_asset(course: Course, service: Service) -> None:
    """There the upload is not known."""
    course.tracked_lesson("migrated", mux_asset_id="as1")
    service.settle(fact(PUBLISH, None, "as1"))
    assert take(service, deleted("up1", "as1")) == [("unplayable", "asset_deleted")]


def test_a_late_event_does_not_publish_what_was_deleted(course: Course, service: Service) -> None:
    """`ready` after `deleted` is old news: the lesson stays a draft and Mux is asked."""
    lesson = course.tracked_lesson("up1")
    assert take(service, deleted("up1", "as1")) == [("waiting", "asset_deleted")]
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["waiting"]
    assert course.state(lesson)["status"] == "draft"
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_another_asset_of_that_upload_is_published_all_the_same(
    course: Course, service: Service
) -> None:
    """Only the asset that was deleted is gone."""
    lesson = course.tracked_lesson("up1")
    take(service, deleted("up1", "as1"))
    assert service.outcomes(fact(PUBLISH, "up1", "as2")) == ["published"]
    assert course.state(lesson)["mux_asset_id"] == "as2"


def test_a_failed_row_is_not_revived_by_a_deleted_asset(course: Course, service: Service) -> None:
    """A late truth beats an early despair, but not when it is no longer one."""
    lesson = course.tracked_lesson("up1")
    course.track(lesson, "up1", mux_asset_id="as1")
    service.settle(fact({"verdict": "fail", "reason": "gave_up"}, "up1"))
    assert take(service, deleted("up1", "as1")) == [("unchanged", "asset_deleted")]
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


def due_in(course: Course, lesson: UUID) -> float:
    """Return in how many seconds a row is due."""
    next_check_at: datetime = course.row(lesson)["next_check_at"]
    return (next_check_at - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("event", "seconds"),
    [
        (waiting("up1"), 60),
        (item(Observation("upload", "asset_created", "webhook", "up1", "as1")), 300),
        (preparing("up1", "as1"), 300),
    ],
    ids=["no asset", "asset created", "preparing"],
)
@pytest.mark.parametrize("times", [1, 2])
def test_after_an_event_a_row_that_waits_is_left_to_webhooks(
    course: Course, service: Service, event: Json, seconds: float, times: int
) -> None:
    """For five minutes where its asset is known, else for one; each event of an upload counts."""
    lesson = course.tracked_lesson("up1")
    for _ in range(times):
        course.reschedule(lesson, next_check_at=timedelta(seconds=10))
        assert service.outcomes(event) == ["waiting"]
        assert due_in(course, lesson) == pytest.approx(seconds, abs=5)


def test_an_event_without_news_writes_the_schedule_alone(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Not even a lock is written in the row, and a second event writes nothing at all."""
    lesson = course.tracked_lesson("up1", mux_asset_id="as1", next_check_at=timedelta(seconds=10))
    tracking = b"select ctid, xmin, xmax, t.* from mux_asset_tracking t"
    schedule = b"select ctid, xmin, xmax, s.* from mux_private.schedule s"
    before = db.execute(tracking).fetchall()
    assert service.outcomes(preparing("up1", "as1")) == ["waiting"]
    assert due_in(course, lesson) == pytest.approx(300, abs=5)
    put_off = db.execute(schedule).fetchall()
    assert service.outcomes(preparing("up1", "as1")) == ["waiting"]
    assert db.execute(schedule).fetchall() == put_off
    assert db.execute(tracking).fetchall() == before
    assert [event["event"] for event in course.events(lesson)] == ["tracked"]


@pytest.mark.parametrize(
    ("asset", "left", "seconds"),
    [
        ("as1", 230, 300), ("as1", 250, 250), ("as1", 900, 900),
        (None, 40, 60), (None, 55, 55), (None, 900, 900),
    ],
)  # fmt: skip
def test_an_event_puts_a_row_off_where_that_is_worth_a_write(
    course: Course, service: Service, asset: str | None, left: float, seconds: float
) -> None:
    """Never nearer, and not where little of the time has passed: events come in groups."""
    lesson = course.tracked_lesson("up1", mux_asset_id=asset)
    course.reschedule(lesson, next_check_at=timedelta(seconds=left))
    assert service.outcomes(preparing("up1", asset) if asset else waiting("up1")) == ["waiting"]
    assert due_in(course, lesson) == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize("source", ["sweep", "probe"])
@pytest.mark.parametrize("asset", ["as1", None])
def test_what_a_scan_finds_about_another_row_does_not_put_it_off(
    course: Course, service: Service, source: Source, asset: str | None
) -> None:
    """Whether it learns the asset from it or not."""
    lesson = course.tracked_lesson("up1", mux_asset_id=asset)
    course.reschedule(lesson, next_check_at=timedelta(seconds=10))
    assert service.outcomes(item(Observation("asset", "preparing", source, "up1", "as1"))) == [
        "waiting"
    ]
    assert due_in(course, lesson) == pytest.approx(10, abs=5)


@pytest.mark.parametrize("by", ["time", "the operator", "an event"])
def test_what_is_due_is_not_put_off(course: Course, service: Service, by: str) -> None:
    """Time, an operator or an earlier event has made it so, and the next scan looks at it."""
    lesson = course.tracked_lesson("up1", mux_asset_id="as1", next_check_at=timedelta(minutes=1))
    if by == "time":
        course.make_due(lesson)
    elif by == "the operator":
        query = b"select worker_make_due(%s, 'Olga')"
        service.connection.execute(query, [str(lesson)])
    else:
        take(service, errored("up1"))
    assert service.outcomes(preparing("up1", "as1")) == ["waiting"]
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_what_becomes_due_while_an_event_is_settled_is_not_put_off(
    course: Course, service: Service, connections: Connections
) -> None:
    """Its transaction began before."""
    lesson = course.tracked_lesson("up1", mux_asset_id="as1", next_check_at=timedelta(minutes=1))
    late = Service(connections.transaction())
    service.connection.execute("select worker_make_due(%s, 'Olga')", [str(lesson)])
    assert late.outcomes(preparing("up1", "as1")) == ["waiting"]
    late.connection.commit()
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_an_event_while_a_scan_looks_is_newer_than_the_look(
    course: Course, service: Service
) -> None:
    """The row is left to webhooks all the same."""
    lesson = course.tracked_lesson("up1")
    (claimed,) = service.claim()
    assert service.outcomes(preparing("up1", "as1")) == ["waiting"]
    looked = fact(WAIT, "up1", "as1", claimed=[looked_at(claimed, WAIT, pause_seconds=0.5)])
    assert service.outcomes(looked) == ["waiting"]
    assert due_in(course, lesson) == pytest.approx(300, abs=5)


def test_a_row_that_the_database_refused_is_not_put_off(course: Course, service: Service) -> None:
    """It backs off as it does."""
    lesson = course.tracked_lesson("up1", mux_asset_id="as1", error_type="refused")
    course.reschedule(lesson, next_check_at=timedelta(seconds=30))
    assert take(service, preparing("up1", "as1")) == [("waiting", "refused")]
    assert due_in(course, lesson) == pytest.approx(30, abs=5)


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
    take(service, errored("up1"))
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
    items = [deleted(f"up{n}", f"as{n}") for n in range(5)]
    ends = {one["upload_id"]: one for one in service.settle(*items)}
    assert {upload: one["outcome"] for upload, one in ends.items()} == {
        f"up{n}": "busy" if f"up{n}" in held else "unplayable" for n in range(5)
    }
    assert ends["up1"] == {
        "outcome": "busy", "reason": "mark_deleted", "lesson_id": str(lessons[1]),
        "tracking_id": str(course.row(lessons[1])["id"]), "upload_id": "up1", "asset_id": "as1",
    }  # fmt: skip
    holder.rollback()
    assert take(service, items[1]) == [("unplayable", "asset_deleted")]


def test_who_copied_an_asset_and_keeps_the_copy_locked_keeps_no_deletion_from_being_kept(
    db: psycopg.Connection, course: Course, service: Service, supabase: LocalSupabase
) -> None:
    """The others are marked in the same call; for the copy the event has to come again."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(2)]
    service.settle(*(fact(PUBLISH, f"up{n}", f"as{n}") for n in range(2)))
    copy = course.tracked_lesson("as0", course.bert)
    with supabase.connect(autocommit=False) as other:
        other.execute("select from mux_private.upload_history where mux_id = 'as0' for update")
        result = take(service, *(deleted(f"up{n}", f"as{n}") for n in range(2)))
    assert result.count(("unplayable", "asset_deleted")) == 2
    assert result.count(("busy", "mark_deleted")) == 1
    assert [course.row(lesson)["error_type"] for lesson in lessons] == ["asset_deleted"] * 2
    known = "select lesson_id from mux_private.upload_history where not is_deleted"
    assert db.execute(known).fetchall() == [(copy,)]
    assert ("busy", "mark_deleted") not in take(service, deleted("up0", "as0"))
    assert db.execute(known).fetchall() == []


def test_a_deletion_that_waits_for_its_look_waits_for_nobody(
    course: Course, connections: Any, service: Service
) -> None:
    """A row whose schedule is locked, as a claim does, is busy: the event has to come again."""
    lesson = course.tracked_lesson("up1")
    holder = connections.transaction()
    holder.execute("select from mux_private.schedule for update")
    assert take(service, deleted("up1", "as1")) == [("busy", "mark_deleted")]
    assert [e["event"] for e in course.events(lesson)] == ["tracked"]
    holder.rollback()
    assert take(service, deleted("up1", "as1")) == [("waiting", "asset_deleted")]
    assert [e["event"] for e in course.events(lesson)] == ["tracked", "unplayable"]


def test_a_failed_row_that_is_locked_keeps_its_deletion_for_later(
    course: Course, connections: Any, service: Service
) -> None:
    """Its event has to come again; a failed upload's event has nothing to say about it."""
    course.tracked_lesson("up1")
    service.settle(fact({"verdict": "fail", "reason": "gave_up"}, "up1"))
    holder = connections.transaction()
    holder.execute("select from mux_asset_tracking for update")
    assert take(service, deleted("up1", "as1")) == [("busy", "mark_deleted")]
    assert take(service, ready("up1", "as1")) == [("busy", "not_scanned")]
    assert take(service, errored("up1")) == [("unchanged", "upload_errored")]


def test_a_locked_row_whose_upload_failed_is_due_soon(
    course: Course, connections: Any, db: psycopg.Connection, service: Service
) -> None:
    """The scan finds it out, so the event need not come again."""
    lesson = course.tracked_lesson("up1")
    postpone(db)
    holder = connections.transaction()
    holder.execute("select from mux_asset_tracking for update")
    assert take(service, errored("up1")) == [("busy", None)]
    wait = course.row(lesson)["next_check_at"] - datetime.now(UTC)
    assert 4 < wait.total_seconds() < 6


def test_of_several_events_about_a_row_a_deletion_wins(course: Course, service: Service) -> None:
    """Whatever their order: what is deleted is not published first."""
    for n, order in enumerate([("deleted", "ready"), ("ready", "deleted")]):
        lesson = course.tracked_lesson(f"up{n}")
        made = {"ready": ready(f"up{n}", f"as{n}"), "deleted": deleted(f"up{n}", f"as{n}")}
        assert sorted(take(service, *(made[name] for name in order))) == [
            ("unchanged", "asset_ready"), ("waiting", "asset_deleted"),
        ]  # fmt: skip
        assert course.state(lesson)["status"] == "draft"


def test_a_failed_upload_is_looked_at_whatever_else_is_said_of_it(
    course: Course, db: psycopg.Connection, service: Service
) -> None:
    """An older event in the same call does not hide that it failed."""
    lesson = course.tracked_lesson("up1")
    postpone(db)
    items = fact(WAIT, "up1", "as1"), errored("up1")
    assert sorted(take(service, *items)) == [
        ("unchanged", "asset_preparing"), ("waiting", "upload_errored"),
    ]  # fmt: skip
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_a_row_that_backs_off_is_looked_at_when_its_upload_failed(
    course: Course, service: Service
) -> None:
    """The database refused what was said before; this is news."""
    lesson = course.tracked_lesson("up1")
    service.record_refusal(fact(PUBLISH, "up1", "as1"))
    assert service.claim() == []
    assert take(service, errored("up1")) == [("waiting", "upload_errored")]
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_a_failed_upload_says_nothing_of_a_lesson_that_has_its_video(
    course: Course, service: Service
) -> None:
    """Neither the row nor its schedule changes."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    before = course.row(lesson)
    assert take(service, errored("up1")) == [("unchanged", "upload_errored")]
    assert (course.row(lesson), service.claim()) == (before, [])


def test_of_another_instructors_video_the_audit_keeps_nothing(
    course: Course, service: Service
) -> None:
    """Who copied its id learns nothing from the event; the look at it settles the copy."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    copy = course.tracked_lesson("as1", course.bert)
    gone = deleted("up1", "as1", lesson_references=(str(lesson),))
    assert sorted(take(service, gone)) == [
        ("unplayable", "asset_deleted"), ("waiting", "asset_deleted"),
    ]  # fmt: skip
    assert [e["event"] for e in course.events(copy)] == ["tracked"]


@pytest.fixture
def stubborn(db: psycopg.Connection) -> Iterator[None]:
    """Let the app refuse every change of a tracking row."""
    db.execute(
        "create function refuse() returns trigger language plpgsql as "
        "$$ begin raise exception 'not today'; end $$"
    )
    yield
    db.execute("drop function refuse() cascade")


def test_a_deletion_that_the_app_refuses_is_refused_for_its_row_alone(
    course: Course, db: psycopg.Connection, service: Service, stubborn: None
) -> None:
    """It names its event, which has to come again, and the history keeps it all the same."""
    course.tracked_lesson("up1"), course.tracked_lesson("up2")
    service.settle(fact(PUBLISH, "up1", "as1"), fact(PUBLISH, "up2", "as2"))
    db.execute(
        "create trigger refuse before update on mux_asset_tracking for each row "
        "when (old.upload_id = 'up1') execute function refuse()"
    )
    items = deleted("up1", "as1"), deleted("up2", "as2")
    names = ("outcome", "upload_id", "asset_id")
    assert [[one[name] for name in names] for one in service.settle(*items)] == [
        ["refused", "up1", "as1"], ["unplayable", "up2", "as2"],
    ]  # fmt: skip
    marked = db.execute("select mux_id from mux_private.upload_history where is_deleted order by 1")
    assert marked.fetchall() == [("up1",), ("up2",)]
    db.execute("drop trigger refuse on mux_asset_tracking")
    assert take(service, items[0]) == [("unplayable", "asset_deleted")]
