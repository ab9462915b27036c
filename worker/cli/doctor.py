"""The command `doctor`: check whether everything is in place."""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker.cli.command import Subparsers, run_command
from worker.cli.console import columns, show
from worker.cli.exit_codes import DONE, FAILED

if TYPE_CHECKING:
    from rich.console import RenderableType

    from worker.doctor.checks import Check, Health
    from worker.settings import Settings

MARKS: "dict[Health, tuple[str, str]]" = {
    "ok": ("ok", "green"),
    "warning": ("warn", "yellow"),
    "failed": ("FAIL", "red"),
    "skipped": ("skip", "dim"),
}
"""How each result is written, and its style."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "doctor", help="check whether everything is in place, and print how to correct the rest"
    )
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return run_command(_examine, arguments)


async def _examine(arguments: argparse.Namespace, settings: "Settings") -> int:
    import asyncio
    import json
    from dataclasses import asdict

    from worker.app import parts
    from worker.doctor.doctor import examine

    checks = []
    async with parts(settings, asyncio.Event(), alone=True) as (mux, store, _, _):
        async for check in examine(settings, mux, store):
            checks.append(check)
            if not arguments.json:
                show(check_row(check))
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print(f"\n{_totals(checks)}.")
    return FAILED if any(check.health == "failed" for check in checks) else DONE


def check_row(check: "Check") -> "RenderableType":
    """Return one check as a row, with the advice below."""
    from rich.text import Text

    mark, style = MARKS[check.health]
    row = columns(4, 16)
    row.add_row(Text(mark, style), check.name, check.detail)
    if check.advice and check.health != "ok":
        row.add_row("", "", f"-> {check.advice}")
    return row


def _totals(checks: "Sequence[Check]") -> str:
    counts = Counter(check.health for check in checks)
    return ", ".join(f"{counts[health]} {health}" for health in MARKS if counts[health])
