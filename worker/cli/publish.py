"""The command `publish`: check one lesson's video at Mux and publish the lesson."""

import argparse
import sys
from typing import TYPE_CHECKING

from worker.cli.command import (
    LESSON_HELP,
    REASON_HELP,
    Subparsers,
    no_completions,
    operator_name,
    run_command,
)
from worker.cli.exit_codes import DONE

if TYPE_CHECKING:
    from worker.settings import Settings


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "publish",
        help="check one lesson at Mux, and publish it",
        description="Ask Mux about one lesson's video, and publish the lesson if the video can be "
        "played. Nothing is written otherwise.",
        examples={
            'mux-worker publish "Sourdough"': "by the lesson's title",
            'mux-worker publish LESSON --reason "She asked by phone."': "with the reason",
        },
        uses_schema=True,
        exit_codes={
            0: "published, now or before",
            1: "not published, for the reason that is printed",
        },
    )
    lesson = parser.add_argument("lesson", metavar="LESSON", help=LESSON_HELP)
    lesson.completer = no_completions
    parser.add_argument("--reason", metavar="TEXT", help=REASON_HELP)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Where its output is no terminal, it logs what it published."""
    return run_command(_publish, arguments, log_errors_only=sys.stdout.isatty())


async def _publish(arguments: argparse.Namespace, settings: "Settings") -> int:
    import asyncio

    from worker.app import parts
    from worker.backfill.publish import publish
    from worker.cli.lessons import find_lesson
    from worker.supabase.lessons import LessonStore
    from worker.telemetry.hooks import Telemetry
    from worker.telemetry.outcome_log import OutcomeLog

    async with parts(settings, asyncio.Event(), Telemetry()) as (mux, store, _, _):
        await store.check_schema()
        lessons = LessonStore(store.call)
        lesson = await find_lesson(lessons, arguments.lesson)
        by = (operator_name(), arguments.reason)
        done = await publish(lesson, mux, lessons, settings.rules, by, Telemetry(OutcomeLog()))
    print(done)
    if done.outcome != "published_before":
        print(f"  asset     {done.asset_id}\n  playback  {done.playback_id}")
    return DONE
