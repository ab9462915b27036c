"""The summary of a backfill, and its report: the lessons that need attention, as a file."""

import csv
import json
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from worker import wording
from worker.backfill.result import UNANSWERED, Progress, Result, ending
from worker.cli.console import columns
from worker.errors import WorkerError
from worker.text import duration, plain_id

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_PRINTED = 10
COLUMNS = ("lesson_id", "result", "reason", "message", "upload_id", "asset_id")


class Report:
    """Writes lessons to a CSV or JSON file, as its name ends; keeps the first ones for printing."""

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
                f"{self.path} cannot be written ({error.strerror}). Name another file."
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

    def add(self, result: Result) -> None:
        """Add a lesson, if it failed or was left alone."""
        if not result.is_listed:
            return
        sentences = wording.backfill_result(result.kind, result.message)
        if len(self.first) < MAX_PRINTED and ending(result.kind) == "failed":
            self.first.append(plain_id(f"{result.lesson_id} {result.kind}: {sentences}"))
        row = {
            "lesson_id": result.lesson_id,
            "result": ending(result.kind),
            "reason": result.kind,
            "message": sentences,
            **result.ids,
        }
        if self._file is not None and self._is_csv:
            self._rows.writerow({name: _csv_cell(value) for name, value in row.items()})
        elif self._file is not None:
            self._file.write((",\n" if self.count else "\n") + json.dumps(row))
        self.count += 1


def _csv_cell(value: str | None) -> str:
    """Return a value so that no spreadsheet evaluates it as a formula."""
    text = value or ""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def plan_summary(progress: Progress, requests: int, seconds: float) -> "RenderableType":
    """Return the totals of a plan, whose results are listed above it, and the cost."""
    from rich.console import Group

    totals = progress.by_ending()
    return Group(
        f"{totals['updated']:,} of {wording.count(totals['processed'], 'lesson')} would be "
        f"updated, {totals['skipped']:,} skipped; {totals['failed']:,} would fail.",
        _cost(progress, requests, seconds),
    )


def summary(progress: Progress, requests: int, seconds: float) -> "RenderableType":
    """Return the totals, the count of each result with its reason, and the cost."""
    from rich.console import Group

    totals, counts = progress.by_ending(), progress.counts
    unanswered = counts.pop(UNANSWERED, 0)
    table = columns(9, 7)
    table.columns[0].justify = "right"
    for name in ("updated", "skipped", "failed"):
        for kind in sorted(kind for kind in counts if ending(kind) == name):
            table.add_row(f"{counts[kind]:,}", name, f"{kind}: {wording.backfill_result(kind)}")
    if unanswered:
        table.add_row(f"{unanswered:,}", "tracked", wording.backfill_result(UNANSWERED))
    return Group(
        f"Total lessons processed: {totals['processed']:,}",
        f"Successfully updated: {totals['updated']:,}",
        f"Skipped: {totals['skipped']:,}",
        f"Failed: {totals['failed']:,}",
        *([table] if table.row_count else []),
        _cost(progress, requests, seconds),
    )


def _cost(progress: Progress, requests: int, seconds: float) -> str:
    return (
        f"Read {wording.count(progress.walked, 'lesson')} with "
        f"{wording.count(requests, 'request')} to Mux in {duration(seconds)}."
    )
