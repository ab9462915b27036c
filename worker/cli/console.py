"""Print the doctor's checks for people: within 80 columns, in colour only on a terminal."""

import os
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence

from worker.doctor.checks import Check, Health

WIDTH = 80
MARKS: dict[Health, tuple[str, str]] = {
    "ok": ("ok", "32"),
    "warning": ("warn", "33"),
    "failed": ("FAIL", "31"),
    "skipped": ("skip", "2"),
}
INDENT = " " * 24


def as_lines(check: Check) -> str:
    """Write one check as one line, longer ones folded, with the advice beneath."""
    mark, colour = MARKS[check.health]
    folded = textwrap.wrap(check.seen, WIDTH - len(INDENT)) or [""]
    lines = [f"{coloured(f'{mark:<4}', colour)}  {check.name:<16}  {folded[0]}"]
    lines += [INDENT + rest for rest in folded[1:]]
    if check.advice and check.health != "ok":
        advice = textwrap.wrap(check.advice, WIDTH - len(INDENT) - 3)
        lines += [f"{INDENT}{'-> ' if n == 0 else '   '}{line}" for n, line in enumerate(advice)]
    return "\n".join(lines)


def summed_up(checks: Sequence[Check]) -> str:
    """Write how many checks went how."""
    counts = Counter(check.health for check in checks)
    told = ", ".join(f"{counts[health]} {health}" for health in MARKS if counts[health])
    return f"\n{told}."


def coloured(text: str, colour: str) -> str:
    """Colour a text where somebody looks and did not say no."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"
