"""Find the files of sql/, in the installed package or in a checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def sql_files() -> list[Path]:
    """Return the files in the order in which they are applied."""
    return sorted(_folder().glob("*.sql"))


def undo_files() -> list[Path]:
    """Return the files of sql/down in their order: what was applied last is undone first."""
    return sorted((_folder() / "down").glob("*.sql"), reverse=True)


def optional_files() -> dict[str, Path]:
    """Return the files of sql/optional by their names without `.sql`."""
    return {file.stem: file for file in sorted((_folder() / "optional").glob("*.sql"))}


def _folder() -> Path:
    installed = PACKAGE / "_sql"
    return installed if installed.is_dir() else PACKAGE.parent / "sql"
