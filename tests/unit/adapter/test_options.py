from typing import Any

import pytest

from worker.adapter.options import Hop, Options, Owner, Table
from worker.errors import UsageError


def test_without_options_it_is_the_readmes_table() -> None:
    """The defaults are parsed from nothing, and need no arguments."""
    assert Options.parse({}) == Options()
    assert Options().arguments() == []


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"lessons": "app.Lesson"}, {"lessons": Table("app", "Lesson")}),
        ({"key": "lessonId"}, {"key": "lessonId"}),
        ({"key": "id:bigint"}, {"key_type": "bigint"}),
        ({"owner": "user id"}, {"owner": Owner("user id")}),
        ({"owner": "none"}, {"owner": None}),
        (
            {"owner": "module_id:public.modules.course_id:app.Course.ownerId"},
            {
                "owner": Owner(
                    "module_id",
                    (
                        Hop(Table("public", "modules"), "course_id"),
                        Hop(Table("app", "Course"), "ownerId"),
                    ),
                )
            },
        ),
        (
            {"status": "is_published", "draft": "false", "published": "true"},
            {"status": "is_published", "draft": "false", "published": "true"},
        ),
        ({"draft": "null"}, {"draft": None}),
        ({"status": "none"}, {"status": None, "draft": None, "published": None}),
        ({"updated": "none", "title": "none"}, {"updated": None, "title": None}),
        ({"asset": "muxAssetId", "playback": "p"}, {"asset": "muxAssetId", "playback": "p"}),
    ],
)
def test_options_are_parsed_and_written_back(given: dict[str, str], fields: dict[str, Any]) -> None:
    """Names are taken as they are; the arguments say the same again."""
    options = Options.parse(given)
    assert options == Options(**fields)
    arguments = options.arguments()
    assert arguments == [part for name, text in given.items() for part in (f"--{name}", text)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lessons": "lessons"}, "--lessons: lessons is no SCHEMA.TABLE. Give both names, such as"),
        ({"lessons": "a.b.c"}, "--lessons: a.b.c is no SCHEMA.TABLE."),
        ({"lessons": ".b"}, "--lessons needs a name."),
        ({"key": "id:serial"}, "--key: serial is no type of a key. Say one of uuid, bigint, int"),
        ({"key": "id:"}, "--key: nothing is no type of a key."),
        ({"owner": ""}, "--owner needs a name."),
        ({"owner": "course_id:courses.owner"}, "--owner: courses.owner is no SCHEMA.TABLE.COLUMN."),
        ({"owner": "course_id:"}, "--owner: nothing is no SCHEMA.TABLE.COLUMN."),
        ({"status": "null"}, "--status: null is no name of a column. Give the column's name alone"),
        ({"asset": "l.asset"}, "--asset: l.asset is no name of a column."),
        ({"asset": "a" * 64}, "longer than Postgres allows. A name has at most 63 bytes."),
        ({"title": "x\n"}, r"--title: 'x\n' has a character that cannot be in the SQL."),
        ({"draft": "$$"}, "--draft: '$$' has a character that cannot be in the SQL."),
        ({"draft": ""}, "--draft needs a word, such as draft."),
        ({"published": "x" * 101}, "--published: a word has at most 100 characters."),
        ({"draft": "published"}, "--draft and --published are both published."),
        ({"draft": "null", "published": "null"}, "--draft and --published are both null."),
        ({"status": "none", "draft": "new"}, "--draft has no meaning with --status none."),
        ({"playback": "mux_asset_id"}, "--asset and --playback both name the column mux_asset_id."),
        ({"status": "id"}, "--key and --status both name the column id."),
    ],
)
def test_a_wrong_option_is_named_with_what_to_do(given: dict[str, str], message: str) -> None:
    """What was given, what is wrong with it, and what would be right."""
    with pytest.raises(UsageError) as refused:
        Options.parse(given)
    assert message in str(refused.value)
    assert str(refused.value).endswith(".")
