"""The command `scan`: scan until everything that was due has been checked, then exit."""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.cli.command import Subparsers, run_command
from worker.cli.exit_codes import DONE, FAILED
from worker.wording import count, outcomes

if TYPE_CHECKING:
    from worker.settings import Settings


@dataclass(slots=True)
class _Total:
    """The sum of all scans of one command."""

    outcomes: Counter[str] = field(default_factory=Counter)
    looked_at: int = 0
    released: int = 0
    left_to_others: bool = False

    def add(self, report: Any) -> None:
        """Add one scan; what it released is due again, so only the last scan's counts."""
        self.outcomes += report.outcomes
        self.looked_at += report.looked_at
        self.released = report.released
        self.left_to_others = report.left_to_others


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "scan",
        help="check everything that is due once, then exit",
        description="Check every upload that is due once, publish what is ready, and print the "
        "result. Log lines go to standard error. It may run beside the daemon.",
        examples={"mux-worker scan": "once, by hand or by a cron job"},
        uses_schema=True,
        exit_codes={1: "failed, was interrupted, or the database refused a lesson"},
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return run_command(_scan, arguments, log_errors_only=False)


async def _scan(_arguments: argparse.Namespace, settings: "Settings") -> int:
    import asyncio

    from worker.app import parts
    from worker.shutdown import Signals

    stopping = asyncio.Event()
    Signals(stopping, settings.shutdown_seconds).listen()
    total = _Total()
    async with parts(settings, stopping) as (_, store, scanner, _):
        await store.check_schema()
        due = (await store.summary())["due"]
        while not stopping.is_set():
            report = await scanner.scan()
            total.add(report)
            if not report.is_full or total.looked_at >= due:
                break  # the rows checked here are soon due again; another scan checks them then
        summary = await store.summary()
    _print(total, summary)
    was_interrupted = stopping.is_set() and total.released
    return FAILED if was_interrupted or total.outcomes["refused"] else DONE


def _print(total: _Total, summary: dict[str, int]) -> None:
    result = outcomes(total.outcomes) or "nothing was due"
    print(f"Checked {count(total.looked_at, 'lesson')}: {result}.")
    if total.left_to_others:
        print("Another worker is checking what is due.")
    print(
        f"Now {summary['processing'] - summary['stuck']:,} waiting, {summary['stuck']:,} stuck, "
        f"{summary['due']:,} of them due; {summary['error']:,} failed, "
        f"{summary['unplayable']:,} unplayable."
    )
