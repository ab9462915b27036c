"""The command `backfill`: plan or apply, with progress, a summary and a report."""

import argparse
import asyncio
import textwrap
import time
from collections import Counter, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from worker import wording
from worker.backfill.backfill import Backfill
from worker.backfill.plan import Options, Step, ending, is_listed
from worker.cli.backfill_progress import progress_shown
from worker.cli.backfill_report import Listing, summary_lines
from worker.cli.console import WIDTH
from worker.shutdown import Signals
from worker.supabase.backfill import BackfillStore

if TYPE_CHECKING:
    from worker.cli.command import Parts
    from worker.settings import Settings

DONE, FAILED = 0, 1
EXAMPLES = 3


async def backfill(arguments: argparse.Namespace, settings: "Settings", parts: "Parts") -> int:
    """Run the command; 0 only if it came to its end and nothing failed."""
    stopping = asyncio.Event()
    Signals(stopping, settings.shutdown_seconds).listen()
    async with parts(settings, stopping, bulk=True) as (mux, store, _):
        await store.check_schema()
        books = BackfillStore(store.call)
        work = Backfill(
            mux,
            store,
            books,
            rules=settings.rules,
            options=Options(arguments.include_drafts, arguments.trust_passthrough),
            stopping=stopping,
        )
        began = time.monotonic()
        with Listing(arguments.report) as listing:
            if arguments.apply:
                await _apply(work, arguments, books, listing)
            else:
                await _plan(work, listing)
    for line in summary_lines(work.progress, mux.requests, time.monotonic() - began):
        print(line)
    if listing.path is not None:
        print(f"{listing.count} lessons are listed in {listing.path}.")
    if not work.progress.is_finished:
        print(
            "It was stopped before the end"
            + ("; started again it goes on there." if arguments.apply else ".")
        )
        return FAILED
    return FAILED if arguments.apply and work.progress.by_ending()["failed"] else DONE


async def _plan(work: Backfill, listing: Listing) -> None:
    examples: dict[str, list[Step]] = defaultdict(list)

    def tell(one: Step) -> None:
        if len(examples[one.kind]) < EXAMPLES:
            examples[one.kind].append(one)
        if is_listed(one.kind):
            listing.add(one.lesson.id, one.kind, one.message, one.known())

    async with progress_shown(work.progress, "planning"):
        await work.plan(tell)
    print("What would be done; nothing is changed.")
    for kind, count in _sorted(work.progress.counts):
        text = f"{count:>9,}  {kind}: {wording.kind(kind)}"
        print("", *textwrap.wrap(text, WIDTH, subsequent_indent=" " * 11), sep="\n")
        for one in sorted(examples[kind], key=lambda one: one.lesson.id):
            print(f"{'':11}{one.lesson.id}")
            ids = _ids(one)
            print(*(f"{'':13}{line}" for line in ids), sep="\n", end="\n" if ids else "")
    print()


def _ids(one: Step) -> list[str]:
    seen = one.observation
    if seen is None:
        return [f"holds {text[:60]}" for text in (one.lesson.asset_id,) if text]
    told = {"upload": seen.upload_id, "asset": seen.asset_id}
    return [f"{name} {text[:56]}" for name, text in told.items() if text]


async def _apply(
    work: Backfill, arguments: argparse.Namespace, books: BackfillStore, listing: Listing
) -> None:
    try:
        async with progress_shown(work.progress, "repairing"):
            await work.apply(from_start=arguments.from_start)
    finally:
        if work.progress.begun_at is not None:
            with suppress(Exception):
                await _list(work.progress.begun_at, books, listing)
    if work.progress.is_resumed:
        print("It went on where the one before was stopped; the counts are of both.")
    for told in listing.first:
        print(f"  {told}")
    if listing.count > len(listing.first):
        more = listing.count - len(listing.first)
        print(f"  and {more:,} more" + ("." if arguments.report else ": --report FILE lists all."))


async def _list(since: str, books: BackfillStore, listing: Listing) -> None:
    """List what could not be repaired, as the database keeps it, also from before a stop."""
    after: str | None = None
    while some := await books.findings(since, after):
        for one in some:
            held = {
                name: one[name] for name in ("lesson_asset_id", "lesson_playback_id") if one[name]
            }
            listing.add(one["lesson_id"], one["kind"], one["message"], held | (one["known"] or {}))
        after = some[-1]["lesson_id"]


def _sorted(counts: Counter[str]) -> list[tuple[str, int]]:
    order = {"updated": 0, "skipped": 1, "failed": 2}
    return sorted(counts.items(), key=lambda item: (order[ending(item[0])], item[0]))
