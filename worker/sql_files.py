"""Find the files of sql/, in the installed package or in a checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def sql_files() -> list[Path]:
    """Return the files in the order in which they are applied."""
    installed = PACKAGE / "_sql"
    folder = installed if installed.is_dir() else PACKAGE.parent / "sql"
    return sorted(folder.glob("*.sql"))
