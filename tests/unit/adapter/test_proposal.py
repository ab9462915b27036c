from collections.abc import Mapping, Sequence

import pytest

from worker.adapter.app_table import AppTable, Column
from worker.adapter.options import Options, Table
from worker.adapter.proposal import propose
from worker.errors import UsageError, WorkerError

LESSONS, COURSES, PROFILES = (Table("public", name) for name in ("lessons", "courses", "profiles"))
MUX = (Column("mux_asset_id", "text"), Column("mux_playback_id", "text"))
ID = Column("id", "uuid", is_nullable=False)


def table(
    *columns: Column,
    name: Table = LESSONS,
    key: str | None = "id",
    references: Mapping[str, Table] | None = None,
) -> AppTable:
    """Return a table with a key."""
    return AppTable(name, (ID, *columns), key, references or {})


def arguments(*tables: AppTable, seen: Sequence[str | None] = (), **given: str) -> dict[str, str]:
    """Return the arguments that are proposed, by option."""
    options = propose(tables, lambda _table, _column: seen, given).options
    texts, defaults = options.texts(), Options().texts()
    return {name: text for name, text in texts.items() if text != defaults[name]}


def status_of(
    column: Column, seen: Sequence[str | None] = ()
) -> tuple[str | None, str | None, str | None]:
    """Return what is proposed for a table with this column: status, draft and published."""
    lessons = table(*MUX, column)
    options = propose([lessons], lambda _table, _column: seen, {}).options
    return options.status, options.draft, options.published


@pytest.mark.parametrize(
    ("column", "seen", "draft", "published"),
    [
        (Column("status", "text"), [], None, "published"),
        (Column("status", "text", default="draft"), [], "draft", "published"),
        (Column("status", "text", default="Draft"), [], "Draft", "Published"),
        (Column("status", "text", default="DRAFT"), ["DRAFT"], "DRAFT", "PUBLISHED"),
        (Column("status", "text", is_nullable=False), ["live", "hidden"], "hidden", "live"),
        (Column("status", "text", is_nullable=False), ["LIVE"], "DRAFT", "LIVE"),
        (Column("status", "enum", ("new", "public"), default="new"), [], "new", "public"),
        (Column("status", "text", ("published", "archived")), [], None, "published"),
        (Column("state", "enum", ("DRAFT", "LIVE")), [], "DRAFT", "LIVE"),
        (Column("published", "boolean", default="false"), [], "false", "true"),
        (Column("isPublished", "boolean", is_nullable=False), [], "false", "true"),
        (Column("is_published", "boolean"), [None, "true"], None, "true"),
        (Column("is_published", "boolean"), [None, "false"], "false", "true"),
        (Column("is_draft", "boolean", default="true"), [], "true", "false"),
    ],
)
def test_the_words_are_found(
    column: Column, seen: list[str | None], draft: str | None, published: str | None
) -> None:
    """In an enum, a check, the default, and else in the rows."""
    assert status_of(column, seen) == (column.name, draft, published)


@pytest.mark.parametrize(
    "column",
    [
        Column("status", "timestamp with time zone"),
        Column("status", "text", is_generated=True),
        Column("status", "enum", ("queued", "encoded")),
        Column("status", "text", default="active", is_nullable=False),
        Column("published_at", "timestamp with time zone"),
        Column("progress", "text"),
    ],
)
def test_what_says_nothing_of_publishing_is_no_status(column: Column) -> None:
    """Then ids are written, and nothing is published."""
    assert status_of(column) == (None, None, None)


def test_the_owner_is_looked_for_in_the_nearest_table() -> None:
    """A column of the lesson comes before one of its parents."""
    course = table(Column("owner_id", "uuid"), name=COURSES)
    lesson = table(*MUX, Column("course_id", "uuid"), references={"course_id": COURSES})
    assert arguments(lesson, course)["owner"] == "course_id:public.courses.owner_id"
    own = table(*MUX, Column("user_id", "uuid"), references={"course_id": COURSES})
    assert arguments(own, course)["owner"] == "user_id"


def test_parents_that_refer_to_each_other_are_searched_once() -> None:
    """No owner is found, and the search ends."""
    course = table(name=COURSES, references={"first_lesson": LESSONS, "parent_id": COURSES})
    lesson = table(*MUX, references={"course_id": COURSES, "next_id": LESSONS})
    assert arguments(lesson, course)["owner"] == "none"


@pytest.mark.parametrize(
    ("profile", "owner"),
    [
        (
            table(Column("user_id", "uuid"), name=PROFILES),
            "instructor_id:public.profiles.user_id",
        ),
        (
            table(
                Column("user_id", "uuid"),
                name=PROFILES,
                references={"id": Table("auth", "users")},
            ),
            "instructor_id",
        ),
        (table(name=PROFILES), "instructor_id"),
    ],
    ids=["a profile with another key", "a profile with the user's id", "no column of a user"],
)
def test_a_profile_is_followed_to_its_user(profile: AppTable, owner: str) -> None:
    """If the profile's own key is not the user's id."""
    lesson = table(*MUX, Column("instructor_id", "uuid"), references={"instructor_id": PROFILES})
    assert arguments(lesson, profile)["owner"] == owner


def test_of_several_tables_the_one_that_is_called_lessons_is_taken() -> None:
    """And where that does not tell, one has to be named."""
    videos = table(*MUX, name=Table("public", "videos"))
    intros = table(*MUX, name=Table("public", "intros"))
    trailers = table(*MUX, name=Table("public", "trailers"))
    assert "lessons" not in arguments(videos, table(*MUX))
    assert arguments(videos, intros)["lessons"] == "public.videos"
    with pytest.raises(
        WorkerError, match=r"may be the lessons: public\.intros, public\.trailers\."
    ):
        arguments(intros, trailers)
    assert arguments(intros, trailers, lessons="public.intros")["lessons"] == "public.intros"


def test_what_is_given_is_taken_as_it_is() -> None:
    """The rest is proposed: the words for a given column, too."""
    lesson = table(
        Column("video", "text"),
        Column("play", "text"),
        Column("draft_state", "enum", ("Draft", "Live")),
        Column("status", "text"),
    )
    given = {"lessons": "public.lessons", "asset": "video", "playback": "play"}
    assert arguments(lesson, **given, status="draft_state") == {
        "owner": "none",
        "status": "draft_state",
        "draft": "Draft",
        "published": "Live",
        "asset": "video",
        "playback": "play",
        "updated": "none",
        "title": "none",
    }


@pytest.mark.parametrize(
    ("tables", "given", "message"),
    [
        ([], {}, "No table has both a column for a Mux asset id and one for a playback id."),
        ([table(*MUX)], {"lessons": "app.lessons"}, "There is no table app.lessons."),
        ([table(*MUX, key=None)], {}, "public.lessons has no primary key of one column."),
        (
            [AppTable(LESSONS, (Column("id", "numeric"), *MUX), "id")],
            {},
            "The key id of public.lessons is numeric. Only a key that is uuid, bigint, integer or",
        ),
        (
            [table(MUX[0])],
            {"lessons": "public.lessons"},
            "has no column that looks like the one for the Mux playback id. Name it with --playb",
        ),
    ],
)
def test_where_nothing_fits_it_says_what_to_do(
    tables: list[AppTable], given: dict[str, str], message: str
) -> None:
    """One sentence says what is missing, one what to do."""
    with pytest.raises(WorkerError) as refused:
        arguments(*tables, **given)
    assert message in str(refused.value)


def test_a_wrong_option_is_refused_here_too() -> None:
    """As without --inspect."""
    with pytest.raises(UsageError, match="--title needs a name"):
        arguments(table(*MUX), title="")
