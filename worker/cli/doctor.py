"""The command `doctor`: check whether everything is in place."""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker.cli.command import Subparsers, run_command
from worker.cli.console import columns, show
from worker.cli.exit_codes import DONE, FAILED
from worker.wording import count

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
        "doctor",
        help="check whether everything is in place, and print how to correct the rest",
        description="Check settings, network, keys, the database, Mux and the webhook, and print "
        "how to correct what is wrong. It changes nothing.",
        examples={
            "mux-worker doctor": "after the installation, and before you ask for help",
            "mux-worker doctor --json": "for a program",
        },
        exit_codes={0: "no check failed; there may be warnings", 1: "a check failed"},
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

    checks: list[Check] = []
    skipped: list[Check] = []  # not printed yet
    async with parts(settings, asyncio.Event(), alone=True) as (mux, store, _, _):
        async for check in examine(settings, mux, store):
            checks.append(check)
            if arguments.json:
                continue
            if skipped and not _is_like(check, skipped[0]):
                show(check_row(folded(skipped)))
                skipped.clear()
            if check.health == "skipped":
                skipped.append(check)
            else:
                show(check_row(check))
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        if skipped:
            show(check_row(folded(skipped)))
        print(f"\n{_totals(checks)}.")
    return FAILED if any(check.health == "failed" for check in checks) else DONE


def _is_like(check: "Check", other: "Check") -> bool:
    return (check.health, check.detail) == (other.health, other.detail)


def folded(skipped: "Sequence[Check]") -> "Check":
    """Return checks that were skipped for one reason as one."""
    from dataclasses import replace

    first, *others = skipped
    if not others:
        return first
    names = ", ".join(check.name for check in skipped)
    return replace(first, name=f"{len(skipped)} checks", detail=f"{first.detail}: {names}")


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
    words = {"warning": count(counts["warning"], "warning")}
    named = (words.get(health, f"{counts[health]} {health}") for health in MARKS if counts[health])
    return ", ".join(named)
