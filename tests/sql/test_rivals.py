"""Who else holds the ids that a backfill is about to give away."""

import time
from uuid import UUID

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.service import Json, Service

pytestmark = pytest.mark.stack


def rivals(service: Service, *ids: str) -> dict[str, Json]:
    """Ask for the rivals of ids."""
    row = service.connection.execute("select worker_rivals(%s)", [list(ids)]).fetchone()
    assert row is not None
    result: dict[str, Json] = row[0]
    return result


def whose(lesson: UUID | None, creator: UUID | None) -> Json:
    """Build what is told of an id that is no dispute."""
    result = {"lesson_id": lesson and str(lesson), "owner": creator and str(creator)}
    return {**result, "is_disputed": False}


DISPUTED = {"lesson_id": None, "owner": None, "is_disputed": True}


def test_the_first_of_several_holders_is_told(course: Course, service: Service) -> None:
    """By key, however each holds the id: as its asset, or in either placeholder."""
    real = course.lesson(mux_asset_id="as1")
    in_asset = course.lesson(mux_asset_id="temp_as1")
    in_playback = course.lesson(mux_asset_id=None, mux_playback_id="temp_playback_as1")
    first = min(real, in_asset, in_playback)
    assert rivals(service, "as1") == {"as1": whose(first, course.anna)}


@pytest.mark.parametrize("since", ["-infinity", "infinity", "2020-01-01"])
def test_between_instructors_no_age_decides(
    db: psycopg.Connection, course: Course, service: Service, since: str
) -> None:
    """When a lesson was made, its instructor may write, and placeholders are there to be read."""
    for creator in (course.anna, course.bert):
        course.lesson(creator, mux_asset_id="temp_up1", mux_playback_id="temp_playback_up1")
    db.execute("update lessons set created_at = %s where creator_id = %s", [since, course.bert])
    assert rivals(service, "up1") == {"up1": DISPUTED}


@pytest.mark.parametrize("by", ["upload", "asset"])
def test_who_tracked_it_first_has_it(course: Course, service: Service, by: str) -> None:
    """A lesson of hers that holds it, or none of them any more."""
    course.lesson(course.anna, mux_asset_id="temp_id1")
    hers = [course.lesson(course.bert, mux_asset_id="temp_id1") for _ in range(2)]
    track = {"upload_id": "id1"} if by == "upload" else {"upload_id": "migrated"}
    course.track(hers[1], **track, mux_asset_id="id1" if by == "asset" else None)
    assert rivals(service, "id1") == {"id1": whose(min(hers), course.bert)}
    for lesson in hers:
        course.delete(lesson)
    course.lesson(course.anna, mux_asset_id="temp_id1")
    assert rivals(service, "id1") == {"id1": whose(None, course.bert)}


def test_an_id_of_one_lesson_has_no_rivals(course: Course, service: Service) -> None:
    """Nor does one that nobody holds, nor one that another id only contains."""
    course.lesson(mux_asset_id="temp_up1", mux_playback_id="temp_playback_up1")
    course.lesson(mux_asset_id="temp_up12")
    course.lesson(mux_asset_id="up1", mux_playback_id="up3")
    assert rivals(service, "up12", "up3", "up4") == {}
    assert rivals(service) == {}
    assert list(rivals(service, "up1", "up12")) == ["up1"]


def test_the_ids_are_constants_of_a_plan_of_their_own(supabase: LocalSupabase) -> None:
    """Then they are hashed: read through for each lesson, they would keep a backfill for hours."""
    plans: list[str] = []
    with supabase.connect("supabase_admin") as admin:
        admin.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        admin.execute("load 'auto_explain'")
        for setting in (
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_nested_statements = on",
            "client_min_messages = log",
            "plan_cache_mode = force_generic_plan",
        ):
            admin.execute(f"set {setting}".encode())
        admin.execute("select worker_rivals(%s)", [["up1"]])
    (plan,) = (text for text in plans if "on lessons l" in text)
    assert "ANY ('{up1,temp_up1,temp_playback_up1}'" in plan
    assert "ANY ($" not in plan


def test_many_ids_take_no_longer_when_they_are_asked_for_again(
    db: psycopg.Connection, course: Course, service: Service
) -> None:
    """Postgres makes other plans after five calls on a connection, fifty times as slow here."""
    db.execute(
        "insert into lessons (creator_id, title, mux_asset_id) "
        "select %s, 'x', 'temp_up' || n from generate_series(1, 5000) n",
        [course.anna],
    )
    ids = [f"up{n}" for n in range(1, 5001)]
    seconds = []
    for _ in range(9):
        began = time.monotonic()
        assert rivals(service, *ids) == {}
        seconds.append(time.monotonic() - began)
    assert min(seconds[-3:]) < 10 * min(seconds[:3])
