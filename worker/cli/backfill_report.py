"""What a backfill ends with: the summary, and the list of what could not be repaired."""

import csv
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from worker import wording
from worker.backfill.backfill import Progress
from worker.backfill.plan import ending
from worker.cli.console import WIDTH
from worker.errors import WorkerError

SHOWN = 10
COLUMNS = (
    "lesson_id",
    "result",
    "reason",
    "message",
    "lesson_status",
    "lesson_asset_id",
    "lesson_playback_id",
    "tracked_upload_id",
    "tracked_asset_id",
    "asked_for",
    "upload_id",
    "asset_id",
    "mux_status",
)


class Listing:
    """Writes lessons to a file as they come, CSV or JSON by its ending; keeps the first few."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.count = 0
        self.first: list[str] = []
        self._file: IO[str] | None = None
        self._rows: Any = None

    def __enter__(self) -> Self:
        if self.path is None:
            return self
        try:
            self._file = self.path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise WorkerError(
                f"{self.path} cannot be written ({error.strerror}): name another file."
            ) from error
        if self._is_csv:
            self._rows = csv.DictWriter(self._file, COLUMNS)
            self._rows.writeheader()
        else:
            self._file.write("[")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            if not self._is_csv:
                self._file.write("\n]\n" if self.count else "]\n")
            self._file.close()

    @property
    def _is_csv(self) -> bool:
        return self.path is not None and self.path.suffix.lower() == ".csv"

    def add(self, lesson_id: str, kind: str, message: str | None, known: Mapping[str, Any]) -> None:
        """Take a lesson in."""
        words = wording.kind(kind, message)
        if len(self.first) < SHOWN and ending(kind) == "failed":
            self.first.append(textwrap.shorten(f"{lesson_id} {kind}: {words}", WIDTH - 2))
        row = {"lesson_id": lesson_id, "result": ending(kind), "reason": kind, "message": words}
        row |= {name: value for name, value in known.items() if name in COLUMNS}
        if self._file is not None and self._is_csv:
            self._rows.writerow({name: _plain(value) for name, value in row.items()})
        elif self._file is not None:
            self._file.write((",\n" if self.count else "\n") + json.dumps(row))
        self.count += 1


def _plain(value: Any) -> str:
    """Write a value so that no spreadsheet takes it for a formula."""
    text = " ".join(value) if isinstance(value, list) else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def summary_lines(progress: Progress, requests: int, seconds: float) -> list[str]:
    """Give the summary: the counts of the report's script, then a reason for each kind."""
    told = progress.by_ending()
    lines = [
        f"Total lessons processed: {told['processed']:,}",
        f"Successfully updated: {told['updated']:,}",
        f"Skipped: {told['skipped']:,}",
        f"Failed: {told['failed']:,}",
    ]
    for name in ("updated", "skipped", "failed"):
        kinds = sorted(kind for kind in progress.counts if ending(kind) == name)
        for kind in kinds:
            text = f"{progress.counts[kind]:>9,} {name:<8} {kind}: {wording.kind(kind)}"
            lines += textwrap.wrap(text, WIDTH, subsequent_indent=" " * 19) if text else []
    went = (
        f"Went over {progress.walked:,} lessons with {requests:,} requests to Mux "
        f"in {seconds:,.0f} s."
    )
    return [*lines, went]
