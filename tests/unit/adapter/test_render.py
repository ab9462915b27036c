import re

import pytest

from worker.adapter.options import Options, Table
from worker.adapter.quoting import quote_name, quote_table, quote_word
from worker.adapter.render import is_adapter, optional_script, render, scripts
from worker.sql_files import optional_files, sql_files

ADAPTER = [file.stem for file in sql_files() if is_adapter(file)]
ELSEWHERE = Options.parse(
    {
        "lessons": "app.Lesson",
        "key": "lessonId:text",
        "owner": "courseId:app.Course.ownerId",
        "status": "state",
        "draft": "null",
        "published": "LIVE",
        "asset": "muxAssetId",
        "playback": "muxPlaybackId",
        "updated": "updatedAt",
        "title": "none",
    }
)


def test_without_options_it_prints_the_files_of_sql() -> None:
    """The adapter in sql/ is exactly what the template gives; the others are as they are."""
    assert scripts(Options()) == {file.stem: file.read_text("utf-8") for file in sql_files()}


def test_without_options_it_prints_the_optional_files() -> None:
    """Indexes and role are rendered for the table, too; the other files name nothing of it."""
    files = optional_files()
    assert {name: optional_script(Options(), file) for name, file in files.items()} == {
        name: file.read_text("utf-8") for name, file in files.items()
    }
    script = optional_script(ELSEWHERE, files["lesson_indexes"])
    assert 'idx_lessons_temporary_ids on app."Lesson" ("lessonId")' in script
    assert "left(\"muxAssetId\", 5) = 'temp_'" in script
    script = optional_script(ELSEWHERE, files["worker_role"])
    assert "grant usage on schema app to mux_worker;" in script
    assert 'grant select ("lessonId", "courseId", state, "muxAssetId", "muxPlaybackId"' in script
    assert "for update to mux_worker using (true) with check (true);" in script
    assert "--title none --optional worker_role\n" in script


def test_the_adapter_alone_is_rendered() -> None:
    """With other options all other files stay the same."""
    before, after = scripts(Options()), scripts(ELSEWHERE)
    assert [name for name in before if before[name] != after[name]] == ADAPTER


@pytest.mark.parametrize(
    "options",
    [ELSEWHERE, Options.parse({"status": "none", "owner": "none", "updated": "none"})],
    ids=["other names", "few columns"],
)
@pytest.mark.parametrize("file", ADAPTER)
def test_no_name_of_the_default_table_is_left(file: str, options: Options) -> None:
    """What the options rename or leave out is nowhere in the rendered files."""
    script = "\n".join(
        line for line in render(options, file).splitlines() if not line.startswith("--")
    )
    defaults, texts = Options().texts(), options.texts()
    changed = {text for name, text in defaults.items() if texts[name] != text} - {"draft"}
    for name in changed - {"id", "status", "title", "published"}:
        assert not re.search(rf"\b{re.escape(name)}\b", script), name
    assert not re.search(r"\bl\.(id|status|title)\b", script) or "id" not in changed
    assert "{{" not in script
    assert "None" not in script


@pytest.mark.parametrize("file", ADAPTER)
def test_it_says_how_it_was_printed(file: str) -> None:
    """The command line is in its header, to be run again."""
    lines = render(ELSEWHERE, file).splitlines()
    assert (
        "--   Printed by: mux-worker sql --lessons app.Lesson --key lessonId:text "
        "--owner courseId:app.Course.ownerId --status state --draft null --published LIVE "
        "--asset muxAssetId --playback muxPlaybackId --updated updatedAt --title none"
    ) in lines
    assert f"-- Undo: down/{file}.sql" in lines


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("lessons", "lessons"),
        ("_a1", "_a1"),
        ("1a", '"1a"'),
        ("Lesson", '"Lesson"'),
        ("my lessons", '"my lessons"'),
        ("order", '"order"'),
        ('a"b', '"a""b"'),
        ("leçon", '"leçon"'),
    ],
)
def test_a_name_is_quoted_where_it_must_be(name: str, quoted: str) -> None:
    """Names that SQL would fold, misread or reserve."""
    assert quote_name(name) == quoted
    assert quote_table(Table("public", name)) == f"public.{quoted}"


@pytest.mark.parametrize(
    ("word", "quoted"),
    [(None, "null"), ("draft", "'draft'"), ("it's", "'it''s'"), ("a\\'b", "e'a\\\\''b'")],
)
def test_a_word_is_a_literal(word: str | None, quoted: str) -> None:
    """Also with quotes, and with backslashes whatever the server's settings are."""
    assert quote_word(word) == quoted
