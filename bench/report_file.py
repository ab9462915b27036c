"""Write what was measured as Markdown with pictures."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench.answers import Answer, Row
from bench.charts import draw
from bench.writing import table

HEADS = ("Figure", "Worker", "Beside it", "Ratio", "Limit in theory")
GIB = 1024**3

INTRO = """\
# What it costs

Written by `make bench`, all in one run; what is compared ran by turns or at the same time.

{main}

The report's script is the one that the project began with, `scripts/fix-lesson-status.ts` (five
lessons at a time, then a second's pause); the browsers poll as its `useAssetStatusPolling` does.
Each is described below, as is the limit in theory. A figure with a range is the median of several
rounds.
"""


def write_report(answers: Sequence[Answer], directory: Path) -> tuple[Path, str]:
    """Write bench.md and bench/*.svg; give the file, and the table for the README."""
    pictures = directory / "bench"
    pictures.mkdir(parents=True, exist_ok=True)
    rows = [row for answer in answers for row in answer.rows]
    parts = [INTRO.format(main=_main_table(rows))]
    for answer in answers:
        parts.append(f"## {answer.question}\n\n{answer.how}\n")
        for name, chart in answer.charts.items():
            draw(chart, pictures / f"{name}.svg")
            parts.append(f"![{chart.title}](bench/{name}.svg)\n")
        parts += [table(detail.heads, detail.rows) + "\n" for detail in answer.details]
    file = directory / "bench.md"
    file.write_text("\n".join(parts))
    return file, _main_table([row for row in rows if row.is_main])


def _main_table(rows: Sequence[Row]) -> str:
    cells = ((row.figure, row.worker, row.beside, row.ratio, row.limit) for row in rows)
    return f"{table(HEADS, cells)}\n\n{_machine()}"


def _machine() -> str:
    memory = psutil.virtual_memory().total / GIB
    return (
        f"On {os.cpu_count()} cores and {memory:.0f} GiB, shared with Postgres, PostgREST and the "
        f"simulated Mux; Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}."
    )
