"""Write the SQL as migrations of the app's repository, only what changed."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from worker.errors import WorkerError

VERSION = "%Y%m%d%H%M%S"
OPTIONS = "lessons_check"
"""Keeps the options in the database."""

BY_OPTION = "access"
"""Creates policies only where the options name an owner, though its own text is always the same."""

WITH_ANY = frozenset({"grants", "snapshot"})
"""Closes and opens, or records, whatever the others created."""


def write(scripts: Mapping[str, str], directory: Path, now: datetime) -> list[Path]:
    """Write `<UTC timestamp>_mux_<name>.sql` for what changed, and return the new files.

    A script has changed if the newest migration of its name has another content. The timestamps
    ascend from `now`, later than every migration that is there. What depends on other scripts is
    written again with them.

    Raises:
        WorkerError: the directory does not exist, or cannot be written to.
    """
    try:
        if not directory.is_dir():
            raise WorkerError(f"There is no directory {directory}. Create it, then try again.")
        names = {_name(stem): script for stem, script in scripts.items()}
        changed = {name for name, script in names.items() if _latest(directory, name) != script}
        again = {BY_OPTION} if OPTIONS in changed else set()
        again |= WITH_ANY if changed else set()
        start = max([now, *(moment + timedelta(seconds=1) for moment in _versions(directory))])
        written = []
        for number, name in enumerate(n for n in names if n in changed | again):
            version = (start + timedelta(seconds=number)).strftime(VERSION)
            file = directory / f"{version}_mux_{name}.sql"
            file.write_text(names[name], "utf-8")
            written.append(file)
        return written
    except OSError as error:
        raise WorkerError(f"{directory} cannot be written to: {error.strerror}.") from error


def _name(stem: str) -> str:
    return re.sub(r"^\d+_", "", stem)


def _latest(directory: Path, name: str) -> str | None:
    files = sorted(directory.glob(f"{'[0-9]' * 14}_mux_{name}.sql"))
    return files[-1].read_text("utf-8") if files else None


def _versions(directory: Path) -> Iterable[datetime]:
    for file in directory.glob(f"{'[0-9]' * 14}_*.sql"):
        try:
            minute = datetime.strptime(file.name[:12], VERSION[:-2]).replace(tzinfo=UTC)
        except ValueError:
            continue  # not a timestamp: the app numbers this one in its own way
        yield minute + timedelta(seconds=int(file.name[12:14]))  # which a script may count past 59
