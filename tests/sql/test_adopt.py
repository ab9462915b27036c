from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA
from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.racing import Action, Scene, Stage
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack

Json = dict[str, Any]


def item(lesson: UUID, named: str | None = None, **known: Any) -> Json:
    """Build an item of `worker_adopt`, with what Mux said of the id that the lesson named."""
    return {"lesson_id": str(lesson), **({"id": named} if named else {}), **known}


def adopt(
    service: Service,
    *items: Json,
    lease: float | None = None,
    backfill: datetime | None = None,
    dry_run: bool = False,
) -> list[Json]:
    """Adopt, on the service's connection."""
    query = b"select worker_adopt(%s, %s, %s, %s)"
    values = [Jsonb(list(items)), dry_run, backfill, lease]
    found = service.connection.execute(query, values).fetchone()
    assert found is not None
    answers: list[Json] = found[0]
    return answers


def adopt_one(service: Service, lesson: UUID, named: str | None = None, **known: Any) -> Any:
    """Adopt one lesson; return the outcome, and its reason where there is one."""
    (answer,) = adopt(service, item(lesson, named, **known))
    return (answer["outcome"], answer["reason"]) if answer.get("reason") else answer["outcome"]


def untracked(service: Service, walk: int, at_most: int) -> set[str]:
    """Return the lessons that a pass of the adoption looks at."""
    query = "select worker_untracked(%s, %s)"
    found = service.connection.execute(query, [walk, at_most]).fetchone()
    assert found is not None
    return set(found[0])


def outcomes(answers: list[Json]) -> list[str]:
    """Return the outcomes' names."""
    return [answer["outcome"] for answer in answers]


def test_the_adoption_looks_at_a_lesson_of_each_instructor_in_turn(
    course: Course, service: Service
) -> None:
    """Hundreds of placeholders that lead nowhere do not hide the one lesson of another."""
    ids = [UUID(int=n) for n in range(1, 41)]
    for one in ids:
        course.lesson(id=one, mux_asset_id=f"temp_gone{one.int}")
    other = course.lesson(course.bert, id=UUID(int=99), mux_asset_id="temp_up1")
    assert untracked(service, 100, 4) == {*map(str, ids[:3]), str(other)}


def test_the_adoption_goes_on_past_lessons_that_it_can_do_nothing_about(
    course: Course, service: Service
) -> None:
    """A part of the table is stayed at for as many passes as it may need, and no longer."""
    for n in range(1, 7):
        course.lesson(id=UUID(int=n), mux_asset_id=f"temp_gone{n}")
    last = course.lesson(id=UUID(int=7), mux_asset_id="temp_up1")
    passes = [untracked(service, 6, 2) for _ in range(5)]
    assert passes[:4] == [{str(UUID(int=1)), str(UUID(int=2))}] * 4
    assert passes[4] == {str(last)}


def test_an_untracked_lesson_is_tracked_and_leased(course: Course, service: Service) -> None:
    """The claim is one that settles; no other worker is handed the row meanwhile."""
    lesson = course.lesson(mux_asset_id="temp_up1")
    (answer,) = adopt(service, item(lesson), lease=60)
    claim = answer["claim"]
    assert (answer["outcome"], claim["upload_id"], claim["lesson_status"]) == (
        "adopted",
        "up1",
        "draft",
    )
    assert course.row(lesson)["temp_asset_id"] == "temp_up1"
    assert service.claim() == []
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    assert [event["event"] for event in course.events(lesson)] == ["tracked", "published"]


def test_without_a_lease_a_lesson_is_due_at_once(course: Course, service: Service) -> None:
    """Any worker may claim it."""
    lesson = course.lesson(mux_asset_id="temp_up1")
    assert outcomes(adopt(service, item(lesson))) == ["adopted"]
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_a_row_goes_over_to_another_upload(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """What the old upload left behind is gone, and its clocks begin again."""
    lesson = course.tracked_lesson("old", status="error", error_type="gave_up", check_count=9)
    course.backdate(lesson, 9000)
    db.execute("update lessons set mux_asset_id = 'temp_new'")
    (answer,) = adopt(service, item(lesson))
    assert (answer["outcome"], answer["upload_id"]) == ("ask", "new")
    (answer,) = adopt(service, item(lesson, "new", upload_id="new"))
    row = course.row(lesson)
    names = ("upload_id", "status", "error_type", "check_count", "mux_asset_id")
    assert answer["outcome"] == "adopted"
    assert tuple(row[name] for name in names) == ("new", "processing", None, 0, None)
    assert row["tracked_at"] > row["created_at"]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("update lessons set mux_asset_id = 'temp_up2'", "ask"),
        ("update mux_asset_tracking set upload_id = 'new'", "tracked"),
        ("delete from lessons", "left_alone"),
    ],
)
def test_what_was_changed_meanwhile_is_judged_as_it_is_now(
    course: Course, service: Service, db: psycopg.Connection, change: str, outcome: str
) -> None:
    """What Mux said is about what the lesson named before."""
    lesson = course.tracked_lesson("up1")
    db.execute("update lessons set mux_asset_id = 'temp_new'")
    db.execute(change.encode())
    assert outcomes(adopt(service, item(lesson, "new", upload_id="new"))) == [outcome]


def test_what_is_locked_is_busy(
    course: Course, service: Service, connections: Connections, db: psycopg.Connection
) -> None:
    """Neither the lesson nor the row is waited for; the others are adopted."""
    lessons = [course.tracked_lesson(f"up{n}", status="error") for n in range(3)]
    for n, lesson in enumerate(lessons):
        db.execute("update lessons set mux_asset_id = %s where id = %s", [f"temp_new{n}", lesson])
    items = [item(lesson, f"new{n}", upload_id=f"new{n}") for n, lesson in enumerate(lessons)]
    other = connections.transaction()
    other.execute("select from lessons where id = %s for update", [lessons[0]])
    other.execute("select from mux_asset_tracking where lesson_id = %s for update", [lessons[1]])
    assert outcomes(adopt(service, *items)) == ["busy", "busy", "adopted"]


TRACKS_NEW = "insert into mux_asset_tracking (lesson_id, upload_id) values (%s, 'new')"


def test_what_the_app_begins_to_track_meanwhile_stays_tracked(
    supabase: LocalSupabase, course: Course, db: psycopg.Connection
) -> None:
    """Her insert was not to be seen yet when the lesson was read: her new upload is what counts.

    The history says so too, so that it comes back where the app deletes the row.
    """
    lesson = course.lesson(mux_asset_id="temp_old")
    old = item(lesson)
    adoption = Action("adopt", None, lambda connection, _: adopt(Service(connection), old)[0])
    with Stage(supabase) as stage:
        stage.holder.execute(TRACKS_NEW, [lesson])
        stage.one.starts(adoption, Scene(None), and_commits=True)
        stage.holder.commit()
        outcome = stage.one.result()["outcome"]
    assert outcome == "busy"
    assert course.row(lesson)["upload_id"] == "new"
    newest = db.execute("select (mux_private.newest_entry(%s)).mux_id", [lesson]).fetchone()
    assert newest == ("new",)


def test_an_insert_of_the_app_is_not_waited_for_long(
    course: Course, service: Service, connections: Connections
) -> None:
    """Its lesson is busy, and can be saved by the app; the others are adopted."""
    lessons = [course.lesson(mux_asset_id=f"temp_up{n}") for n in range(2)]
    app = connections.transaction()
    app.execute(TRACKS_NEW, [lessons[0]])
    answers = adopt(service, *(item(lesson) for lesson in lessons))
    assert outcomes(answers) == ["busy", "adopted"]
    app.execute("update lessons set title = 'saved' where id = %s", [lessons[0]])
    app.commit()
    assert course.row(lessons[0])["upload_id"] == "new"


def test_a_ready_row_gives_the_status_back_once(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """The ids every time; with another upload the status has its turn again."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    results = []
    for upload in ("up1", "up1", "up2"):
        if upload == "up2":
            course.track(lesson, "up2")
            service.settle(fact(PUBLISH, "up2", "as2"))
        db.execute(
            "update lessons set status = 'draft', mux_asset_id = %s, mux_playback_id = null",
            [f"temp_{upload}"],
        )
        (answer,) = adopt(service, item(lesson))
        state = course.state(lesson)
        results.append((answer["outcome"], state["status"], state["mux_asset_id"]))
    assert results == [
        ("restored", "published", "as1"),
        ("restored", "draft", "as1"),
        ("restored", "published", "as2"),
    ]


@pytest.mark.parametrize("named", [None, "temp_", "temp_undefined", "temp_a b", "a b"])
def test_a_lesson_that_names_no_id_is_left_alone(
    course: Course, service: Service, named: str | None
) -> None:
    """The others go on."""
    bad, good = course.lesson(mux_asset_id=named), course.lesson(mux_asset_id="temp_up1")
    answers = adopt(service, item(bad), item(good))
    assert outcomes(answers) == ["left_alone", "adopted"]
    assert answers[0]["reason"] == ("unreadable_id" if named else "names_nothing")


def test_an_item_that_is_none_is_refused_alone(course: Course, service: Service) -> None:
    """The others go on."""
    good = course.lesson(mux_asset_id="as1")
    nonsense = item(good, "as1", upload_id="up1", is_missing="perhaps")
    answers = adopt(service, nonsense, item(good, "as1", asset_id="as1"))
    assert outcomes(answers) == ["refused", "adopted"]
    assert course.row(good)["upload_id"] == "migrated"


RUN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def contents(db: psycopg.Connection) -> dict[str, Any]:
    """Return the rows of all tables."""
    tables = db.execute(
        "select oid::regclass::text from pg_class where relkind = 'r' "
        "and relnamespace in ('public'::regnamespace, 'mux_private'::regnamespace)"
    ).fetchall()
    return {
        name: sorted(db.execute(f"select t::text from {name} t".encode()).fetchall())
        for (name,) in tables
    }


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """The same outcomes as those that then follow, for every kind of lesson."""
    fresh, copied = course.lesson(mux_asset_id="temp_up1"), course.lesson(mux_asset_id="temp_up9")
    course.lesson(course.bert, mux_asset_id="temp_up9")
    failed, waiting = course.tracked_lesson("up2"), course.tracked_lesson("up3")
    overwritten, renamed = course.tracked_lesson("up4"), course.tracked_lesson("up5")
    missing = course.tracked_lesson("up6")
    service.settle(fact(FAIL, "up2"), fact(PUBLISH, "up4", "as4"), fact(PUBLISH, "up5", "as5"))
    for lesson, asset in ((overwritten, "temp_up4"), (renamed, "temp_new"), (missing, "temp_old")):
        db.execute("update lessons set mux_asset_id = %s where id = %s", [asset, lesson])
    items = [
        *map(item, (fresh, copied, waiting, overwritten, renamed, course.lesson())),
        item(failed, retries_failed=True),
        item(missing, "old", is_missing=True),
        item(UUID(int=7)),
    ]
    before = contents(db)
    planned = adopt(service, *items, dry_run=True)
    assert adopt(service, *items, dry_run=True, backfill=RUN, lease=60) == planned
    assert contents(db) == before
    done = adopt(service, *items)
    assert [(a["outcome"], a.get("reason")) for a in done] == [
        *(("adopted", None), ("disputed", "several_instructors"), ("tracked", None)),
        *(("restored", None), ("ask", None), ("left_alone", "names_nothing"), ("adopted", None)),
        *(("tracked", None), ("left_alone", "deleted")),
    ]
    assert outcomes(planned) == outcomes(done)
    ids = [(a.get("upload_id"), a.get("asset_id")) for a in planned]
    assert ids[0] == ("up1", None)
    assert ids[4] == ("new", None)
    assert contents(db) != before


def test_the_rows_of_a_backfill_are_backlog_and_marked(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Those that it adopts stand behind all others; of those that wait already it is noted."""
    adopted, waiting = course.lesson(mux_asset_id="temp_up1"), course.tracked_lesson("up2")
    live = course.lesson(mux_asset_id="temp_up3")
    assert outcomes(adopt(service, item(adopted), item(waiting), backfill=RUN)) == [
        *("adopted", "tracked")
    ]
    assert outcomes(adopt(service, item(live))) == ["adopted"]
    marked = db.execute("select mux_id, adopted_in from mux_private.upload_history order by mux_id")
    assert marked.fetchall() == [("up1", RUN), ("up2", RUN), ("up3", None)]
    assert [course.row(lesson)["is_backlog"] for lesson in (adopted, waiting, live)] == [
        *(True, False, False)
    ]
    assert [row["upload_id"] for row in service.claim()][-1] == "up1"


def test_a_failed_row_is_looked_at_once_more_only_where_that_is_wanted(
    course: Course, service: Service
) -> None:
    """Then as if its upload had just begun, in its owner's turn or behind the others."""
    lesson = course.tracked_lesson("up1")
    service.settle({**fact(FAIL, "up1"), "reason": "upload_not_found"})
    assert adopt_one(service, lesson) == "unchanged"
    assert course.row(lesson)["status"] == "error"
    (answer,) = adopt(service, item(lesson, retries_failed=True), backfill=RUN)
    row = course.row(lesson)
    assert (answer["outcome"], answer["upload_id"]) == ("adopted", "up1")
    assert (row["status"], row["error_type"], row["is_backlog"]) == ("processing", None, True)
    assert row["tracked_at"] > row["created_at"]
    assert adopt_one(service, lesson, retries_failed=True) == "tracked"


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_backfill_that_is_continued_looks_no_more_at_what_failed_in_it(
    course: Course, service: Service, dry_run: bool
) -> None:
    """Else one that is killed every few hours would never come to its end."""
    lesson = course.lesson(mux_asset_id="temp_up1")
    wanted = item(lesson, retries_failed=True, takes_drafts=True)
    assert outcomes(adopt(service, wanted, backfill=RUN)) == ["adopted"]
    service.settle({**fact(FAIL, "up1"), "reason": "upload_not_found"})
    assert outcomes(adopt(service, wanted, backfill=RUN, dry_run=dry_run)) == ["tracked"]
    assert course.row(lesson)["error_type"] == "upload_not_found"
    later = RUN + timedelta(days=1)
    assert outcomes(adopt(service, wanted, backfill=later, dry_run=dry_run)) == ["adopted"]


@pytest.mark.parametrize("known", [{}, {"retries_failed": True, "takes_drafts": True}], ids=str)
def test_a_row_that_waits_keeps_its_schedule(course: Course, service: Service, known: Json) -> None:
    """It is tracked already, whatever a backfill takes, and whatever its draft holds."""
    lessons = [
        course.lesson(mux_asset_id="temp_up0"),
        course.lesson(mux_asset_id="as1", mux_playback_id="play-as1"),
    ]
    for n, lesson in enumerate(lessons):
        course.track(lesson, f"up{n}", mux_asset_id=f"as{n}")
    rows = service.claim()
    waits = [fact(WAIT, r["upload_id"], r["asset_id"], claimed=[looked_at(r)]) for r in rows]
    assert service.outcomes(*waits) == ["waiting", "waiting"]
    before = [course.row(lesson) for lesson in lessons]
    answers = adopt(service, *(item(lesson, **known) for lesson in lessons), backfill=RUN)
    assert outcomes(answers) == ["tracked", "tracked"]
    assert [course.row(lesson) for lesson in lessons] == before
    assert [row["check_count"] for row in before] == [1, 1]


TRUSTED: Json = {"is_trusted": True, "upload_id": "up9", "asset_id": "as9"}


@pytest.mark.parametrize("named", [None, "temp_up1", "as1", "temp_a b"])
def test_a_lesson_is_given_the_asset_that_names_it(
    course: Course, service: Service, named: str | None
) -> None:
    """Where the operator trusts that, whatever else the lesson names."""
    lesson = course.lesson(mux_asset_id=named)
    assert adopt_one(service, lesson, **TRUSTED) == "adopted"
    row = course.row(lesson)
    assert (row["upload_id"], row["mux_asset_id"], row["status"]) == ("up9", "as9", "processing")
    assert service.outcomes(fact(PUBLISH, "up9", "as9")) == ["published"]


def test_an_asset_without_an_upload_that_names_a_lesson_is_tracked_as_such(
    course: Course, service: Service
) -> None:
    """Its upload is not known to Mux, either."""
    lesson = course.lesson()
    trusted = {**TRUSTED, "upload_id": None}
    assert adopt_one(service, lesson, **trusted) == "adopted"
    row = course.row(lesson)
    assert (row["upload_id"], row["mux_asset_id"]) == ("migrated", "as9")


def test_the_asset_that_names_a_lesson_replaces_an_upload_that_mux_does_not_know(
    course: Course, service: Service
) -> None:
    """Also where the row calls its placeholder as the lesson does; and not what came after it."""
    lesson = course.lesson(mux_asset_id="temp_up1")
    course.track(lesson, "up1")
    service.settle({**fact(FAIL, "up1"), "reason": "upload_not_found"})
    assert adopt_one(service, lesson, **TRUSTED) == "adopted"
    assert course.row(lesson)["upload_id"] == "up9"
    course.track(lesson, "up10")
    assert adopt_one(service, lesson, **TRUSTED) == "tracked"
    assert course.row(lesson)["upload_id"] == "up10"


def test_the_asset_of_another_instructor_is_not_given_to_a_lesson_that_it_names(
    course: Course, service: Service
) -> None:
    """Who tracked it first has it."""
    course.tracked_lesson("up9", course.bert)
    lesson = course.lesson()
    assert adopt_one(service, lesson, **TRUSTED) == ("disputed", "lesson_mismatch")


def test_a_draft_that_could_be_played_is_left_alone_unless_drafts_are_taken(
    course: Course, service: Service
) -> None:
    """Its instructor may have meant it: tracked before or not."""
    ids: Json = {"mux_asset_id": "as1", "mux_playback_id": "play-as1"}
    untracked, published = course.lesson(**ids), course.lesson(status="published", **ids)
    assert adopt_one(service, untracked) == ("left_alone", "has_video")
    assert adopt_one(service, untracked, takes_drafts=True) == "adopted"
    assert adopt_one(service, published) == "adopted"
    assert sorted(service.outcomes(fact(PUBLISH, None, "as1"))) == ["attached", "published"]


def test_a_draft_that_its_instructor_unpublished_is_looked_at_where_drafts_are_taken(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Then it is published again with the video of its row."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    db.execute("update lessons set status = 'draft' where true")
    assert adopt_one(service, lesson) == ("unchanged", "has_video")
    assert adopt_one(service, lesson, takes_drafts=True) == ("adopted")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]


def test_a_draft_that_could_be_played_and_lost_its_row_is_left_alone_unless_drafts_are_taken(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Its instructor unpublished it, and the app deleted the row."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    db.execute("update lessons set status = 'draft' where true")
    db.execute("delete from mux_asset_tracking where true")
    assert adopt_one(service, lesson, retries_failed=True) == ("left_alone", "has_video")
    assert adopt_one(service, lesson, takes_drafts=True) == "adopted"
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]


@pytest.mark.parametrize("known", [{"takes_drafts": True}, {"by_hand": True}], ids=str)
def test_a_ready_row_with_the_video_of_another_instructor_is_not_looked_at_once_more(
    course: Course, service: Service, db: psycopg.Connection, known: Json
) -> None:
    """An app that copies a course copies its rows too: what plays would fail."""
    course.track(course.lesson(), "up1", status="ready", mux_asset_id="as1")
    copy = course.lesson(course.bert, mux_asset_id="as1", mux_playback_id="play-as1")
    course.track(copy, "up1", status="ready", mux_asset_id="as1", mux_playback_id="play-as1")
    assert adopt_one(service, copy, **known) == ("disputed", "lesson_mismatch")
    assert course.row(copy)["status"] == "ready"


def test_a_copied_id_costs_a_lesson_without_a_row_no_refusal(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """The next adoption tracks the newest upload again, and gives the lesson its video back."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    db.execute("delete from mux_asset_tracking where true")
    db.execute("update lessons set mux_asset_id = 'temp_up2', mux_playback_id = null where true")
    course.lesson(course.bert, mux_asset_id="temp_up2")
    (answer,) = adopt(service, item(lesson))
    assert (answer["outcome"], answer["restored"]) == ("disputed", None)
    (answer,) = adopt(service, item(lesson))
    assert (answer["outcome"], answer["restored"]["outcome"]) == ("adopted", "restored")
    assert course.state(lesson)["mux_asset_id"] == "as1"


@pytest.mark.parametrize("status", ["processing", "ready", "error"])
def test_by_hand_a_row_is_looked_at_whatever_its_status(
    course: Course, service: Service, status: str, db: psycopg.Connection
) -> None:
    """It is leased to who looks, and settles in their name."""
    lesson = course.tracked_lesson("up1")
    if status == "ready":
        service.settle(fact(PUBLISH, "up1", "as1"))
        db.execute("update lessons set status = 'draft' where true")
    elif status == "error":
        service.settle(fact(FAIL, "up1"))
    (answer,) = adopt(service, item(lesson, by_hand=True), lease=60)
    assert (answer["outcome"], answer["claim"]["upload_id"]) == ("adopted", "up1")
    assert (course.row(lesson)["status"], service.claim()) == ("processing", [])
    claimed = looked_at(answer["claim"], PUBLISH)
    verdict = Jsonb(fact(PUBLISH, "up1", "as1", claimed=[claimed]))
    query = b"select worker_publish(%s, null, 'Olga') -> 0 ->> 'outcome'"
    assert service.connection.execute(query, [verdict]).fetchone() == ("published",)
    assert course.events(lesson)[-1]["actor"] == "operator Olga"


@pytest.mark.parametrize("named", [None, "temp_a b"])
def test_a_lesson_that_names_no_id_keeps_its_row(
    course: Course, service: Service, db: psycopg.Connection, named: str | None
) -> None:
    """By hand the row is looked at; an app that clears the ids of a lesson means it."""
    lesson = course.tracked_lesson("up1")
    db.execute("update lessons set mux_asset_id = %s", [named])
    assert adopt_one(service, lesson) == "tracked"
    assert adopt_one(service, lesson, by_hand=True) == "adopted"
    service.settle(fact(PUBLISH, "up1", "as1"))
    db.execute(
        "update lessons set status = 'draft', mux_asset_id = %s, mux_playback_id = null", [named]
    )
    before = course.state(lesson)
    assert adopt_one(service, lesson) == ("restored" if named else "unchanged")
    course.track(lesson, "up2")
    assert adopt_one(service, lesson) == "tracked"
    assert (course.state(lesson) == before) is (named is None)


def test_by_hand_a_real_asset_over_a_row_that_is_not_ready_is_tracked_as_such(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Mux is asked what it is; the earlier upload is older from then on."""
    lesson = course.tracked_lesson("up1")
    db.execute("update lessons set mux_asset_id = 'as2' where true")
    assert adopt_one(service, lesson, by_hand=True) == "ask"
    (answer,) = adopt(service, item(lesson, "as2", by_hand=True, asset_id="as2"), lease=60)
    row = course.row(lesson)
    assert (answer["outcome"], row["upload_id"], row["mux_asset_id"]) == (
        *("adopted", "migrated"),
        "as2",
    )
    course.track(lesson, "up1")
    assert course.row(lesson)["upload_id"] == "migrated"


def test_by_hand_an_older_asset_over_a_ready_row_is_refused(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Over one that is not ready, the newer upload is looked at."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    course.track(lesson, "up2")
    db.execute("update lessons set mux_asset_id = 'as1', mux_playback_id = 'play-as1' where true")
    (answer,) = adopt(service, item(lesson, by_hand=True))
    assert (answer["outcome"], answer["upload_id"]) == ("adopted", "up2")
    service.settle(fact(PUBLISH, "up2", "as2"))
    db.execute("update lessons set mux_asset_id = 'as1', mux_playback_id = 'play-as1' where true")
    before = course.row(lesson)
    assert adopt_one(service, lesson, by_hand=True) == ("left_alone", "older")
    assert course.row(lesson) == before


def test_by_hand_a_lesson_whose_row_was_deleted_gets_its_newest_upload_back(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Whichever of its videos it names."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    course.track(lesson, "up2")
    service.settle(fact(PUBLISH, "up2", "as2"))
    for asset in ("as1", "as2"):
        db.execute("delete from mux_asset_tracking where true")
        db.execute("update lessons set mux_asset_id = %s, mux_playback_id = 'play'", [asset])
        assert adopt_one(service, lesson, by_hand=True) == "adopted"
        assert course.row(lesson)["upload_id"] == "up2"


def test_by_hand_an_id_that_was_passed_over_is_asked_for_again(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """An operator need not wait for an hour."""
    lesson = course.tracked_lesson("up1")
    db.execute("update lessons set mux_asset_id = 'as2' where true")
    assert adopt_one(service, lesson, "as2", is_missing=True) == "tracked"
    assert adopt_one(service, lesson) == "tracked"
    assert adopt_one(service, lesson, by_hand=True) == "ask"
    assert adopt_one(service, lesson, "as2", by_hand=True, asset_id="as2") == "adopted"
    assert course.row(lesson)["mux_asset_id"] == "as2"


def test_an_id_that_mux_does_not_know_is_passed_over_for_an_hour(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Meanwhile the lesson keeps its upload, and Mux is not asked."""
    lesson = course.tracked_lesson("up1")
    db.execute("update lessons set mux_asset_id = 'temp_up2' where true")
    assert adopt_one(service, lesson) == "ask"
    assert adopt_one(service, lesson, "up2", is_missing=True) == "tracked"
    assert adopt_one(service, lesson) == "tracked"
    db.execute(
        "update mux_private.upload_history set heard_at = now() - interval '61 minutes' where true"
    )
    assert adopt_one(service, lesson) == "ask"
    assert adopt_one(service, lesson, "up2", upload_id="up2") == "adopted"
    assert course.row(lesson)["upload_id"] == "up2"


def test_an_id_that_mux_does_not_know_is_passed_over_where_nothing_else_is_known(
    course: Course, service: Service
) -> None:
    """There is no other upload that the lesson could have."""
    lesson = course.lesson(mux_asset_id="temp_up1")
    for _ in range(2):
        assert adopt_one(service, lesson, "up1", is_missing=True) == ("left_alone", "not_found")


@pytest.mark.parametrize("temp", ["temp_up1", "temp_other", None])
@pytest.mark.parametrize("named", ["temp_up1", None])
def test_a_row_that_holds_a_placeholder_tracks_the_upload_in_it(
    course: Course, service: Service, temp: str | None, named: str | None
) -> None:
    """Whether or not the lesson holds it too: such a row tracks nothing that Mux could know."""
    lesson = course.lesson(mux_asset_id=named)
    course.track(lesson, "temp_up1", temp_asset_id=temp)
    assert adopt_one(service, lesson) == "adopted"
    assert course.row(lesson)["upload_id"] == "up1"
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]


REFUSES_VIDEO = """
    create function refuse_video() returns trigger language plpgsql as $$
    begin raise exception 'not this one'; end $$;
    create trigger refuse_video before update of mux_playback_id on lessons
    for each row when (new.mux_playback_id = 'play-as1') execute function refuse_video()"""


@pytest.mark.parametrize("named", ["up2", "up3"])
def test_where_the_older_video_is_refused_the_newest_upload_is_tracked(
    course: Course, service: Service, db: psycopg.Connection, named: str
) -> None:
    """Whether it is adopted now or was tracked before; the refusal is returned beside it."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    course.track(lesson, "up2")
    db.execute("update lessons set mux_asset_id = %s, mux_playback_id = null", [f"temp_{named}"])
    db.execute(REFUSES_VIDEO)
    try:
        known = {"upload_id": named} if named == "up3" else {}
        (answer,) = adopt(service, item(lesson, named, **known), backfill=RUN)
    finally:
        db.execute("drop function refuse_video cascade")
    assert answer["outcome"] == ("adopted" if named == "up3" else "tracked")
    refused = answer["restored"]
    assert (refused["outcome"], refused["message"]) == ("refused", "not this one")
    assert course.row(lesson)["upload_id"] == named
    query = "select adopted_in from mux_private.upload_history where mux_id = %s"
    assert db.execute(query.encode(), [named]).fetchone() == (RUN,)


def by_anna(query: str, *values: object) -> Callable[[UUID], Action]:
    """Build a request of Anna's about a lesson, which the query names first."""

    def build(lesson: UUID) -> Action:
        return Action(
            query,
            ANNA,
            lambda connection, _: connection.execute(query.encode(), [lesson, *values]).rowcount,
        )

    return build


def settles(lesson: UUID) -> Action:
    """Build another worker's settle, which is about the upload that the lesson tracks."""
    verdict = Jsonb([fact(PUBLISH, "up1", "as1")])
    query = b"select worker_settle(%s)"
    return Action("settle", None, lambda connection, _: connection.execute(query, [verdict]))


RACES = {
    "track": (by_anna("select track_upload(%s::text, 'up3')"), "up3"),
    "form": (by_anna("update lessons set mux_asset_id = 'temp_up4' where id = %s"), "up4"),
    "delete": (by_anna("delete from lessons where id = %s"), None),
    "settle": (settles, "up2"),
}
"""What an adoption meets, and the upload that is tracked once all has been adopted."""


@pytest.mark.parametrize("order", ["adopted first", "adopted second"])
@pytest.mark.parametrize("name", RACES)
def test_an_adoption_and_another_request_end_as_one_after_the_other(
    supabase: LocalSupabase,
    course: Course,
    service: Service,
    db: psycopg.Connection,
    name: str,
    order: str,
) -> None:
    """The newest upload is tracked in either order; the worker waits for neither."""
    build, newest = RACES[name]
    lesson = course.tracked_lesson("up1")
    db.execute("update lessons set mux_asset_id = 'temp_up2' where true")
    brought = item(lesson, "up2", upload_id="up2")
    adoption = Action("adopt", None, lambda connection, _: adopt(Service(connection), brought)[0])
    first, second = adoption, build(lesson)
    if order == "adopted second":
        first, second = second, first
    with Stage(supabase) as stage:
        assert not stage.one.starts(first, Scene(None))
        waits = stage.other.starts(second, Scene(None), and_commits=True)
        stage.one.result()
        stage.one.connection.commit()
        result = stage.other.result()
    if second is adoption:
        assert (waits, result["outcome"]) == (False, "busy")
        adopt(service, brought)
    elif name == "settle":
        assert not waits
    if newest is None:
        assert db.execute("select from mux_asset_tracking").fetchall() == []
        return
    (answer,) = adopt(service, item(lesson))
    if answer["outcome"] == "ask":
        adopt(service, item(lesson, newest, upload_id=newest))
    assert course.row(lesson)["upload_id"] == newest
    assert service.outcomes(fact(PUBLISH, newest, "as9")) == ["published"]


def test_by_hand_a_row_that_waits_keeps_its_age(course: Course, service: Service) -> None:
    """Otherwise an upload that never comes would never be given up."""
    lesson = course.tracked_lesson("up1")
    course.backdate(lesson, 9000)
    (answer,) = adopt(service, item(lesson, by_hand=True), lease=60)
    assert answer["claim"]["age_seconds"] >= 9000


def test_a_lesson_that_plays_what_the_app_gave_it_keeps_it(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """While its newer upload waits, its older video is not brought back over that."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    course.track(lesson, "up2")
    db.execute("update lessons set mux_asset_id = 'as7', mux_playback_id = 'play7' where true")
    before = course.state(lesson)
    assert adopt_one(service, lesson, "as7", is_missing=True) == "tracked"
    assert course.state(lesson) == before


def test_a_video_whose_first_instructor_is_another_is_not_brought_back(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """A lesson that went over to another instructor, and lost its row and its ids since."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    db.execute("delete from mux_asset_tracking where true")
    db.execute(
        "update lessons set creator_id = %s, status = 'draft', mux_asset_id = 'temp_up2', "
        "mux_playback_id = null where true",
        [course.bert],
    )
    (answer,) = adopt(service, item(lesson, "up2", upload_id="up2"))
    assert (answer["outcome"], answer["restored"]) == ("adopted", None)
    assert course.state(lesson)["mux_asset_id"] == "temp_up2"


def test_that_mux_did_not_know_an_id_says_nothing_of_the_next(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """The lesson was saved meanwhile: Mux is asked about what it names now."""
    lesson = course.tracked_lesson("up1")
    db.execute("update lessons set mux_asset_id = 'temp_new' where true")
    assert adopt_one(service, lesson, "old", is_missing=True) == "ask"
    assert adopt_one(service, lesson) == "ask"
