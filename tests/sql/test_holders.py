"""Whose a video is that no instructor has tracked: lessons of several may hold its id."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.sql.installing import SQL, apply_all
from tests.sql.service import PUBLISH, Json, Service, fact

pytestmark = pytest.mark.stack

HOLDINGS: tuple[Json, ...] = (
    {"mux_asset_id": "id1"},
    {"mux_asset_id": "temp_id1"},
    {"mux_asset_id": "temp_playback_id1"},
    {"mux_playback_id": "temp_playback_id1"},
)
"""The ways in which a lesson names an id."""


def adopt(service: Service, *lessons: UUID, **item: object) -> list[str]:
    """Adopt lessons in one call, and return the outcomes' names."""
    items = [{"lesson_id": str(lesson), **item} for lesson in lessons]
    row = service.connection.execute("select worker_adopt(%s)", [Jsonb(items)]).fetchone()
    assert row is not None
    return [answer["outcome"] for answer in row[0]]


def holders(connection: psycopg.Connection, *ids: str) -> dict[str, list[str | None]]:
    """Return the owners of the lessons that hold ids which the history gives to no one."""
    row = connection.execute("select mux_private.holders(%s)", [list(ids)]).fetchone()
    assert row is not None
    result: dict[str, list[str | None]] = row[0]
    return result


@pytest.mark.parametrize("held", HOLDINGS, ids=str)
@pytest.mark.parametrize("copied", HOLDINGS, ids=str)
def test_of_several_instructors_none_has_it(
    course: Course, service: Service, held: Json, copied: Json
) -> None:
    """However each lesson holds the id, and whichever comes first."""
    victim, copy = course.lesson(course.anna, **held), course.lesson(course.bert, **copied)
    assert adopt(service, copy, victim) == ["disputed", "disputed"]
    assert adopt(service, victim, by_hand=True) == ["disputed"]
    course.delete(copy)
    assert adopt(service, victim) == ["adopted"]


def test_a_placeholder_that_no_app_writes_gives_its_copier_nothing(
    course: Course, service: Service
) -> None:
    """It names the id all the same, and the lesson from which it was copied is not held up."""
    victim = course.lesson(course.anna, mux_asset_id="temp_id1")
    copy = course.lesson(course.bert, mux_asset_id="temp_temp_playback_id1")
    assert adopt(service, copy, victim) == ["disputed", "adopted"]


@pytest.mark.parametrize("since", ["-infinity", "infinity", "2020-01-01"])
def test_between_instructors_no_age_decides(
    db: psycopg.Connection, course: Course, service: Service, since: str
) -> None:
    """An instructor can write when a lesson was made, and can read placeholders."""
    lessons = [
        course.lesson(creator, mux_asset_id="temp_up1", mux_playback_id="temp_playback_up1")
        for creator in (course.anna, course.bert)
    ]
    db.execute("update lessons set created_at = %s where creator_id = %s", [since, course.bert])
    assert adopt(service, *lessons) == ["disputed", "disputed"]


def test_lessons_of_one_instructor_share_an_id(course: Course, service: Service) -> None:
    """Each of them is adopted, however it holds the id."""
    lessons = [course.lesson(**held) for held in HOLDINGS]
    assert adopt(service, *lessons) == ["adopted"] * len(HOLDINGS)


def test_lessons_without_an_owner_share_an_id_with_no_instructor(
    db: psycopg.Connection, course: Course, service: Service
) -> None:
    """A lesson that belongs to no instructor is not Anna's."""
    with db.transaction(force_rollback=True):
        db.execute("alter table lessons alter creator_id drop not null")
        lessons = [course.lesson(mux_asset_id="temp_up1") for _ in range(2)]
        db.execute("update lessons set creator_id = null where true")
        worker = Service(db)
        assert holders(db, "up1") == {"up1": [None]}
        hers = course.lesson(mux_asset_id="temp_up1")
        assert adopt(worker, *lessons, hers) == ["disputed"] * 3
        course.delete(hers)
        assert adopt(worker, *lessons) == ["adopted"] * 2


@pytest.mark.parametrize("by", ["upload", "asset"])
def test_who_tracked_it_first_has_it(course: Course, service: Service, by: str) -> None:
    """While a lesson of hers holds it, and after all of them are deleted."""
    copy = course.lesson(course.anna, mux_asset_id="temp_id1")
    hers = [course.lesson(course.bert, mux_asset_id="temp_id1") for _ in range(2)]
    track = {"upload_id": "id1"} if by == "upload" else {"upload_id": "migrated"}
    course.track(hers[1], **track, mux_asset_id="id1" if by == "asset" else None)
    assert adopt(service, copy, hers[0]) == ["disputed", "adopted"]
    for lesson in hers:
        course.delete(lesson)
    assert adopt(service, copy) == ["disputed"]
    assert adopt(service, course.lesson(course.bert, mux_asset_id="temp_id1")) == ["adopted"]


def test_who_is_adopted_first_has_it(course: Course, service: Service) -> None:
    """A copy that is made later does not count."""
    first = course.lesson(course.anna, mux_asset_id="temp_up1")
    assert adopt(service, first) == ["adopted"]
    assert adopt(service, course.lesson(course.bert, mux_asset_id="temp_up1")) == ["disputed"]
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]


def test_an_id_that_another_contains_is_another(course: Course, service: Service) -> None:
    """Nor does a lesson name what it only plays as."""
    lessons = [
        course.lesson(mux_asset_id="temp_up1", mux_playback_id="temp_playback_up1"),
        course.lesson(course.bert, mux_asset_id="temp_up12"),
        course.lesson(course.bert, mux_asset_id="up3", mux_playback_id="up1"),
    ]
    assert adopt(service, *lessons, takes_drafts=True) == ["adopted"] * 3


@pytest.mark.parametrize("copied", ["temp_up_1", "temp_up-1", "up_1"])
def test_an_id_is_compared_as_a_placeholder_writes_it(
    course: Course, service: Service, copied: str
) -> None:
    """A character that placeholders do not have is no difference."""
    lessons = [
        course.lesson(mux_asset_id="temp_up_1"),
        course.lesson(course.bert, mux_asset_id=copied),
    ]
    assert adopt(service, *lessons) == ["disputed", "disputed"]


def test_a_row_with_a_placeholder_names_an_id(course: Course, service: Service) -> None:
    """It is compared with what lessons hold, though its own lesson holds nothing."""
    lesson = course.lesson(course.bert)
    course.track(lesson, "temp_up1")
    holder = course.lesson(mux_asset_id="temp_up1")
    assert adopt(service, lesson) == ["disputed"]
    course.delete(holder)
    assert adopt(service, lesson) == ["adopted"]
    assert course.row(lesson)["upload_id"] == "up1"


@pytest.mark.parametrize("held", ["temp_up1", "as1"])
def test_an_asset_that_names_a_lesson_is_not_given_to_it_where_another_instructor_holds_it(
    course: Course, service: Service, held: str
) -> None:
    """The operator trusts the reference, and another's lesson contradicts it."""
    lesson, other = course.lesson(course.bert), course.lesson(course.anna, mux_asset_id=held)
    trusted = {"is_trusted": True, "upload_id": "up1", "asset_id": "as1"}
    assert adopt(service, lesson, **trusted) == ["disputed"]
    course.delete(other)
    assert adopt(service, lesson, **trusted) == ["adopted"]


def test_the_ids_are_constants_of_the_plan(supabase: LocalSupabase) -> None:
    """Then they are hashed: read through for each lesson, they would take seconds a call."""
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
        holders(admin, "up1")
    (plan,) = (text for text in plans if "on lessons l" in text)
    assert "ANY ('{temp_playback_up1,temp_up1,up1}'" in plan
    assert "ANY ($" not in plan


@pytest.fixture
def large(supabase: LocalSupabase, database: str) -> Iterator[psycopg.Connection]:
    """Yield a database in which lessons take more than 4 MB, two of them with the same id."""
    with psycopg.connect(database, autocommit=True) as db:
        course = Course(db, anna=ANNA, bert=BERT)
        db.execute(
            "insert into lessons (creator_id, title) "
            "select gen_random_uuid(), repeat('x', 1000) from generate_series(1, 5000)"
        )
        for creator in (ANNA, BERT):
            course.lesson(creator, mux_asset_id="temp_old")
        apply_all(database)
        yield db


def test_in_a_large_table_only_what_was_disputed_at_install_counts(
    large: psycopg.Connection,
) -> None:
    """Without the indexes, lessons are not searched; who is adopted first has the id."""
    course, service = Course(large, anna=ANNA, bert=BERT), Service(large)
    late = [course.lesson(creator, mux_asset_id="temp_late") for creator in (ANNA, BERT)]
    assert holders(large, "old", "late") == {"old": ["several", "instructors"]}
    ids = large.execute("select id from lessons where mux_asset_id = 'temp_old'").fetchall()
    assert adopt(service, *(id_ for (id_,) in ids)) == ["disputed", "disputed"]
    assert adopt(service, *late) == ["adopted", "disputed"]


def test_in_a_large_table_with_the_indexes_all_count(large: psycopg.Connection) -> None:
    """They are searched by index, and what was disputed at install may be so no longer."""
    course, service = Course(large, anna=ANNA, bert=BERT), Service(large)
    script = (SQL / "optional" / "lesson_indexes.sql").read_text()
    for statement in script.replace(" concurrently", "").split(";\n"):
        large.execute(statement.encode())
    late = [course.lesson(creator, mux_asset_id="temp_late") for creator in (ANNA, BERT)]
    assert holders(large, "old", "late") == {
        id_: sorted(map(str, (ANNA, BERT))) for id_ in ("old", "late")
    }
    assert adopt(service, *late) == ["disputed", "disputed"]
    large.execute("delete from lessons where creator_id = %s", [BERT])
    (old,) = large.execute("select id from lessons where mux_asset_id = 'temp_old'").fetchone() or (
        UUID(int=0),
    )
    assert adopt(service, late[0], old) == ["adopted", "adopted"]


@pytest.mark.parametrize(
    ("held", "copies", "outcome"),
    [(None, 1, "failed"), ("temp_up1", 1, "published"), ("temp_up1", 1500, "published")],
)
def test_more_copies_of_a_placeholder_than_are_read_take_no_upload_from_its_instructor(
    large: psycopg.Connection, held: str | None, copies: int, outcome: str
) -> None:
    """A thousand are read, which may be copies alone: then who tracks it first has it."""
    course, service = Course(large, anna=ANNA, bert=BERT), Service(large)
    script = (SQL / "optional" / "lesson_indexes.sql").read_text()
    for statement in script.replace(" concurrently", "").split(";\n"):
        large.execute(statement.encode())
    large.execute(
        "insert into lessons (creator_id, title, mux_asset_id) "
        "select %s, 'copy', 'temp_up1' from generate_series(1, %s)",
        [BERT, copies],
    )
    lesson = course.lesson(ANNA, mux_asset_id=held)
    course.track(lesson, "up1")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == [outcome]


@pytest.mark.parametrize(("copied", "outcome"), [(None, "failed"), ("temp_up1", "published")])
def test_with_the_indexes_a_placeholder_keeps_its_upload_until_it_is_copied_and_tracked(
    large: psycopg.Connection, copied: str | None, outcome: str
) -> None:
    """Of several that hold it, who tracks it first has it: the app is to track before it writes."""
    course, service = Course(large, anna=ANNA, bert=BERT), Service(large)
    script = (SQL / "optional" / "lesson_indexes.sql").read_text()
    for statement in script.replace(" concurrently", "").split(";\n"):
        large.execute(statement.encode())
    course.lesson(ANNA, mux_asset_id="temp_up1")
    course.track(course.lesson(BERT, mux_asset_id=copied), "up1")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == [outcome]


def test_a_partitioned_table_is_as_large_as_its_partitions(database: str) -> None:
    """Of the parts the sizes are added; the parent has none."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("drop table lessons, notifications cascade; drop function notify_students()")
        db.execute(
            "create table lessons (id uuid primary key default gen_random_uuid(), "
            "creator_id uuid not null, title text, status text not null default 'draft', "
            "mux_asset_id text, mux_playback_id text, updated_at timestamptz default now()) "
            "partition by hash (id)"
        )
        for n in range(2):
            db.execute(
                f"create table lessons_{n} partition of lessons "
                f"for values with (modulus 2, remainder {n})".encode()
            )
        apply_all(database)
        query = "select mux_private.lessons_are_searchable()"
        assert db.execute(query.encode()).fetchone() == (True,)
        db.execute(
            "insert into lessons (creator_id, title) "
            "select gen_random_uuid(), repeat('x', 1000) from generate_series(1, 5000)"
        )
        assert db.execute(query.encode()).fetchone() == (False,)
