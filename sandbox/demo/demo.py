"""The demo: the worker at work on a Supabase and a Mux of this machine."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, NoReturn

import psycopg
from rich.console import Console

from sandbox.app.server import SampleApp
from sandbox.demo.screen import Board, LessonRow, Lines, Screen, lesson_table
from sandbox.demo.script import INSTRUCTORS, LONGEST_SECONDS, Cast, Story
from sandbox.demo.worker_process import DemoWorker, worker_environment
from sandbox.mux.server import MuxSimulator
from sandbox.mux.webhooks import MuxWebhooks
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.stack import LocalSupabase

FRAMES_PER_SECOND = 8
INTERRUPTED = 130


def demo(*, keep: bool, speed: float = 1.0) -> int:
    """Play the demo; give 0 if every lesson came out as it should, else 1.

    With `keep` all of it stays up afterwards until Ctrl-C, the worker too. `speed` shortens all
    times alike.
    """
    console = Console(soft_wrap=not sys.stdout.isatty())
    signal.signal(signal.SIGTERM, _terminate)
    try:
        console.print("Starting Postgres, PostgREST and a simulated Mux ...")
        with LocalSupabase() as supabase, MuxSimulator() as mux:
            wrong = _play(supabase, mux, console, keep=keep, speed=speed)
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; everything is cleaned up.")
        return INTERRUPTED
    return 1 if wrong else 0


def _terminate(_number: int, _frame: Any) -> NoReturn:
    """Leave by an exception, so that the worker and the stack are stopped on the way out."""
    raise SystemExit(128 + signal.SIGTERM)


def _play(
    supabase: LocalSupabase, mux: MuxSimulator, console: Console, *, keep: bool, speed: float
) -> list[str]:
    """Play the story, show it, keep the stage if that is wanted; give what came out wrong."""
    screen: Screen = Board(console) if console.is_terminal else Lines(console)
    worker = DemoWorker(worker_environment(supabase, mux, speed), screen)
    webhooks = MuxWebhooks(mux.state, worker.webhook_url, worker.webhook_secret)
    story = Story(supabase, mux, webhooks, speed)
    with (
        SampleApp(supabase, mux, INSTRUCTORS) as sample_app,
        closing(story),
        supabase.connect() as db,
        ExitStack() as at_work,
    ):
        addresses = _addresses(sample_app, worker)
        until = "" if keep else "  (until the demo ends; make demo KEEP=1 keeps them)\n"
        _say(console, f"\n{addresses}\n{until}")
        at_work.callback(webhooks.stop)
        at_work.enter_context(worker)
        with screen:
            _until_settled(story, screen, db, LONGEST_SECONDS / speed)
            if not keep:
                at_work.close()
        wrong = _summary(story, db, console)
        if keep:
            worker.screen = Lines(console)
            _say(console, _kept(supabase, mux, addresses))
            _until_interrupted(worker, console)
        return wrong


def _until_settled(story: Story, screen: Screen, db: psycopg.Connection, longest: float) -> None:
    began = time.monotonic()
    while (seconds := time.monotonic() - began) < longest:
        for told in story.play(seconds):
            screen.tell(told)
        rows = _rows(story, db)
        screen.show(rows, "Mux is down" if story.mux_is_down else "")
        if story.is_over and not any(row.tracking == "processing" for row in rows):
            return
        time.sleep(1 / FRAMES_PER_SECOND)


def _rows(story: Story, db: psycopg.Connection) -> list[LessonRow]:
    found = db.execute(
        "select l.id, l.title, l.status, coalesce(t.error_type, t.status::text), "
        "l.mux_playback_id, "
        "extract(epoch from coalesce(t.settled_at, now()) - t.tracked_at)::float "
        "from lessons l join mux_asset_tracking t on t.lesson_id = l.id order by l.created_at"
    ).fetchall()
    by_id = {cast.lesson_id: cast.part.instructor for cast in story.cast.values()}
    return [
        LessonRow(title, by_id[str(lesson_id)], status, tracking, playback or "", age)
        for lesson_id, title, status, tracking, playback, age in found
        if str(lesson_id) in by_id  # others are made by hand, on the instructor's page
    ]


def _summary(story: Story, db: psycopg.Connection, console: Console) -> list[str]:
    """Print how every lesson ended, and give a sentence for each that ended wrong."""
    console.print()
    console.print(lesson_table(_rows(story, db)))
    console.print()
    wrong = [fault for cast in story.cast.values() for fault in _faults(story, cast, db)]
    for cast in story.cast.values():
        if cast.part.note and not wrong:
            console.print(f"“{cast.part.title}”: {cast.part.note}.", highlight=False)
    for fault in wrong:
        console.print(fault, style="red", highlight=False)
    if not wrong:
        roads = ", ".join(f"{count} by {source}" for source, count in _roads(story, db))
        console.print(f"What was published came {roads}.", highlight=False)
        console.print(f"All {len(story.cast)} lessons came out right.", style="bold green")
    return wrong


def _roads(story: Story, db: psycopg.Connection) -> list[tuple[str, int]]:
    """Count what was published by the source of the fact that did it."""
    return db.execute(
        "select observation ->> 'source', count(*) from mux_asset_events "
        "where event in ('published', 'attached') and lesson_id = any(%s::uuid[]) "
        "group by 1 order by 1",
        [[cast.lesson_id for cast in story.cast.values()]],
    ).fetchall()


def _faults(story: Story, cast: Cast, db: psycopg.Connection) -> Iterator[str]:
    """Compare a lesson with how it must have ended."""
    row = db.execute(
        "select l.status, t.status::text, t.error_type, t.mux_asset_id, l.mux_asset_id, "
        "l.mux_playback_id, (select e.observation ->> 'source' from mux_asset_events e "
        "where e.lesson_id = l.id order by e.id desc limit 1) "
        "from lessons l join mux_asset_tracking t on t.lesson_id = l.id where l.id = %s",
        [cast.lesson_id],
    ).fetchone()
    status, tracking, error_type, tracked_asset, *ids, source = row or (None,) * 7
    if cast.part.comes_by_webhook != (source == "webhook"):
        yield f"“{cast.part.title}” came by {source}."
    video = story.expected_ids(cast)
    if video is None:
        expected: tuple[Any, ...] = ("draft", "error", cast.part.error_type)
    else:
        expected = ("published", "ready", None)
        if (tracked_asset, *ids) != (video[0], *video):
            yield f"“{cast.part.title}” has the ids {ids}, not {list(video)}."
    if (status, tracking, error_type) != expected:
        yield f"“{cast.part.title}” is {(status, tracking, error_type)}, not {expected}."


def _addresses(sample_app: SampleApp, worker: DemoWorker) -> str:
    """Say where one can look on and take part, within 80 columns."""
    lines = (
        f"  Instructor's page     {sample_app.url}",
        f"  Worker's status page  {worker.status_url}",
        f"  its OPS_TOKEN         {worker.ops_token}",
        *filter(None, [sample_app.files.missing]),
    )
    return "\n".join(lines)


def _kept(supabase: LocalSupabase, mux: MuxSimulator, addresses: str) -> str:
    """Say what stays, and how to use it."""
    settings = "\n".join(f"{k}={v}" for k, v in worker_environment(supabase, mux, 1).items())
    return f"""
All of it stays up until Ctrl-C: Supabase, the simulated Mux and its webhooks,
the worker and both pages. Upload something:

{addresses}

For commands such as `mux-worker status`, or a second worker, in .env:

{settings}

The anon key: {supabase.anon_key}
The database:  psql '{supabase.dsn()}'
"""


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _until_interrupted(worker: DemoWorker, console: Console) -> None:
    try:
        worker.wait()
    except KeyboardInterrupt:
        console.print("Stopping ...")
