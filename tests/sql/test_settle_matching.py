from collections import Counter
from uuid import UUID, uuid4

import pytest

from tests.course import Course
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack


def video(course: Course, lesson: UUID) -> tuple[object, ...]:
    """Give what the app shows of a lesson's video."""
    state = course.state(lesson)
    return state["status"], state["mux_asset_id"], state["mux_playback_id"]


def test_a_real_upload_is_matched_by_its_id(course: Course, service: Service) -> None:
    """A fact about an upload settles the row that tracks it and no other."""
    mine, other = course.tracked_lesson("up1"), course.tracked_lesson("up2")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    assert video(course, mine) == ("published", "as1", "play-as1")
    assert video(course, other) == ("draft", None, None)


def test_the_asset_counts_only_where_the_fact_names_no_upload(
    course: Course, service: Service
) -> None:
    """A row that tracks another upload is not settled by an asset id it happens to hold."""
    lesson = course.tracked_lesson("up2", mux_asset_id="as1")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["unmatched"]
    assert video(course, lesson) == ("draft", None, None)
    assert service.outcomes(fact(PUBLISH, None, "as1")) == ["published"]


def test_migrated_rows_are_matched_by_asset_always(course: Course, service: Service) -> None:
    """A row whose upload is unknown is settled by its asset, whether or not an upload is named."""
    lesson = course.tracked_lesson("migrated", mux_asset_id="as1")
    assert service.outcomes(fact(PUBLISH, "up9", "as1")) == ["published"]
    assert video(course, lesson) == ("published", "as1", "play-as1")


def test_migrated_is_never_matched_as_an_upload_id(course: Course, service: Service) -> None:
    """A thousand rows may carry that word: a fact that carries it is about none of them."""
    lessons = [course.tracked_lesson("migrated", mux_asset_id=f"as{n}") for n in range(3)]
    assert service.outcomes(fact(FAIL, "migrated")) == ["unmatched"]
    assert service.outcomes(fact(PUBLISH, "migrated", "as9")) == ["unmatched"]
    assert {course.row(lesson)["status"] for lesson in lessons} == {"processing"}


def test_a_temporary_id_is_never_an_asset_id(course: Course, service: Service) -> None:
    """A fact that names a temp_ value as asset is about no row."""
    course.tracked_lesson("up1", mux_asset_id="temp_up1")
    assert service.outcomes(fact(PUBLISH, None, "temp_up1")) == ["unmatched"]


@pytest.mark.parametrize("poison", ["", "a b", "../x", "x" * 256])
def test_what_cannot_be_an_id_is_the_id_of_nothing(
    course: Course, service: Service, poison: str
) -> None:
    """Neither as upload nor as asset, and neither for a claimed row nor for the others."""
    lessons = [
        course.tracked_lesson(poison),
        course.tracked_lesson("up1", mux_asset_id=poison),
        course.tracked_lesson("migrated", mux_asset_id=poison),
    ]
    claimed = [looked_at(course.row(lesson)) for lesson in lessons]
    for row in claimed:
        row |= {"id": str(row["id"]), "tracked_at": row["tracked_at"].isoformat()}
    for upload, asset in ((poison, None), (poison, "as1"), (None, poison)):
        assert service.outcomes(fact(PUBLISH, upload, asset)) == ["unmatched"]
        assert set(service.outcomes(fact(WAIT, upload, asset, claimed=claimed))) == {"unmatched"}
    assert {course.row(lesson)["check_count"] for lesson in lessons} == {0}


@pytest.mark.parametrize("status", ["processing", "error"])
def test_publish_settles_processing_and_error(
    course: Course, service: Service, status: str
) -> None:
    """A late truth beats an early despair, and clears what that left."""
    lesson = course.tracked_lesson("up1", status=status, error_message="gave up")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    row = course.row(lesson)
    assert (row["status"], row["error_type"], row["error_message"]) == ("ready", None, None)


@pytest.mark.parametrize("verdict", [FAIL, WAIT])
@pytest.mark.parametrize("status", ["ready", "error"])
def test_fail_and_wait_settle_only_processing(
    course: Course, service: Service, verdict: dict[str, str], status: str
) -> None:
    """What is settled is not failed and not made to wait."""
    lesson = course.tracked_lesson("up1", status=status)
    before = course.row(lesson)
    assert service.outcomes(fact(verdict, "up1", "as1")) == ["unchanged"]
    assert course.row(lesson) == before


def test_lessons_of_one_instructor_share_an_upload(course: Course, service: Service) -> None:
    """Each lesson of hers that tracks the upload is published."""
    lessons = [course.tracked_lesson("up1") for _ in range(3)]
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"] * 3
    assert {video(course, lesson) for lesson in lessons} == {("published", "as1", "play-as1")}


def test_the_rows_of_a_fact_are_settled_in_the_order_of_their_lessons(
    course: Course, service: Service
) -> None:
    """Whatever the order in which they were tracked: all who settle lock in the same order."""
    lessons = [course.lesson(id=UUID(int=n)) for n in (3, 1, 4, 2, 5)]
    for lesson in lessons:
        course.track(lesson, "up1")
    outcomes = service.settle(fact(PUBLISH, "up1", "as1"))
    assert [outcome["lesson_id"] for outcome in outcomes] == sorted(map(str, lessons))


def test_another_instructor_does_not_get_the_video(course: Course, service: Service) -> None:
    """Who tracked the upload first has it; the row of the other fails."""
    first = course.tracked_lesson("up1")
    thief = course.tracked_lesson("up1", course.bert)
    service.settle(fact(PUBLISH, "up1", "as1"))
    assert video(course, first) == ("published", "as1", "play-as1")
    assert video(course, thief) == ("draft", None, None)
    assert course.row(thief)["error_type"] == "lesson_mismatch"


def test_the_first_owner_outlives_her_row(course: Course, service: Service, db: object) -> None:
    """Deleting the lesson does not give its upload to somebody else."""
    first = course.tracked_lesson("up1")
    course.delete(first)
    thief = course.tracked_lesson("up1", course.bert)
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["failed"]
    assert course.row(thief)["error_type"] == "lesson_mismatch"


def test_a_migrated_row_of_another_does_not_get_the_asset(course: Course, service: Service) -> None:
    """The asset of an upload that Anna tracked is not Bert's, though his row names the asset."""
    course.tracked_lesson("up1")
    thief = course.tracked_lesson("migrated", course.bert, mux_asset_id="as1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    assert course.row(thief)["error_type"] == "lesson_mismatch"


def test_what_a_video_names_besides_is_no_obstacle(course: Course, service: Service) -> None:
    """Lessons that had nothing to do with the upload, and words that are no id."""
    other, berts = course.lesson(), course.lesson(course.bert)
    course.tracked_lesson("up1")
    lessons = [str(other), str(berts), str(berts).upper(), str(uuid4())]
    references = [*lessons, "chapter 1", "", "'; drop table lessons"]
    assert service.outcomes(fact(PUBLISH, "up1", "as1", lesson_references=references)) == [
        "published"
    ]


def test_a_fact_without_ids_is_about_the_claimed_row_alone(
    course: Course, service: Service
) -> None:
    """Where nothing could be asked, only the row that was claimed is failed."""
    bad, other = course.tracked_lesson("../x"), course.tracked_lesson("../x")
    row = next(r for r in service.claim() if r["lesson_id"] == str(bad))
    verdict = {"verdict": "fail", "reason": "invalid_id", "message": "no id"}
    assert service.outcomes(fact(verdict, None, claimed=[looked_at(row, verdict)])) == ["failed"]
    assert course.row(bad)["error_type"] == "invalid_id"
    assert course.row(other)["status"] == "processing"


def test_a_fact_without_ids_needs_the_row_as_it_was_claimed(
    course: Course, service: Service
) -> None:
    """A row that has been uploaded to again since the claim is not failed for its old id."""
    lesson = course.tracked_lesson("../x")
    (row,) = service.claim()
    course.track(lesson, "up2")
    verdict = {"verdict": "fail", "reason": "invalid_id"}
    assert service.outcomes(fact(verdict, None, claimed=[looked_at(row, verdict)])) == ["unmatched"]
    assert course.row(lesson)["status"] == "processing"


def test_a_claimed_verdict_falls_with_its_upload(course: Course, service: Service) -> None:
    """What was decided for a claimed row (grace, give-up) does not hold for a restarted one."""
    lesson = course.tracked_lesson("up1")
    (row,) = service.claim()
    service.settle(fact(FAIL, "up1"))
    course.track(lesson, "up1")
    gave_up = {"verdict": "fail", "reason": "gave_up"}
    item = fact(WAIT, "up1", claimed=[looked_at(row, gave_up)])
    assert service.outcomes(item) == ["waiting"]
    assert course.row(lesson)["status"] == "processing"


def test_a_fact_that_no_row_tracks_does_nothing(service: Service) -> None:
    """It is said to be unmatched, with the ids it was about."""
    assert service.settle(fact(PUBLISH, "up1", "as1")) == [
        {"outcome": "unmatched", "upload_id": "up1", "asset_id": "as1"}
    ]


def test_of_the_rows_of_one_upload_that_nobody_claimed_a_hundred_are_settled(
    course: Course, service: Service
) -> None:
    """Whoever tracks one upload for all her lessons stalls nobody; the rest has its turn later."""
    for _ in range(120):
        course.tracked_lesson("up1")
    assert Counter(service.outcomes(fact(PUBLISH, "up1", "as1"))) == {"published": 100}
    assert Counter(service.outcomes(fact(PUBLISH, "up1", "as1"))) == {
        "published": 20,
        "unchanged": 80,
    }


def test_of_the_rows_of_one_asset_that_nobody_claimed_a_hundred_are_settled(
    course: Course, service: Service
) -> None:
    """As for an upload."""
    for _ in range(120):
        course.tracked_lesson("migrated", mux_asset_id="as1")
    assert Counter(service.outcomes(fact(PUBLISH, "up1", "as1"))) == {"published": 100}


def test_claimed_rows_are_all_settled(course: Course, service: Service) -> None:
    """However many rows come before them; each once, by its own verdict."""
    lessons = sorted(course.tracked_lesson("up1") for _ in range(220))
    (claimed,) = (row for row in service.claim(220) if row["lesson_id"] == str(lessons[-1]))
    result = service.settle(fact(PUBLISH, "up1", "as1", claimed=[looked_at(claimed, FAIL)] * 2))
    ends = {outcome["lesson_id"]: outcome["outcome"] for outcome in result}
    assert (len(result), len(ends)) == (101, 101)
    assert ends == {
        **{str(lesson): "published" for lesson in lessons[:100]},
        str(lessons[-1]): "failed",
    }


def test_a_claimed_row_that_tracks_something_else_by_now_is_left_alone(
    course: Course, service: Service
) -> None:
    """The fact is about no row any more, and the row is due for its new upload as it was."""
    lesson = course.tracked_lesson("up1")
    (claimed,) = service.claim()
    course.track(lesson, "up2")
    before = course.row(lesson)
    result = service.settle(fact(PUBLISH, "up1", "as1", claimed=[looked_at(claimed, PUBLISH)]))
    assert result == [{"outcome": "unmatched", "upload_id": "up1", "asset_id": "as1"}]
    assert course.row(lesson) == before


@pytest.mark.parametrize("claimed", [[{}], [{"id": None}], [{"id": "x"}], ["x"], [1], [None]])
def test_a_claim_that_names_no_row_is_nothing(
    course: Course, service: Service, claimed: list[object]
) -> None:
    """The fact holds for its rows all the same."""
    course.tracked_lesson("up1")
    assert service.outcomes(fact(PUBLISH, "up1", "as1", claimed=claimed)) == ["published"]


def test_a_claimed_row_is_not_settled_by_a_fact_about_another_upload(
    course: Course, service: Service
) -> None:
    """Not even where it holds the same asset."""
    lesson = course.tracked_lesson("up2", mux_asset_id="as1")
    (claimed,) = service.claim()
    item = fact(PUBLISH, "up1", "as1", claimed=[looked_at(claimed, PUBLISH)])
    assert service.outcomes(item) == ["unmatched"]
    assert video(course, lesson) == ("draft", None, None)


def test_who_tracked_an_asset_first_has_it(course: Course, service: Service) -> None:
    """Also where no instructor has its upload, or only the other."""
    first = course.tracked_lesson("migrated", mux_asset_id="as1")
    thief = course.tracked_lesson("migrated", course.bert, mux_asset_id="as1")
    sniffer = course.tracked_lesson("up1", course.bert)
    service.settle(fact(PUBLISH, "up1", "as1"))
    assert video(course, first) == ("published", "as1", "play-as1")
    for lesson in (thief, sniffer):
        assert video(course, lesson) == ("draft", None, None)
        assert course.row(lesson)["error_type"] == "lesson_mismatch"


def test_of_two_who_track_an_upload_the_one_whose_lesson_the_video_names_has_it(
    course: Course, service: Service
) -> None:
    """The first to track another instructor's upload does not get it for that."""
    sniffer, named = course.tracked_lesson("up1", course.bert), course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1", lesson_references=[str(named)]))
    assert video(course, sniffer) == ("draft", None, None)
    assert course.row(sniffer)["error_type"] == "lesson_mismatch"


def test_a_look_that_ends_after_its_row_failed_changes_nothing(
    course: Course, service: Service
) -> None:
    """An event was faster; the late look neither lets the row wait nor fails it once more."""
    lesson = course.tracked_lesson("up1")
    (claimed,) = service.claim()
    service.settle(fact(FAIL, "up1", "as1"))
    before, events = course.row(lesson), course.events(lesson)
    for verdict in (WAIT, FAIL):
        item = fact(verdict, "up1", "as1", claimed=[looked_at(claimed, verdict)])
        assert service.outcomes(item) == ["unchanged"]
    assert (course.row(lesson), course.events(lesson)) == (before, events)
