import pytest

from worker.errors import UsageError
from worker.web.dashboard.lesson_filter import LessonFilter


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({}, "/lessons"),
        ({"state": "all"}, "/lessons"),
        ({"state": "stuck"}, "/lessons?state=stuck"),
        ({"search": " a  b&c\u202e "}, "/lessons?search=a+b%26c"),
        (
            {"state": "failed", "error_type": "gave_up", "after": "1/x"},
            "/lessons?state=failed&error_type=gave_up&after=1%2Fx",
        ),
        ({"after": "1\0"}, "/lessons?after=1"),
        ({"utm": "x"}, "/lessons"),
    ],
    ids=str,
)
def test_a_list_has_one_address(query: dict[str, str], path: str) -> None:
    """Which leads to the same list again."""
    assert LessonFilter.from_query(query).path() == path


def test_a_changed_list_begins_where_it_is_told() -> None:
    """The first page keeps the filter; another state keeps the search."""
    chosen = LessonFilter("failed", "dough", "gave_up", "1/x")
    assert chosen.first_page == "/lessons?state=failed&search=dough&error_type=gave_up"
    stuck = chosen.path(state="stuck", error_type="", after="")
    assert stuck == "/lessons?state=stuck&search=dough"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            {"state": "gone\u202e"},
            (
                "There is no state gone. Choose one of unplayable, failed, stuck, waiting, "
                "published, all."
            ),
        ),
        ({"search": "x" * 301}, "search is longer than 300 characters. Shorten it."),
        (
            {"error_type": "gave_up"},
            "Only failed lessons have an error type. Choose the state failed.",
        ),
    ],
    ids=["state", "search", "error_type"],
)
def test_a_wrong_list_is_refused_in_a_sentence(query: dict[str, str], said: str) -> None:
    """It says what is right."""
    with pytest.raises(UsageError) as refused:
        LessonFilter.from_query(query)
    assert str(refused.value) == said
