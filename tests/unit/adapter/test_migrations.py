from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.adapter.migrations import write
from worker.errors import WorkerError

NOW = datetime(2026, 3, 4, 5, 6, 58, tzinfo=UTC)
SCRIPTS = {"010_preconditions": "1", "022_lessons_read": "2", "910_snapshot": "9"}
DEPENDENT = {
    "020_lessons_check": "2",
    "022_lessons_read": "3",
    "040_access": "4",
    "060_claim": "6",
    "900_grants": "9",
}


def names(directory: Path) -> list[str]:
    """Return the names of the files, sorted."""
    return sorted(file.name for file in directory.iterdir())


def test_each_script_is_a_migration(tmp_path: Path) -> None:
    """A second after the other, in order, without their numbers."""
    written = write(SCRIPTS, tmp_path, NOW)
    assert [file.name for file in written] == [
        "20260304050658_mux_preconditions.sql",
        "20260304050659_mux_lessons_read.sql",
        "20260304050700_mux_snapshot.sql",
    ]
    assert [file.read_text() for file in written] == ["1", "2", "9"]
    assert names(tmp_path) == [file.name for file in written]


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    """Whatever the time, and whatever else is in the directory."""
    write(SCRIPTS, tmp_path, NOW)
    assert write(SCRIPTS, tmp_path, NOW.replace(year=2027)) == []


def test_what_changed_comes_after_all_that_is_there(tmp_path: Path) -> None:
    """Also if the clock is behind; the snapshot records it, and comes last."""
    write(SCRIPTS, tmp_path, NOW)
    (tmp_path / "20270101000000_of_the_app.sql").touch()
    (tmp_path / "20269999999999_numbered_otherwise.sql").touch()
    written = write({**SCRIPTS, "022_lessons_read": "3"}, tmp_path, NOW)
    assert [file.name for file in written] == [
        "20270101000001_mux_lessons_read.sql",
        "20270101000002_mux_snapshot.sql",
    ]
    assert write({**SCRIPTS, "022_lessons_read": "3"}, tmp_path, NOW) == []
    (back, _) = write(SCRIPTS, tmp_path, NOW)
    assert back.name == "20270101000003_mux_lessons_read.sql"


@pytest.mark.parametrize(
    ("script", "written"),
    [
        ("020_lessons_check", ["lessons_check", "access", "grants"]),
        ("022_lessons_read", ["lessons_read", "grants"]),
        ("060_claim", ["claim", "grants"]),
    ],
)
def test_what_depends_on_a_script_is_written_again(
    tmp_path: Path, script: str, written: list[str]
) -> None:
    """Policies on the options of the adapter, grants on every function."""
    write(DEPENDENT, tmp_path, NOW)
    files = write({**DEPENDENT, script: "new"}, tmp_path, NOW)
    assert [file.stem.partition("_mux_")[2] for file in files] == written


def test_a_migration_that_counts_past_a_minute_is_before_the_new_ones(tmp_path: Path) -> None:
    """As the undo of the page does, beginning at the last migration."""
    (tmp_path / "20260304050667_undo_001_preconditions.sql").touch()
    written = write(SCRIPTS, tmp_path, NOW)
    assert names(tmp_path)[1:] == [file.name for file in written]
    assert written[0].name == "20260304050708_mux_preconditions.sql"


def test_without_its_directory_it_says_so(tmp_path: Path) -> None:
    """Nothing is created by mistake."""
    with pytest.raises(WorkerError, match="There is no directory "):
        write(SCRIPTS, tmp_path / "here", NOW)
