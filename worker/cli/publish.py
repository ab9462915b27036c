"""The command `publish`: check one lesson's video at Mux and publish the lesson."""

import argparse
import sys
from typing import TYPE_CHECKING

from worker.cli.command import LESSON_HELP, Subparsers, operator_name, run_command
from worker.cli.exit_codes import DONE

if TYPE_CHECKING:
    from worker.settings import Settings


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("publish", help="check one lesson at Mux, and publish it")
    parser.add_argument("lesson", metavar="LESSON", help=LESSON_HELP)
    parser.add_argument("--reason", metavar="TEXT", help="the reason, for the audit")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Where its output is no terminal, it logs what it published."""
    return run_command(_publish, arguments, log_errors_only=sys.stdout.isatty())


async def _publish(arguments: argparse.Namespace, settings: "Settings") -> int:
    import asyncio

    from worker.app import parts
    from worker.backfill.publish import find_lesson, publish
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
        print(f"asset {done.asset_id}\nplays as {done.playback_id}")
    return DONE
