"""Bert goes for the videos of Anna: their uploads, their assets, and who tracked them first."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.sql.crime import Crime
from tests.sql.service import FAIL, PUBLISH, WAIT, Json, fact, looked_at

pytestmark = pytest.mark.stack

VIDEO = ("status", "mux_asset_id", "mux_playback_id")
UNSEEN = ("mux_asset_id", "mux_playback_id")
TRACKING = "/mux_asset_tracking"
OF_ANOTHER = (409, "PT409")


def by_function(crime: Crime, upload: str) -> UUID:
    """Track it with the app's function."""
    assert crime.rpc("track_upload", lesson_id=str(crime.mine), upload_id=upload).status == 200
    return crime.mine


def by_new_row(crime: Crime, upload: str) -> UUID:
    """Track it with a row for another lesson."""
    body = {"lesson_id": str(crime.mine_too), "upload_id": upload}
    assert crime.send("POST", TRACKING, json=body).status == 201
    return crime.mine_too


def by_upsert(crime: Crime, upload: str) -> UUID:
    """Track it with the report's upsert, over a row that there is."""
    body = {"lesson_id": str(crime.mine), "upload_id": upload}
    assert crime.upsert({**body, "status": "processing"}).status == 200
    return crime.mine


def by_change(crime: Crime, upload: str) -> UUID:
    """Track it by changing the row."""
    path = f"{TRACKING}?lesson_id=eq.{crime.mine}"
    assert crime.send("PATCH", path, json={"upload_id": upload}).status == 204
    return crime.mine


def by_new_lesson(crime: Crime, upload: str) -> UUID:
    """Track it for a new lesson, after deleting the old row, so that no trace is left."""
    assert crime.send("DELETE", TRACKING).status == 204
    return by_new_row(crime, upload)


WAYS = [by_function, by_new_row, by_upsert, by_change, by_new_lesson]
Way = Callable[[Crime, str], UUID]


def anna_gets_hers(crime: Crime, settled: list[Json]) -> None:
    """Check that her lesson was published by it, as if nobody else were there."""
    result = [o["outcome"] for o in settled if o["lesson_id"] == str(crime.waiting)]
    assert result == ["published"]
    state = crime.course.state(crime.waiting)
    assert [state[name] for name in VIDEO] == ["published", "as-waiting", "play-as-waiting"]
    crime.goes_on()


@pytest.mark.parametrize("way", WAYS)
def test_whoever_tracks_an_upload_later_does_not_get_its_video(crime: Crime, way: Way) -> None:
    """However it is tracked; and its owner gets it as if nothing had been tried."""
    lesson = way(crime, "up-waiting")
    settled = crime.service.settle(fact(PUBLISH, "up-waiting", "as-waiting"))
    anna_gets_hers(crime, settled)
    assert crime.course.state(lesson)["status"] == "draft"
    result = crime.rpc("check_asset_status", lesson_id=str(lesson)).said
    assert (result["status"], result["playbackId"], result["error"]["type"]) == (
        *("error", None),
        "lesson_mismatch",
    )
    assert [e["reason"] for e in crime.course.events(lesson)][-1:] == ["lesson_mismatch"]


@pytest.mark.parametrize("verdict", [WAIT, FAIL, PUBLISH], ids=["wait", "fail", "publish"])
@pytest.mark.parametrize("is_claimed", [True, False])
def test_nothing_is_learnt_of_the_video_of_another(
    crime: Crime, verdict: Json, is_claimed: bool
) -> None:
    """Who knows the id of an upload reads neither asset, playback id, nor what Mux said of it."""
    lesson = by_function(crime, "up-waiting")
    crime.course.make_due()
    claims = [looked_at(row, verdict) for row in crime.service.claim() if is_claimed]
    seen = {"playback_ids": [{"id": "play-as-waiting", "policy": "public"}]}
    item = fact(verdict, "up-waiting", "as-waiting", claimed=claims)
    crime.service.settle({**item, "observation": {**item["observation"], **seen}})
    crime.goes_on()
    crime.secrets.remove("up-waiting")  # which he knows
    crime.secrets.append("play-as-waiting")
    rows, events = crime.loot()
    assert [[row[name] for name in UNSEEN] for row in rows] == [[None, None]]
    assert [e["lesson_id"] for e in events] == [str(lesson)] * len(events)
    assert {(e["asset_id"], e["playback_id"], e["observation"] is None) for e in events} == {
        (None, None, True)
    }
    expected = "processing" if verdict is WAIT else "error"
    assert crime.rpc("check_asset_status", lesson_id=str(lesson)).said["status"] == expected


@pytest.mark.parametrize("way", WAYS)
def test_an_upload_is_its_owners_also_when_she_has_deleted_all(crime: Crime, way: Way) -> None:
    """Who tracked it first outlives row and lesson, and cannot be read or unlearnt."""
    crime.course.delete(crime.waiting)
    crime.goes_on()
    lesson = way(crime, "up-waiting")
    assert crime.service.outcomes(fact(PUBLISH, "up-waiting", "as-waiting")) == ["failed"]
    assert crime.course.state(lesson)["status"] == "draft"


@pytest.mark.parametrize("upload", ["migrated", "as-shown", "as-waiting"])
def test_an_asset_is_not_had_by_tracking_it(crime: Crime, upload: str) -> None:
    """Neither as an upload, nor after a mismatch by saying that the upload is not known."""
    lesson = by_function(crime, "up-waiting")
    anna_gets_hers(crime, crime.service.settle(fact(PUBLISH, "up-waiting", "as-waiting")))
    by_change(crime, upload)
    crime.service.settle(
        fact(PUBLISH, "up-shown", "as-shown"), fact(PUBLISH, "up-waiting", "as-waiting")
    )
    assert crime.course.state(lesson)["mux_asset_id"] is None
    assert crime.course.row(lesson)["error_type"] == "lesson_mismatch"
    owners = crime.db.execute(
        "select owner from mux_private.first_instructors('{as-shown,as-waiting}')"
    ).fetchall()
    assert owners == [(str(crime.course.anna),)] * 2


def written_into_his_lesson(crime: Crime, lesson: UUID, asset: str) -> None:
    """Have Bert write an asset into his lesson, as he may."""
    body = {"mux_asset_id": asset, "mux_playback_id": f"play-{asset}"}
    assert crime.send("PATCH", f"/lessons?id=eq.{lesson}", json=body).status == 204


@pytest.mark.parametrize("asset", ["as-shown", "as-waiting", "as-failed"])
@pytest.mark.parametrize("is_tracked", [True, False])
def test_the_asset_of_another_is_not_published_by_hand(
    crime: Crime, asset: str, is_tracked: bool
) -> None:
    """Copied into a lesson with nothing tracked, or beside an upload of his own."""
    lesson = crime.mine if is_tracked else crime.mine_too
    written_into_his_lesson(crime, lesson, asset)
    assert crime.rpc("publish_lesson", lesson_id=str(lesson)).refusal == OF_ANOTHER
    assert crime.course.state(lesson)["status"] == "draft"
    assert [e["event"] for e in crime.course.events(lesson)] == ["tracked"] * is_tracked


def test_a_copy_does_not_keep_anna_from_publishing(crime: Crime) -> None:
    """What others write into their lessons, or track after her, counts for nothing."""
    written_into_his_lesson(crime, crime.mine_too, "as-waiting")
    by_function(crime, "up-waiting")
    crime.service.settle(fact(WAIT, "up-waiting", "as-waiting"))
    by_change(crime, "migrated")
    hers = crime.supabase.user_token(crime.course.anna)
    body = {"lesson_id": str(crime.waiting)}
    answer = crime.send("POST", "/rpc/publish_lesson", hers, json=body)
    assert answer.said == {"playable": False}
    anna_attached = crime.service.settle(fact(PUBLISH, "up-waiting", "as-waiting"))
    result = [o["outcome"] for o in anna_attached if o["lesson_id"] == str(crime.waiting)]
    assert result == ["attached"]
    crime.goes_on()


def test_a_placeholder_that_everybody_reads_gives_no_video(crime: Crime) -> None:
    """The report's app writes temp_<upload> into published lessons, and with it the upload's id."""
    crime.db.execute("update lessons set mux_asset_id = 'temp_up-new' where id = %s", [crime.shown])
    crime.course.track(crime.shown, "up-new")
    crime.goes_on()
    read = crime.send("GET", f"/lessons?select=mux_asset_id&id=eq.{crime.shown}").said
    upload = read[0]["mux_asset_id"].removeprefix("temp_")
    lesson = by_function(crime, upload)
    outcomes = crime.service.settle(fact(PUBLISH, "up-new", "as-new"))
    assert {o["lesson_id"]: o["outcome"] for o in outcomes} == {
        str(crime.shown): "attached",
        str(lesson): "failed",
    }
    crime.goes_on()


def adopt(crime: Crime, *lessons: UUID, backfill: str | None = None, **known: Any) -> list[str]:
    """Adopt lessons as the worker does, and return the outcomes' names."""
    items = Jsonb([{"lesson_id": str(lesson), **known} for lesson in lessons])
    query = b"select worker_adopt(%s, backfill => %s)"
    row = crime.service.connection.execute(query, [items, backfill]).fetchone()
    assert row is not None
    return [answer["outcome"] for answer in row[0]]


FORMS = ("temp_{}", "temp_playback_{}", "temp_temp_{}", "{}")
KNOWN: dict[str, Json] = {
    "as the worker": {},
    "as a backfill": {"retries_failed": True, "takes_drafts": True},
    "by hand": {"by_hand": True},
    "where Mux was asked": {"id": "up-new", "upload_id": "up-new", "asset_id": "as-new"},
    "where its asset names the lesson": {
        "is_trusted": True,
        "upload_id": "up-new",
        "asset_id": "as-new",
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("is_tracked", [True, False])
def test_a_copied_placeholder_is_not_adopted(
    crime: Crime, form: str, known: str, is_tracked: bool
) -> None:
    """Of an upload that is not tracked yet: in whichever form, and however lessons are adopted."""
    crime.db.execute("update lessons set mux_asset_id = 'temp_up-new' where id = %s", [crime.shown])
    crime.goes_on()
    lesson = crime.mine if is_tracked else crime.mine_too
    body = {"mux_asset_id": form.format("up-new"), "mux_playback_id": None}
    assert crime.send("PATCH", f"/lessons?id=eq.{lesson}", json=body).status == 204
    before = crime.course.state(lesson)
    assert adopt(crime, lesson, **KNOWN[known]) == ["disputed"]
    crime.service.settle(fact(PUBLISH, "up-new", "as-new"))
    assert crime.course.state(lesson) == before
    crime.course.track(crime.shown, "up-new")
    assert adopt(crime, lesson, **KNOWN[known]) in (["disputed"], ["tracked"], ["adopted"])
    outcomes = crime.service.settle(fact(PUBLISH, "up-new", "as-new"))
    assert {o["lesson_id"]: o["outcome"] for o in outcomes} == {str(crime.shown): "attached"}
    assert crime.course.state(lesson) == before
    crime.goes_on()


def test_an_instructor_changes_nothing_of_a_backfill_but_their_own_lessons(crime: Crime) -> None:
    """Neither whether it has ended, nor what it counts of others, nor which rows are its."""
    row = crime.service.connection.execute("select worker_backfill_begin() ->> 'backfill'")
    (run,) = row.fetchone() or (None,)
    hers = crime.course.lesson(mux_asset_id="temp_up-old")
    crime.send("PATCH", f"/lessons?id=eq.{crime.mine_too}", json={"mux_asset_id": "temp_up-own"})
    assert adopt(crime, hers, crime.mine_too, backfill=run) == ["adopted", "adopted"]
    crime.goes_on()
    query = b"select worker_backfill_progress(%s) -> 'counts'"
    for column in ("adopted_in", "is_backlog", "tracked_at"):
        body = {"lesson_id": str(crime.mine_too), "upload_id": "up-own", column: None}
        assert crime.upsert(body).status >= 400
    assert crime.service.connection.execute(query, [run]).fetchone() == ({"unanswered": 2},)
    assert crime.send("DELETE", TRACKING).status == 204
    counts = {"unanswered": 1, "changed": 1}
    assert crime.service.connection.execute(query, [run]).fetchone() == (counts,)
    for function in ("begin", "end", "progress"):
        body = {} if function == "begin" else {"backfill": run}
        assert crime.rpc(f"worker_backfill_{function}", **body).refusal == (403, "42501")
    assert crime.send("GET", "/upload_history").status == 404
    assert crime.send("GET", "/worker_state").status == 404
    state = crime.db.execute("select backfill_begun_at is not null from mux_private.worker_state")
    assert state.fetchone() == (True,)
