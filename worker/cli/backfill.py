"""The command `backfill`: plan or apply, with progress, a summary and a report."""

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from worker.cli.command import Subparsers, run_command
from worker.cli.console import columns, console, show
from worker.cli.exit_codes import DONE, FAILED, WRONG_USE
from worker.wording import backfill_result, count

if TYPE_CHECKING:
    from rich.console import RenderableType

    from worker.backfill.backfill import Backfill
    from worker.backfill.result import Progress, Result
    from worker.cli.backfill_report import Report
    from worker.settings import Settings
    from worker.supabase.backfill import BackfillStore

    Summary = Callable[[Progress, int, float], RenderableType]

MAX_EXAMPLES = 3


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "backfill",
        help="adopt and publish the lessons that are older than the worker",
        description="Find the lessons that are older than the worker, ask Mux about the videos "
        "that they name, and adopt and publish them. Without --apply it prints what it would do. "
        "It can be interrupted, and continues where it was.",
        examples={
            "mux-worker backfill": "what would be done, and why",
            "mux-worker backfill --apply": "the same, then a question, then the backfill",
            "mux-worker backfill --apply --yes --report rest.csv": "with a list of the rest",
        },
        uses_schema=True,
        exit_codes={
            0: "all lessons were processed, and none failed",
            1: "failed, was stopped or not confirmed, or a lesson failed",
        },
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--plan", action="store_true", help="print what would be done, change nothing (default)"
    )
    mode.add_argument("--apply", action="store_true", help="print the plan, ask, and do it")
    parser.add_argument("--yes", action="store_true", help="with --apply: do it without the plan")
    parser.add_argument(
        "--include-drafts",
        action="store_true",
        help="also publish drafts with a real playback id, which may be drafts on purpose",
    )
    parser.add_argument(
        "--trust-passthrough",
        action="store_true",
        help="accept the one asset whose passthrough or external_id is the lesson's id",
    )
    parser.add_argument(
        "--report",
        type=_report_file,
        metavar="FILE",
        help="list the lessons that failed or were left alone in FILE (.csv or .json)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; where it changes something, after confirmation."""
    if arguments.yes and not arguments.apply:
        arguments.parser.error("--yes needs --apply")
    asks = arguments.apply and not arguments.yes
    if asks and not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("There is no terminal to confirm --apply. Add --yes.", file=sys.stderr)
        return WRONG_USE
    return run_command(_backfill, arguments, log_errors_only=sys.stdout.isatty())


def _report_file(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in (".csv", ".json"):
        raise argparse.ArgumentTypeError("must end in .csv or .json")
    return path


def _is_confirmed() -> bool:
    print("--apply publishes these lessons, and writes their ids and their tracking rows.")
    try:
        return input("Continue? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print()
        return False


async def _backfill(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Return DONE only if all lessons were processed and none failed."""
    import asyncio

    from worker.app import backfill_road
    from worker.backfill.backfill import Backfill, Options
    from worker.cli.backfill_report import Report
    from worker.shutdown import Signals

    stopping = asyncio.Event()
    Signals(stopping, settings.shutdown_seconds).listen()
    options = Options(arguments.include_drafts, arguments.trust_passthrough)
    async with backfill_road(settings, stopping) as road:
        if not arguments.apply:
            with Report(arguments.report) as report:
                return await _plan(Backfill(road, options, stopping), report)
        if not arguments.yes:
            with Report(None) as report:
                await _plan(Backfill(road, options, stopping), report)
            if stopping.is_set() or not _is_confirmed():
                print("Nothing was changed.")
                return FAILED
        with Report(arguments.report) as report:
            return await _apply(Backfill(road, options, stopping), report)


async def _plan(work: "Backfill", report: "Report") -> int:
    from worker.cli.backfill_progress import progress_shown
    from worker.cli.backfill_report import plan_summary

    examples: dict[str, list[Result]] = defaultdict(list)

    def record(result: "Result") -> None:
        if len(examples[result.kind]) < MAX_EXAMPLES:
            examples[result.kind].append(result)
        report.add(result)

    began = time.monotonic()
    async with progress_shown(work.progress, "planning"):
        await work.plan(record)
    show("What would be done; nothing is changed.", _planned(work.progress.counts, examples), "")
    _summarize(work, report, began, plan_summary)
    if not work.progress.is_finished:
        print("The plan was stopped before the end. Run it again for the whole plan.")
        return FAILED
    return DONE


def _planned(counts: Counter[str], examples: "dict[str, list[Result]]") -> "RenderableType":
    table = columns(9)
    table.columns[0].justify = "right"
    between = "\n  " if console().is_terminal else " "  # three ids are wider than most terminals
    for kind, number in _sorted(counts):
        table.add_row(f"\n{number:,}", f"\n{kind}: {backfill_result(kind)}")
        for result in sorted(examples[kind], key=lambda result: result.lesson_id):
            ids = [f"{name.removesuffix('_id')} {id_}" for name, id_ in result.ids.items() if id_]
            table.add_row("", between.join([result.lesson_id, *ids]))
    return table


async def _apply(work: "Backfill", report: "Report") -> int:
    from worker.cli.backfill_progress import progress_shown
    from worker.cli.backfill_report import summary

    began = time.monotonic()
    async with progress_shown(work.progress, "adopting"):
        run = await work.apply(report.add)
    await _list_failures(run, work.road.lessons, report)
    if work.progress.is_resumed:
        print("This continued an interrupted backfill; the counts include it.")
    if report.first:
        show(*report.first)
    if report.count > len(report.first):
        more = report.count - len(report.first)
        print(f"and {more:,} more." + ("" if report.path else " --report FILE lists all."))
    _summarize(work, report, began, summary)
    if not work.progress.is_finished:
        print("The backfill was stopped before the end. Run it again to continue.")
        return FAILED
    return FAILED if work.progress.by_ending()["failed"] else DONE


async def _list_failures(run: str, lessons: "BackfillStore", report: "Report") -> None:
    """Add the lessons that failed after they were adopted, in this run of the backfill."""
    from worker.backfill.result import Result

    after, is_last = None, False
    while not is_last:
        failures, after = await lessons.failures(run, after)
        for row in failures:
            ids = {name: row[name] for name in ("upload_id", "asset_id")}
            report.add(Result(row["lesson_id"], row["reason"], row["message"], ids))
        is_last = after is None


def _summarize(work: "Backfill", report: "Report", began: float, view: "Summary") -> None:
    show(view(work.progress, work.road.mux.requests, time.monotonic() - began))
    if report.path is not None:
        lessons = count(report.count, "lesson is", "lessons are")
        print(f"{lessons} listed in {report.path}.")


def _sorted(counts: Counter[str]) -> list[tuple[str, int]]:
    from worker.backfill.result import ending

    order = {"updated": 0, "skipped": 1, "failed": 2}
    return sorted(counts.items(), key=lambda item: (order[ending(item[0])], item[0]))
