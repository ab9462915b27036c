"""The demo: the worker at work on a Supabase and a Mux of this machine."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from secrets import token_hex
from typing import IO, Any, NoReturn

import psycopg
from rich.console import Console

from worker.local.demo_screen import Board, LessonRow, Lines, Screen, lesson_table
from worker.local.demo_story import LONGEST_SECONDS, Cast, Story
from worker.local.errors import LocalStackError
from worker.local.mux_server import MuxSimulator
from worker.local.mux_webhooks import MuxWebhooks
from worker.local.stack import LocalSupabase

FRAMES_PER_SECOND = 8
INTERRUPTED = 130


def demo(*, keep: bool, speed: float = 1.0) -> int:
    """Play the demo; give 0 if every lesson came out as it should, else 1.

    With `keep` the stack stays up afterwards until Ctrl-C. `speed` shortens all times alike.
    """
    console = Console(soft_wrap=not sys.stdout.isatty())
    signal.signal(signal.SIGTERM, _terminate)
    try:
        console.print("Starting Postgres, PostgREST and a simulated Mux ...")
        with LocalSupabase() as supabase, MuxSimulator() as mux:
            wrong = _play(supabase, mux, console, speed)
            if keep:
                _keep(supabase, mux, console)
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


def _play(supabase: LocalSupabase, mux: MuxSimulator, console: Console, speed: float) -> list[str]:
    """Play the story, show it, and give what came out wrong."""
    screen: Screen = Board(console) if console.is_terminal else Lines(console)
    settings = worker_environment(supabase, mux, speed) | _web_settings()
    address = f"http://{settings['HOST']}:{settings['PORT']}/webhooks/mux"
    webhooks = MuxWebhooks(mux.state, address, settings["MUX_WEBHOOK_SECRET"])
    story = Story(supabase, mux, webhooks, speed)
    with closing(story), supabase.connect() as db:
        try:
            with screen, _worker(settings, screen):
                _until_settled(story, screen, db, LONGEST_SECONDS / speed)
        finally:
            webhooks.stop()
        return _summary(story, db, console)


def _web_settings() -> dict[str, str]:
    """Give the settings by which the worker takes Mux's webhooks, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {"HOST": "127.0.0.1", "PORT": str(port), "MUX_WEBHOOK_SECRET": token_hex(16)}


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
        "select l.title, l.status, coalesce(t.error_type, t.status::text), l.mux_playback_id, "
        "extract(epoch from coalesce(t.settled_at, now()) - t.tracked_at)::float "
        "from lessons l join mux_asset_tracking t on t.lesson_id = l.id order by l.created_at"
    ).fetchall()
    return [
        LessonRow(title, story.cast[title].part.instructor, status, tracking, playback or "", age)
        for title, status, tracking, playback, age in found
        if title in story.cast
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
        roads = ", ".join(f"{count} by {source}" for source, count in _roads(db))
        console.print(f"What was published came {roads}.", highlight=False)
        console.print(f"All {len(story.cast)} lessons came out right.", style="bold green")
    return wrong


def _roads(db: psycopg.Connection) -> list[tuple[str, int]]:
    """Count what was published by the source of the fact that did it."""
    return db.execute(
        "select observation ->> 'source', count(*) from mux_asset_events "
        "where event in ('published', 'attached') group by 1 order by 1"
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


def worker_environment(supabase: LocalSupabase, mux: MuxSimulator, speed: float) -> dict[str, str]:
    """Give the worker's settings: the required ones, this Mux, and a quicker pace."""
    return {
        "SUPABASE_URL": supabase.url,
        "SUPABASE_SERVICE_ROLE_KEY": supabase.service_role_key,
        "MUX_TOKEN_ID": mux.token_id,
        "MUX_TOKEN_SECRET": mux.token_secret,
        "MUX_BASE_URL": mux.url,
        "SCAN_INTERVAL_SECONDS": f"{1 / speed:g}",
    }


@contextmanager
def _worker(settings: dict[str, str], screen: Screen) -> Iterator[None]:
    """Run the real command in a process of its own, its log on the screen."""
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "run"],
        env={**inherited, **settings, "LOG_FORMAT": "json"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is for the demo, which stops the worker in order
    )
    reader = threading.Thread(target=_show_log, args=(process.stdout, screen))
    reader.start()
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            reader.join()


def _show_log(log: IO[str], screen: Screen) -> None:
    for line in log:
        screen.log(line)


def _keep(supabase: LocalSupabase, mux: MuxSimulator, console: Console) -> None:
    """Tell how to use the stack, and leave it up until Ctrl-C."""
    settings = "\n".join(f"{k}={v}" for k, v in worker_environment(supabase, mux, 1).items())
    console.print(
        "\nThe stack stays up until Ctrl-C; the worker has stopped. For your own, in .env:\n\n"
        f"{settings}\n\n"
        f"The anon key: {supabase.anon_key}\nThe database:  psql '{supabase.dsn()}'\n",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("Stopping ...")
