"""Write the measurements as Markdown with pictures."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench.answers import Answer
from bench.charts import draw
from bench.writing import table

HEADS = ("Figure", "Worker", "Compared with", "Ratio", "Limit in theory")
GIB = 1024**3

INTRO = """\
{main}

The report's script is `scripts/fix-lesson-status.ts`, which the project replaces: it processes five
lessons at a time, then pauses for a second. The report's browsers poll as its
`useAssetStatusPolling` does. Each is described below, as is the limit in theory. A figure with a
range is the median of several rounds.
"""


def write_report(answers: Sequence[Answer], directory: Path) -> str:
    """Write bench/*.svg, and return all that was measured as Markdown."""
    pictures = directory / "bench"
    pictures.mkdir(parents=True, exist_ok=True)
    rows = [row for answer in answers for row in answer.rows]
    cells = ((row.figure, row.worker, row.beside, row.ratio, row.limit) for row in rows)
    parts = [INTRO.format(main=f"{table(HEADS, cells)}\n\n{machine()}")]
    for answer in answers:
        parts.append(f"## {answer.question}\n\n{answer.how}\n")
        for name, chart in answer.charts.items():
            draw(chart, pictures / f"{name}.svg")
            parts.append(f"![{chart.title}](bench/{name}.svg)\n")
        parts += [table(detail.heads, detail.rows) + "\n" for detail in answer.details]
    return "\n".join(parts)


def headlines(answers: Sequence[Answer]) -> str:
    """Return the table of the README: the few rows that matter most."""
    rows = [row for answer in answers for row in answer.rows if row.is_headline]
    cells = ((row.figure, row.worker, row.beside) for row in rows)
    return f"{table(HEADS[:3], cells)}\n\n{machine()}"


def machine() -> str:
    """Return where and when something was measured."""
    memory = psutil.virtual_memory().total / GIB
    return (
        f"On {os.cpu_count()} cores and {memory:.0f} GiB, shared with Postgres, PostgREST and the "
        f"simulated Mux; Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}."
    )
