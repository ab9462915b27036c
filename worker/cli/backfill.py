"""The command `backfill`: plan or apply, with progress, a summary and a report."""

import argparse
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from worker.cli.command import Subparsers, run_command
from worker.cli.console import columns, show
from worker.cli.exit_codes import DONE, FAILED, WRONG_USE
from worker.wording import backfill_result

if TYPE_CHECKING:
    from rich.console import RenderableType

    from worker.backfill.backfill import Backfill, Progress
    from worker.backfill.plan import Step
    from worker.cli.backfill_report import Report
    from worker.settings import Settings
    from worker.supabase.backfill import BackfillStore

MAX_EXAMPLES = 3


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "backfill", help="adopt and publish the lessons that are older than the worker"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--plan", action="store_true", help="print what would be done, change nothing (default)"
    )
    mode.add_argument("--apply", action="store_true", help="do it, after confirmation")
    parser.add_argument("--yes", action="store_true", help="with --apply: skip the confirmation")
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
        "--from-start", action="store_true", help="do not continue an interrupted backfill"
    )
    parser.add_argument(
        "--report",
        type=_report_file,
        metavar="FILE",
        help="list the lessons that need attention in FILE (.csv or .json)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command, after confirmation where it changes something."""
    if arguments.apply and not arguments.yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            print("There is no terminal to confirm --apply. Add --yes.", file=sys.stderr)
            return WRONG_USE
        print("This publishes lessons, and writes their ids and their tracking rows.")
        if not _is_confirmed():
            print("Nothing was changed.")
            return FAILED
    return run_command(_backfill, arguments, log_errors_only=sys.stdout.isatty())


def _report_file(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in (".csv", ".json"):
        raise argparse.ArgumentTypeError("must end in .csv or .json")
    return path


def _is_confirmed() -> bool:
    try:
        return input("Continue? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print()
        return False


async def _backfill(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Return DONE only if all lessons were processed and none failed."""
    import asyncio

    from worker.app import parts
    from worker.backfill.backfill import Backfill
    from worker.backfill.plan import Options
    from worker.cli.backfill_report import Report, summary
    from worker.shutdown import Signals
    from worker.supabase.backfill import BackfillStore

    stopping = asyncio.Event()
    Signals(stopping, settings.shutdown_seconds).listen()
    async with parts(settings, stopping) as (mux, store, _):
        await store.check_schema()
        lessons = BackfillStore(store.call)
        work = Backfill(
            mux,
            store,
            lessons,
            rules=settings.rules,
            options=Options(arguments.include_drafts, arguments.trust_passthrough),
            stopping=stopping,
        )
        began = time.monotonic()
        with Report(arguments.report) as report:
            if arguments.apply:
                await _apply(work, arguments, lessons, report)
            else:
                await _plan(work, report)
    show(summary(work.progress, mux.requests, time.monotonic() - began))
    if report.path is not None:
        print(f"{report.count} lessons are listed in {report.path}.")
    return _end(work.progress, is_applied=arguments.apply)


def _end(progress: "Progress", *, is_applied: bool) -> int:
    if not progress.is_finished:
        again = "Run it again to continue." if is_applied else "Run it again for the whole plan."
        print(f"The backfill was stopped before the end. {again}")
        return FAILED
    return FAILED if is_applied and progress.by_ending()["failed"] else DONE


async def _plan(work: "Backfill", report: "Report") -> None:
    from worker.backfill.plan import is_listed
    from worker.cli.backfill_progress import progress_shown

    examples: dict[str, list[Step]] = defaultdict(list)

    def record(step: "Step") -> None:
        if len(examples[step.kind]) < MAX_EXAMPLES:
            examples[step.kind].append(step)
        if is_listed(step.kind):
            report.add(step.lesson.id, step.kind, step.message, step.known())

    async with progress_shown(work.progress, "planning"):
        await work.plan(record)
    show("What would be done; nothing is changed.", _planned(work.progress.counts, examples), "")


def _planned(counts: Counter[str], examples: "dict[str, list[Step]]") -> "RenderableType":
    table = columns(9)
    table.columns[0].justify = "right"
    for kind, count in _sorted(counts):
        table.add_row(f"\n{count:,}", f"\n{kind}: {backfill_result(kind)}")
        for step in sorted(examples[kind], key=lambda step: step.lesson.id):
            table.add_row("", " ".join([step.lesson.id, *_ids(step)]))
    return table


def _ids(step: "Step") -> list[str]:
    observation = step.observation
    if observation is None:
        return [f"holds {step.lesson.asset_id}"] if step.lesson.asset_id else []
    ids = {"upload": observation.upload_id, "asset": observation.asset_id}
    return [f"{name} {id_}" for name, id_ in ids.items() if id_]


async def _apply(
    work: "Backfill", arguments: argparse.Namespace, lessons: "BackfillStore", report: "Report"
) -> None:
    from worker.cli.backfill_progress import progress_shown

    try:
        async with progress_shown(work.progress, "repairing"):
            await work.apply(from_start=arguments.from_start)
    finally:
        if work.progress.begun_at is not None:
            with suppress(Exception):
                await _list(work.progress.begun_at, lessons, report)
    if work.progress.is_resumed:
        print("This continued an interrupted backfill; the counts include it.")
    if report.first:
        show(*report.first)
    if report.count > len(report.first):
        more = report.count - len(report.first)
        print(f"and {more:,} more." + ("" if arguments.report else " --report FILE lists all."))


async def _list(since: str, lessons: "BackfillStore", report: "Report") -> None:
    """Add the findings that the database has recorded since this backfill first began."""
    after: str | None = None
    while findings := await lessons.findings(since, after):
        for finding in findings:
            ids = {
                name: finding[name]
                for name in ("lesson_asset_id", "lesson_playback_id")
                if finding[name]
            }
            known = ids | (finding["known"] or {})
            report.add(finding["lesson_id"], finding["kind"], finding["message"], known)
        after = findings[-1]["lesson_id"]


def _sorted(counts: Counter[str]) -> list[tuple[str, int]]:
    from worker.backfill.plan import ending

    order = {"updated": 0, "skipped": 1, "failed": 2}
    return sorted(counts.items(), key=lambda item: (order[ending(item[0])], item[0]))
