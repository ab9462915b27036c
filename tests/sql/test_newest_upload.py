"""Which upload of a lesson is the newest, and whose: the sequences that went wrong once."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.instructor import Instructor, refusal
from tests.sql.service import PUBLISH, Service, fact
from tests.sql.upload_world import RULES, Mux, Stage, Video, World
from worker.decide import settlement
from worker.model import Observation, OnSent
from worker.supabase.serialize import settlement_json

pytestmark = pytest.mark.stack


@pytest.fixture
def world(
    supabase: LocalSupabase, db: psycopg.Connection, course: Course, service: Service
) -> Iterator[World]:
    """Give Anna's and Bert's browsers, a Mux, the worker and an operator."""
    with supabase.connect("authenticated") as hers, supabase.connect("authenticated") as his:
        yield World(db, service, Instructor(hers, course.anna), Instructor(his, course.bert))


def walk(world: World, lesson: uuid.UUID) -> None:
    """Let the periodic adoption come by."""
    world.walks()


def backfill(world: World, lesson: uuid.UUID) -> None:
    """Let an operator's backfill adopt the lesson."""
    world.backfills()


def by_hand(world: World, lesson: uuid.UUID) -> None:
    """Let an operator publish the lesson."""
    world.publishes_by_hand(lesson)


ROADS = pytest.mark.parametrize("road", [walk, backfill, by_hand])
Road = Callable[[World, uuid.UUID], None]


def track(world: World, lesson: uuid.UUID, video: Video) -> None:
    """Track Anna's upload by the function."""
    world.anna.track_upload(lesson, video.upload)


def upsert(world: World, lesson: uuid.UUID, video: Video) -> None:
    """Track Anna's upload by the app's own upsert."""
    world.upserts(world.anna, lesson, video)


TRACKED_BY = pytest.mark.parametrize("tracked", [track, upsert])
Tracked = Callable[[World, uuid.UUID, Video], None]


def played(world: World, lesson: uuid.UUID, name: str) -> Video:
    """Let Anna's lesson play a video that she uploaded."""
    video = world.mux.video(name, "ready")
    world.anna.track_upload(lesson, video.upload)
    world.scan()
    assert world.shows(lesson) == ("published", *video.ids)
    return video


# Newest.


@ROADS
def test_a_placeholder_of_the_upload_before_drops_no_newer_upload(world: World, road: Road) -> None:
    """The form of u1 was saved, u2 is tracked and prepared: u1 is replaced, though it is ready."""
    u1, u2 = world.mux.video("1", "ready"), world.mux.video("2", "preparing")
    lesson = world.makes(world.anna, holds=u1.placeholder)
    world.anna.track_upload(lesson, u1.upload)
    world.anna.track_upload(lesson, u2.upload)
    road(world, lesson)
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "processing")
    assert world.shows(lesson) == ("draft", *u1.placeholder)
    u2.stage = "ready"
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "ready")
    assert world.shows(lesson) == ("published", *u2.ids)


@ROADS
def test_an_upload_that_mux_does_not_know_yet_is_not_given_up_for_the_lessons_older_asset(
    world: World, road: Road
) -> None:
    """Mux answers 404 once, and the asset that stood in the lesson before is ready."""
    u1, u2 = world.mux.video("1", "ready"), world.mux.video("2", "unknown")
    lesson = world.makes(world.anna, holds=(u1.asset, u1.placeholder[1]))
    world.anna.track_upload(lesson, u2.upload)
    world.scan()
    road(world, lesson)
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "processing")
    assert world.shows(lesson)[0] == "draft"
    u2.stage = "ready"
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "ready")
    assert world.shows(lesson) == ("published", *u2.ids)


def publish_herself(world: World, lesson: uuid.UUID) -> None:
    """Let Anna publish her lesson."""
    world.anna.publish_lesson(lesson)


@pytest.mark.parametrize("playable", [True, False])
@pytest.mark.parametrize("publish", [publish_herself, by_hand])
def test_an_upload_that_failed_does_not_come_back_over_what_was_published_by_hand(
    world: World, publish: Road, playable: bool
) -> None:
    """Mux did not know u1; its file arrives in the end, after a2 has taken its place."""
    u1, u2 = world.mux.video("1", "unknown"), world.mux.video("2", "ready")
    lesson = world.makes(world.anna)
    world.anna.track_upload(lesson, u1.upload)
    world.settles_all()
    assert world.tracks(lesson) == (u1.upload, "error")
    world.saves(world.anna, lesson, u2.ids if playable else (u2.asset, None))
    publish(world, lesson)
    world.scan()
    assert world.shows(lesson) == ("published", *u2.ids)
    u1.stage = "ready"
    world.hears_of(u1)
    world.walks()
    world.scan()
    assert world.shows(lesson) == ("published", *u2.ids)
    assert world.row(lesson)["mux_asset_id"] == u2.asset


@TRACKED_BY
@pytest.mark.parametrize("stage", ["preparing", "ready", "errored"])
def test_an_upload_tracked_late_once_more_does_not_replace_the_newer_one(
    world: World, tracked: Tracked, stage: Stage
) -> None:
    """The call for u1 is repeated, or arrives, after the one for u2."""
    u1, u2 = world.mux.video("1", "ready"), world.mux.video("2")
    lesson = world.makes(world.anna)
    tracked(world, lesson, u1)
    tracked(world, lesson, u2)
    u2.stage = stage
    world.scan()
    tracked(world, lesson, u1)
    assert world.row(lesson)["upload_id"] == u2.upload
    world.hears_of(u1)
    world.scan()
    assert world.row(lesson)["upload_id"] == u2.upload
    assert u1.asset not in world.shows(lesson)


@TRACKED_BY
def test_an_upload_that_only_stood_in_the_form_is_new_when_it_is_tracked(
    world: World, tracked: Tracked
) -> None:
    """The form saves the placeholder of u2, then the calls for u1 and for u2 arrive."""
    u1, u2 = world.mux.video("1", "ready"), world.mux.video("2", "ready")
    lesson = world.makes(world.anna, holds=u2.placeholder)
    tracked(world, lesson, u1)
    tracked(world, lesson, u2)
    assert world.tracks(lesson) == (u2.upload, "processing")
    tracked(world, lesson, u1)
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "ready")
    assert world.shows(lesson) == ("published", *u2.ids)


@ROADS
def test_a_placeholder_that_is_saved_after_the_upload_was_tracked_is_the_newest(
    world: World, road: Road
) -> None:
    """The app never tracked u2, which nothing had named when u1 began."""
    lesson = world.makes(world.anna)
    u1, u2 = played(world, lesson, "1"), world.mux.video("2", "ready")
    world.saves(world.anna, lesson, u2.placeholder)
    road(world, lesson)
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "ready")
    assert world.shows(lesson) == ("published", *u2.ids)
    assert u1.asset not in world.shows(lesson)


@ROADS
@pytest.mark.parametrize("known", [True, False])
def test_a_form_that_saves_the_real_asset_of_a_replaced_upload_changes_nothing(
    world: World, road: Road, known: bool
) -> None:
    """Its asset was not known when u2 replaced it: Mux says whose it is, or an event has."""
    u1, u2 = world.mux.video("1"), world.mux.video("2")
    lesson = world.makes(world.anna)
    world.anna.track_upload(lesson, u1.upload)
    world.anna.track_upload(lesson, u2.upload)
    u1.stage, u2.stage = "ready", "preparing"
    if known:
        world.hears_of(u1)
    world.saves(world.anna, lesson, u1.ids)
    road(world, lesson)
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "processing")
    assert world.shows(lesson)[0] == "draft"
    u2.stage = "ready"
    world.walks()
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "ready")
    assert world.shows(lesson) == ("published", *u2.ids)


def test_a_form_that_saves_real_ids_of_a_replaced_video_is_set_right(world: World) -> None:
    """It was open while the new video was published, and plays the old one again."""
    lesson = world.makes(world.anna)
    u1, u2 = played(world, lesson, "1"), played(world, lesson, "2")
    world.saves(world.anna, lesson, u1.ids)
    world.walks()
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "ready")
    assert world.shows(lesson) == ("published", *u2.ids)


@pytest.mark.parametrize("road", [walk, backfill])
@pytest.mark.parametrize("stage", ["preparing", "errored", "unknown"])
def test_a_lesson_plays_its_old_video_until_the_new_one_is_ready(
    world: World, road: Road, stage: Stage
) -> None:
    """The form saves the new upload's placeholder over it, and the upload may fail, too."""
    lesson = world.makes(world.anna)
    u1, u2 = played(world, lesson, "1"), world.mux.video("2")
    world.saves(world.anna, lesson, u2.placeholder)
    world.anna.track_upload(lesson, u2.upload)
    u2.stage = stage
    world.settles_all()
    road(world, lesson)
    assert world.row(lesson)["upload_id"] == u2.upload
    assert world.shows(lesson) == ("published", *u1.ids)


@pytest.mark.parametrize("road", [walk, backfill])
def test_a_failed_upload_whose_placeholder_is_saved_again_leaves_the_lesson_playing(
    world: World, road: Road
) -> None:
    """The row stays failed, since nothing new was uploaded, and the old video is given back."""
    lesson = world.makes(world.anna)
    u1, u2 = played(world, lesson, "1"), world.mux.video("2", "errored")
    world.anna.track_upload(lesson, u2.upload)
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "error")
    world.saves(world.anna, lesson, u2.placeholder)
    road(world, lesson)
    assert world.tracks(lesson) == (u2.upload, "error")
    assert world.shows(lesson) == ("published", *u1.ids)


@pytest.mark.parametrize("road", [walk, backfill])
def test_a_deleted_asset_is_not_given_back(world: World, road: Road) -> None:
    """The newest of the others is, while the new upload fails."""
    lesson = world.makes(world.anna)
    u0, u1 = played(world, lesson, "0"), played(world, lesson, "1")
    u2 = world.mux.video("2", "errored")
    world.anna.track_upload(lesson, u2.upload)
    world.scan()
    world.hears_deleted(u1)
    world.saves(world.anna, lesson, u2.placeholder)
    road(world, lesson)
    assert world.shows(lesson) == ("published", *u0.ids)


@pytest.mark.parametrize("road", [walk, backfill])
def test_the_status_is_given_back_once(world: World, road: Road) -> None:
    """Somebody who saves a lesson as a draft a second time means it; the ids are given back."""
    lesson = world.makes(world.anna)
    u1 = played(world, lesson, "1")
    statuses = []
    for _ in range(2):
        world.saves(world.anna, lesson, u1.placeholder, "draft")
        road(world, lesson)
        world.scan()
        statuses.append(world.shows(lesson))
    assert statuses == [("published", *u1.ids), ("draft", *u1.ids)]


@pytest.mark.parametrize("road", [walk, backfill])
def test_a_lesson_that_somebody_unpublished_stays_a_draft_until_a_new_upload_is_ready(
    world: World, road: Road
) -> None:
    """Late events, repeated calls and the worker's own rounds leave it so."""
    lesson = world.makes(world.anna)
    u1, u2 = played(world, lesson, "1"), world.mux.video("2", "ready")
    world.saves(world.anna, lesson, u1.ids, "draft")
    world.hears_of(u1)
    world.anna.track_upload(lesson, u1.upload)
    road(world, lesson)
    world.scan()
    assert world.shows(lesson) == ("draft", *u1.ids)
    world.anna.track_upload(lesson, u2.upload)
    world.scan()
    assert world.shows(lesson) == ("published", *u2.ids)


@ROADS
def test_a_stale_form_saved_after_the_row_was_deleted_brings_the_newest_upload_back(
    world: World, road: Road
) -> None:
    """Nothing is tracked, and the form names the upload before."""
    lesson = world.makes(world.anna)
    u1, u2 = played(world, lesson, "1"), played(world, lesson, "2")
    world.drops_row(world.anna, lesson)
    world.saves(world.anna, lesson, u1.placeholder)
    road(world, lesson)
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "ready")
    assert world.shows(lesson) == ("published", *u2.ids)


@TRACKED_BY
def test_an_old_upload_is_new_again_where_the_row_was_deleted_before(
    world: World, tracked: Tracked
) -> None:
    """That is how one goes back on purpose; what was the newest then is older."""
    lesson = world.makes(world.anna)
    u1, u2 = played(world, lesson, "1"), played(world, lesson, "2")
    world.drops_row(world.anna, lesson)
    tracked(world, lesson, u1)
    world.scan()
    assert world.shows(lesson) == ("published", *u1.ids)
    tracked(world, lesson, u2)
    world.saves(world.anna, lesson, u2.placeholder)
    world.walks()
    world.scan()
    assert world.tracks(lesson) == (u1.upload, "ready")
    assert world.shows(lesson) == ("published", *u1.ids)


@TRACKED_BY
def test_a_lesson_made_again_with_the_id_of_a_deleted_one_begins_anew(
    world: World, tracked: Tracked
) -> None:
    """What was older in the deleted lesson may be tracked for the new one."""
    lesson = world.makes(world.anna)
    u1, _ = played(world, lesson, "1"), played(world, lesson, "2")
    world.deletes(world.anna, lesson)
    world.makes(world.anna, lesson)
    tracked(world, lesson, u1)
    world.scan()
    assert world.tracks(lesson) == (u1.upload, "ready")
    assert world.shows(lesson) == ("published", *u1.ids)


@ROADS
def test_the_placeholder_of_a_lesson_made_again_is_the_newest(world: World, road: Road) -> None:
    """The history of the deleted lesson with the same id says nothing of it."""
    lesson = world.makes(world.anna)
    u1, _ = played(world, lesson, "1"), played(world, lesson, "2")
    world.deletes(world.anna, lesson)
    world.makes(world.anna, lesson, holds=u1.placeholder)
    road(world, lesson)
    world.scan()
    assert world.tracks(lesson) == (u1.upload, "ready")
    assert world.shows(lesson) == ("published", *u1.ids)


@pytest.mark.parametrize("stage", ["ready", "preparing", "errored"])
def test_the_reports_script_replaces_no_real_upload(world: World, stage: Stage) -> None:
    """It writes `migrated` and the lesson's older asset, with its status, over the row of u2."""
    u1, u2 = world.mux.video("1"), world.mux.video("2", "preparing")
    lesson = world.makes(world.anna, holds=(u1.asset, None))
    world.anna.track_upload(lesson, u2.upload)
    u1.stage = stage
    world.runs_script(lesson)
    row = world.row(lesson)
    assert (row["upload_id"], row["status"]) == (u2.upload, "processing")
    assert u1.asset not in (row["mux_asset_id"], row["mux_playback_id"])
    u2.stage = "ready"
    world.scan()
    assert world.tracks(lesson) == (u2.upload, "ready")
    assert world.shows(lesson) == ("published", *u2.ids)


@pytest.mark.parametrize("road", [walk, backfill])
def test_an_id_is_compared_as_the_placeholder_writes_it(world: World, road: Road) -> None:
    """The app replaces all but letters and digits."""
    lesson = world.makes(world.anna)
    u1, u2 = played(world, lesson, "-1"), world.mux.video("-2", "preparing")
    world.anna.track_upload(lesson, u2.upload)
    for saved in ("temp_up_1", "temp_up_2"):
        world.saves(world.anna, lesson, (saved, saved.replace("temp_", "temp_playback_")))
        road(world, lesson)
        world.scan()
        assert world.tracks(lesson) == (u2.upload, "processing")
        assert world.shows(lesson) == ("published", *u1.ids)


def test_a_video_is_not_published_by_hand_over_one_that_is_ready(world: World) -> None:
    """The instructor is told, and the lesson plays what it did."""
    lesson = world.makes(world.anna)
    u1, u2 = played(world, lesson, "1"), world.mux.video("2", "ready")
    world.saves(world.anna, lesson, u2.ids)
    assert refusal(world.anna.publish_lesson, lesson)[0] == "PT409"
    assert world.tracks(lesson) == (u1.upload, "ready")


def test_an_older_asset_is_not_published_by_hand(world: World) -> None:
    """The upload that replaced it is not ready, so it waits for it, or deletes the row."""
    u1, u2 = world.mux.video("1"), world.mux.video("2", "preparing")
    lesson = world.makes(world.anna)
    world.anna.track_upload(lesson, u1.upload)
    world.anna.track_upload(lesson, u2.upload)
    u1.stage = "ready"
    world.hears_of(u1)
    world.saves(world.anna, lesson, u1.ids)
    assert refusal(world.anna.publish_lesson, lesson)[0] == "PT409"
    assert world.shows(lesson)[0] == "draft"
    assert world.tracks(lesson) == (u2.upload, "processing")


# Whose.


@pytest.mark.parametrize("his", ["nothing", "an upload of his own", "her upload"])
@pytest.mark.parametrize("holds", ["nothing", "her placeholder", "her placeholder, before"])
def test_a_lesson_whose_id_is_another_users_takes_no_video_from_her(
    world: World, his: str, holds: str
) -> None:
    """The app writes the user's id into `passthrough`, and Bert has made a lesson of that id."""
    u1 = world.mux.video("1", "ready", reference=str(world.anna.user))
    u9 = world.mux.video("9", "ready")
    before = u1.placeholder if holds == "her placeholder, before" else (None, None)
    trap = world.makes(world.bert, world.anna.user, holds=before)
    lesson = world.makes(world.anna)
    world.anna.track_upload(lesson, u1.upload)
    if holds == "her placeholder":
        world.saves(world.bert, trap, u1.placeholder)
    if his != "nothing":
        video = u1 if his == "her upload" else u9
        world.bert.track_upload(trap, video.upload)
    world.scan()
    assert world.shows(lesson) == ("published", *u1.ids)
    if his == "her upload":
        assert world.row(trap)["error_type"] == "lesson_mismatch"
    assert u1.asset not in world.shows(trap)


def test_a_lesson_reference_counts_against_who_copied_the_upload(world: World) -> None:
    """Bert tracks what he read in Anna's lesson, which `passthrough` names, before she does."""
    for column in ("mux_asset_id", "mux_playback_id"):
        world.db.execute(
            f"create index idx_lessons_{column} on lessons (left({column}, 300))".encode()
        )
    lesson = world.makes(world.anna)
    u1 = world.mux.video("1", "ready", reference=str(lesson))
    world.saves(world.anna, lesson, u1.placeholder)
    copy = world.makes(world.bert)
    world.bert.track_upload(copy, u1.upload)
    world.scan()
    world.db.execute("drop index idx_lessons_mux_asset_id, idx_lessons_mux_playback_id")
    assert world.row(copy)["error_type"] == "lesson_mismatch"
    assert world.shows(copy) == ("draft", None, None)


def replaced(world: World, lesson: uuid.UUID) -> None:
    """Let Anna replace the video."""
    played(world, lesson, "2")


def gone(world: World, lesson: uuid.UUID) -> None:
    """Let Anna delete the lesson."""
    world.deletes(world.anna, lesson)


def dropped(world: World, lesson: uuid.UUID) -> None:
    """Let Anna delete the row."""
    world.drops_row(world.anna, lesson)


PASSED = pytest.mark.parametrize("passed", [replaced, gone, dropped])


@PASSED
@pytest.mark.parametrize("status", ["draft", "published"])
def test_a_video_stays_hers_when_she_has_no_more_use_for_it(
    world: World, passed: Road, status: str
) -> None:
    """Bert saves the ids that everybody could read, and publishes."""
    hers = world.makes(world.anna)
    u1 = played(world, hers, "1")
    passed(world, hers)
    lesson = world.makes(world.bert, holds=(u1.asset, None), status=status)
    assert refusal(world.bert.publish_lesson, lesson)[0] == "PT409"
    for road in (walk, backfill, by_hand):
        road(world, lesson)
    world.scan()
    assert world.shows(lesson) == (status, u1.asset, None)


@PASSED
def test_an_upload_stays_hers_when_she_has_no_more_use_for_it(world: World, passed: Road) -> None:
    """Bert tracks it, or saves its placeholder, in a lesson of his, also one of the same id."""
    hers = world.makes(world.anna)
    u1 = played(world, hers, "1")
    passed(world, hers)
    lessons = [world.makes(world.bert), world.makes(world.bert, holds=u1.placeholder)]
    if passed is gone:
        lessons.append(world.makes(world.bert, hers))
        world.bert.track_upload(hers, u1.upload)
    world.bert.track_upload(lessons[0], u1.upload)
    world.walks()
    world.settles_all()
    for lesson in lessons:
        assert world.shows(lesson)[0] == "draft"
        assert u1.asset not in world.shows(lesson)


def test_an_upload_that_two_instructors_name_and_nobody_tracked_is_given_to_neither(
    world: World,
) -> None:
    """Anybody may read a placeholder and copy it."""
    u1 = world.mux.video("1", "ready")
    lessons = [world.makes(by, holds=u1.placeholder) for by in (world.anna, world.bert)]
    world.walks()
    world.backfills()
    world.scan()
    assert [world.shows(lesson) for lesson in lessons] == [("draft", *u1.placeholder)] * 2


def test_a_placeholder_that_stood_first_in_her_lesson_is_not_adopted_for_his(
    world: World,
) -> None:
    """She has replaced it since, and he holds a copy in a lesson for which nothing is tracked."""
    u1, u2 = world.mux.video("1", "ready"), world.mux.video("2", "ready")
    hers = world.makes(world.anna, holds=u1.placeholder)
    world.anna.track_upload(hers, u2.upload)
    world.scan()
    his = world.makes(world.bert, holds=u1.placeholder)
    world.walks()
    world.backfills()
    world.scan()
    assert world.shows(his) == ("draft", *u1.placeholder)
    with pytest.raises(AssertionError):
        world.row(his)


@pytest.mark.parametrize("road", [walk, backfill])
@pytest.mark.parametrize("whose", ["his", "disputed"])
def test_a_lesson_that_names_the_upload_of_another_plays_what_it_did(
    world: World, road: Road, whose: str
) -> None:
    """It gets no other video, and loses none."""
    his, hers = world.makes(world.bert), world.makes(world.anna)
    u1, u9 = played(world, hers, "1"), world.mux.video("9", "ready")
    if whose == "his":
        world.bert.track_upload(his, u9.upload)
    else:
        world.saves(world.bert, his, u9.placeholder)
    world.saves(world.anna, hers, u9.placeholder)
    road(world, hers)
    assert world.tracks(hers) == (u1.upload, "ready")
    assert world.shows(hers) == ("published", *u1.ids)


@pytest.mark.parametrize("whose", ["his", "disputed"])
def test_a_lesson_that_names_the_upload_of_another_gets_its_own_when_that_is_ready(
    world: World, whose: str
) -> None:
    """What it may not have is no newer upload, for which its own would have to wait."""
    his, hers = world.makes(world.bert), world.makes(world.anna)
    u1, u9 = world.mux.video("1"), world.mux.video("9", "ready")
    world.anna.track_upload(hers, u1.upload)
    if whose == "his":
        world.bert.track_upload(his, u9.upload)
    else:
        world.saves(world.bert, his, u9.placeholder)
    world.saves(world.anna, hers, u9.placeholder)
    u1.stage = "ready"
    world.scan()
    world.walks()
    world.scan()
    assert world.tracks(hers) == (u1.upload, "ready")
    assert world.shows(hers) == ("published", *u1.ids)


def due_in(world: World, lesson: uuid.UUID) -> float:
    """Give the seconds until a waiting row is due."""
    seconds: float = (world.row(lesson)["next_check_at"] - datetime.now(UTC)).total_seconds()
    return seconds


@pytest.mark.parametrize("named", ["his", "older"])
def test_an_upload_is_looked_at_at_once_when_what_its_lesson_names_is_known_to_be_no_newer(
    world: World, named: str
) -> None:
    """It does not wait for the pause that it was given when it was found ready."""
    his, hers = world.makes(world.bert), world.makes(world.anna)
    u0, u1 = world.mux.video("0", "ready"), world.mux.video("1")
    if named == "his":
        world.bert.track_upload(his, u0.upload)
    else:
        world.anna.track_upload(hers, u0.upload)
    world.anna.track_upload(hers, u1.upload)
    world.saves(world.anna, hers, u0.placeholder if named == "his" else u0.ids)
    u1.stage = "ready"
    world.scan()
    assert world.tracks(hers) == (u1.upload, "processing")
    assert due_in(world, hers) <= 0
    world.scan()
    assert world.shows(hers) == ("published", *u1.ids)


def test_a_video_that_an_event_calls_ready_waits_for_no_pause_when_its_lesson_names_another(
    world: World,
) -> None:
    """The next scan finds out what the lesson names; events adopt nothing themselves."""
    lesson, u1 = world.makes(world.anna), world.mux.video("1", "ready")
    world.anna.track_upload(lesson, u1.upload)
    world.saves(world.anna, lesson, Video("2").placeholder)
    world.db.execute("update mux_private.schedule set next_check_at = now() + interval '5 minutes'")
    heard = settlement_json(settlement(u1.seen_by_upload("webhook"), (), RULES))
    assert [(o["outcome"], o["reason"]) for o in world.service.settle(heard)] == [
        ("waiting", "names_newer")
    ]
    assert due_in(world, lesson) <= 0


def test_a_rule_of_the_app_against_the_older_video_leaves_the_newest_upload_tracked(
    world: World, db: psycopg.Connection
) -> None:
    """The older one cannot be restored while the new one is awaited; that is said, and no more."""
    lesson, u2 = world.makes(world.anna), world.mux.video("2", "ready")
    u1 = played(world, lesson, "1")
    db.execute(
        "create function no_more() returns trigger language plpgsql as $$ begin "
        "if new.mux_asset_id = 'as1' then raise exception 'no'; end if; return new; end $$; "
        "create trigger no_more before update on lessons for each row execute function no_more()"
    )
    try:
        world.saves(world.anna, lesson, u2.placeholder, "draft")
        world.walks()
        assert world.tracks(lesson) == (u2.upload, "processing")
        world.scan()
    finally:
        db.execute("drop trigger no_more on lessons; drop function no_more()")
    assert u1.asset == "as1"
    assert world.shows(lesson) == ("published", *u2.ids)


def test_mux_is_asked_once_an_hour_about_an_asset_that_it_does_not_know(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload that the lesson has stays its newest meanwhile."""
    asked: list[str] = []

    async def asset(asset_id: str, _: OnSent) -> Observation:
        asked.append(asset_id)
        return Observation("asset", "missing", "probe", asset_id=asset_id)

    monkeypatch.setattr(Mux, "asset", staticmethod(asset))
    lesson = world.makes(world.anna)
    world.anna.track_upload(lesson, world.mux.video("1").upload)
    world.saves(world.anna, lesson, ("gone", "temp_playback_gone"))
    for _ in range(3):
        world.walks()
    assert asked == ["gone"]
    assert world.tracks(lesson) == ("up1", "processing")


def test_an_asset_that_mux_does_not_know_is_asked_for_by_the_scan_where_a_lesson_has_no_other(
    world: World,
) -> None:
    """It is tracked, and fails with its reason, as any other."""
    lesson = world.makes(world.anna, holds=("gone", "temp_playback_gone"))
    world.backfills()
    world.settles_all()
    row = world.row(lesson)
    assert (row["upload_id"], row["status"], row["error_type"]) == (
        "migrated",
        "error",
        "asset_not_found",
    )


# How often.


@TRACKED_BY
def test_no_more_than_fifty_uploads_an_hour_begin_for_a_lesson(
    world: World, tracked: Tracked
) -> None:
    """Repeated calls do not count; the service's own key has no such bound."""
    lesson = world.makes(world.anna)
    for n in range(50):
        for _ in range(2):
            tracked(world, lesson, world.mux.video(str(n)))
    late = world.mux.video("50")
    assert refusal(lambda: tracked(world, lesson, late))[0] == "PT429"
    assert world.row(lesson)["upload_id"] == "up49"
    world.upserts(world.service, lesson, late)
    assert world.row(lesson)["upload_id"] == late.upload


def test_publishing_by_hand_is_no_way_around_fifty_uploads_an_hour(world: World) -> None:
    """Each asset that is published so, and that nothing had tracked, is one of them."""
    lesson = world.makes(world.anna)
    for n in range(50):
        world.saves(world.anna, lesson, (f"as{n}", None), "draft")
        world.anna.publish_lesson(lesson)
    world.saves(world.anna, lesson, ("as50", None), "draft")
    assert refusal(world.anna.publish_lesson, lesson)[0] == "PT429"
    world.drops_row(world.anna, lesson)
    assert refusal(world.anna.publish_lesson, lesson)[0] == "PT429"


def test_what_else_happens_to_a_lesson_hides_none_of_its_uploads(
    world: World, db: psycopg.Connection
) -> None:
    """However much the audit holds that is no beginning of an upload."""
    lesson = world.makes(world.anna)
    for n in range(50):
        track(world, lesson, world.mux.video(str(n)))
    db.execute(
        "insert into mux_asset_events (actor, event, lesson_id, tracking_id) "
        "select 'a test', 'published', t.lesson_id, t.id "
        "from mux_asset_tracking t, generate_series(1, 600)"
    )
    assert refusal(lambda: track(world, lesson, world.mux.video("50")))[0] == "PT429"


def test_a_placeholder_that_the_app_named_itself_is_no_newer_upload(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """The app said which placeholder it is when it began to track; then it saved the lesson."""
    lesson = course.tracked_lesson("up1", temp_asset_id="temp_7f3a")
    db.execute("update lessons set mux_asset_id = 'temp_7f3a' where id = %s", [lesson])
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
