import sys
from pathlib import Path

import pytest

from worker.cli.main import main
from worker.sql_files import sql_files


def call(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main(["sql", *arguments])
    captured = capfd.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_it_prints_the_files_as_one_script(capfd: pytest.CaptureFixture[str]) -> None:
    """Without options, exactly those of sql/."""
    script = "".join(file.read_text("utf-8") for file in sql_files())
    assert call(capfd) == (0, script, "")


def test_it_prints_them_for_another_table(capfd: pytest.CaptureFixture[str]) -> None:
    """The table's names are in the script."""
    code, script, _ = call(capfd, "--lessons", "app.Lesson", "--status", "none")
    assert code == 0
    assert 'from app."Lesson" l' in script


def test_it_prints_an_optional_file(capfd: pytest.CaptureFixture[str]) -> None:
    """For the same table."""
    code, script, _ = call(capfd, "--optional", "lesson_indexes", "--lessons", "app.Lesson")
    assert code == 0
    assert 'create index concurrently if not exists idx_lessons_temporary_ids on app."Les' in script


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lessons", "lessons"], "--lessons: lessons is no SCHEMA.TABLE. Give both names, "),
        (["--status", "none", "--draft", "x"], "--draft has no meaning with --status none. "),
        (["--inspect", "--write", "x"], "--write and --inspect do not go together"),
        (["--inspect"], "--inspect needs DATABASE_URL, the address of the database.\n"),
        (
            ["--optional", "x"],
            (
                "--optional: there is no x. Give one of lesson_indexes, realtime, "
                "tracking_indexes, worker_role.\n"
            ),
        ),
        (["--unknown"], "There is no option --unknown."),
    ],
)
def test_wrong_use_is_told_with_exit_code_2(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """Nothing is printed to standard output."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    code, out, err = call(capfd, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_without_psycopg_it_says_what_to_install(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker itself does without it."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere")
    monkeypatch.delitem(sys.modules, "worker.adapter.catalog", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    code, out, err = call(capfd, "--inspect")
    assert (code, out) == (2, "")
    assert err == (
        '--inspect needs psycopg, which is not installed. Run: pip install "mux-worker[inspect]"\n'
    )


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("hunter2", 2, "DATABASE_URL is no address of a database. Set it to one such as "),
        ("postgresql://me:hunter2@localhost:1/x", 1, "The database cannot be reached: connection "),
    ],
)
def test_a_database_that_cannot_be_reached_is_told_without_its_password(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    code: int,
    message: str,
) -> None:
    """In one line."""
    monkeypatch.setenv("DATABASE_URL", url)
    ended, out, err = call(capfd, "--inspect")
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert err.startswith(message)
    assert "hunter2" not in err


def test_it_writes_migrations(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The new files are listed; the second time there are none."""
    code, out, _ = call(capfd, "--write", str(tmp_path))
    files = sorted(tmp_path.iterdir())
    assert (code, out.split()) == (0, [str(file) for file in files])
    assert "".join(file.read_text("utf-8") for file in files) == call(capfd)[1]
    assert call(capfd, "--write", str(tmp_path)) == (0, "", f"Nothing has changed in {tmp_path}.\n")


def test_a_directory_that_is_not_there_fails(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """That is no wrong use: it may be there tomorrow."""
    missing = tmp_path / "migrations"
    assert call(capfd, "--write", str(missing)) == (
        *(1, ""),
        f"There is no directory {missing}. Create it, then try again.\n",
    )
