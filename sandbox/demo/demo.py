"""Run the demo: the worker with a local Supabase, a simulated Mux and the sample app."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NoReturn

import psycopg
from rich.console import Console

from sandbox.app.server import SampleApp
from sandbox.demo.result import LessonTitles, count_by_source, find_errors, lesson_rows
from sandbox.demo.screen import CAPTION, LiveTable, PlainLines, Screen, lesson_table
from sandbox.demo.script import INSTRUCTORS, MAX_SECONDS, Script
from sandbox.demo.worker_process import DemoWorker, worker_environment
from sandbox.mux.server import MuxSimulator
from sandbox.mux.webhooks import MuxWebhooks
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.stack import LocalSupabase

REFRESHES_PER_SECOND = 8
INTERRUPTED = 130


def demo(*, keep: bool, speed: float = 1.0) -> int:
    """Run the demo; return 0 if every lesson ended as planned, else 1.

    With `keep`, and on a terminal, everything keeps running afterwards, until Ctrl-C.
    `speed` divides all times.
    """
    console = Console(soft_wrap=not sys.stdout.isatty())
    keep = keep or console.is_terminal
    signal.signal(signal.SIGTERM, _terminate)
    try:
        console.print("Starting Postgres, PostgREST and a simulated Mux ...")
        with LocalSupabase() as supabase, MuxSimulator() as mux:
            errors = _run(supabase, mux, console, keep=keep, speed=speed)
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. All processes and files are removed.")
        return INTERRUPTED
    return 1 if errors else 0


def _terminate(_number: int, _frame: Any) -> NoReturn:
    """Raise an exception, so that the worker and the stack are stopped."""
    raise SystemExit(128 + signal.SIGTERM)


def _run(
    supabase: LocalSupabase, mux: MuxSimulator, console: Console, *, keep: bool, speed: float
) -> list[str]:
    """Run the script and the worker; return a sentence for each error in the result."""
    with supabase.connect() as db, ExitStack() as running:
        titles = LessonTitles(db)
        screen: Screen = (LiveTable if console.is_terminal else PlainLines)(console, titles)
        worker = DemoWorker(worker_environment(supabase, mux, speed), screen)
        webhooks = MuxWebhooks(mux.state, worker.webhook_url, worker.webhook_secret)
        env_file = write_env_file(supabase.run_directory, worker.settings)
        script = running.enter_context(closing(Script(supabase, mux, webhooks, speed)))
        app = running.enter_context(SampleApp(supabase, mux, INSTRUCTORS))
        addresses = _addresses(app, worker, env_file)
        until = "" if keep else "  (until the demo ends; KEEP=1 keeps them running)\n"
        _print_text(console, f"\n{CAPTION}\n\n{addresses}\n{until}")
        with ExitStack() as working:
            working.callback(webhooks.stop)
            working.enter_context(worker)
            with screen:
                _run_script(script, screen, db, MAX_SECONDS / min(speed, 1))
                if not keep:
                    working.close()
            errors = _print_summary(script, db, console)
            if keep:
                worker.screen = PlainLines(console, titles)
                _print_text(console, _usage(supabase, addresses))
                _wait_for_interrupt(worker, console)
        return errors


def _run_script(script: Script, screen: Screen, db: psycopg.Connection, max_seconds: float) -> None:
    """Run the script until every lesson is settled, for at most `max_seconds`."""
    started_at = time.monotonic()
    while (seconds := time.monotonic() - started_at) < max_seconds:
        for message in script.run_due_steps(seconds):
            screen.show_step(message)
        rows = lesson_rows(script, db)
        screen.update(rows, "Mux is down" if script.mux_is_down else "")
        if script.is_finished and not any(row.tracking == "processing" for row in rows):
            return
        time.sleep(1 / REFRESHES_PER_SECOND)


def _print_summary(script: Script, db: psycopg.Connection, console: Console) -> list[str]:
    """Print how every lesson ended; return a sentence for each error."""
    console.print()
    console.print(lesson_table(lesson_rows(script, db)))
    console.print()
    errors = find_errors(script, db)
    for error in errors:
        console.print(error, style="red", highlight=False)
    if errors:
        return errors
    for lesson in script.lessons.values():
        if lesson.plan.note:
            console.print(f"“{lesson.plan.title}”: {lesson.plan.note}.", highlight=False)
    sources = ", ".join(f"{count} by {source}" for source, count in count_by_source(script, db))
    console.print(f"Published: {sources}.", highlight=False)
    console.print(f"All {len(script.lessons)} lessons ended as planned.", style="bold green")
    return []


def write_env_file(directory: Path, settings: Mapping[str, str]) -> Path:
    """Write the worker's settings into a file that only this user can read."""
    path = directory / ".env"
    lines = [f"{name}={value}\n" for name, value in settings.items()]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(lines)
    return path


def _addresses(app: SampleApp, worker: DemoWorker, env_file: Path) -> str:
    """Return the URLs of the pages, the worker's token, and a command that reads its settings."""
    command = Path(sys.executable).with_name("mux-worker")
    lines = (
        f"  Instructor's page   {app.url}",
        f"  Worker's dashboard  {worker.dashboard_url}",
        f"  OPS_TOKEN           {worker.ops_token}",
        "  (log in to the dashboard with your name and the OPS_TOKEN as password)",
        f"  Worker's settings   {env_file}",
        f"  Use them            {shlex.quote(str(command))} --env-file {env_file} status",
        *filter(None, [app.files.missing]),
    )
    return "\n".join(lines)


def _usage(supabase: LocalSupabase, addresses: str) -> str:
    """Return what keeps running, and how to use it."""
    return f"""
Everything keeps running until Ctrl-C. Upload a video on the instructor's page:

{addresses}
  Anon key            {supabase.anon_key}
  Database            psql '{supabase.dsn()}'
"""


def _print_text(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _wait_for_interrupt(worker: DemoWorker, console: Console) -> None:
    try:
        worker.wait()
    except KeyboardInterrupt:
        console.print("Stopping ...")
