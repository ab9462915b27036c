"""The command line: reads the settings, puts the parts together, runs one command."""

import argparse
import asyncio
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

from worker import __version__
from worker.errors import SettingsError, WorkerError

if TYPE_CHECKING:
    from worker.mux import Mux
    from worker.reconcile import Reconciler
    from worker.settings import Settings
    from worker.store import Store
    from worker.watch import Watch

DONE, FAILED, WRONG_USE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 1 failed, 2 wrong use or wrong settings."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
    except SettingsError as error:
        print(error, file=sys.stderr)
        code = WRONG_USE
    except WorkerError as error:
        print(error, file=sys.stderr)
        code = FAILED
    except KeyboardInterrupt:
        code = FAILED
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mux-worker",
        description="Publishes Supabase lessons the moment their Mux video can be played.",
        epilog="Settings come from the environment or .env; .env.example lists them all.",
    )
    parser.add_argument("--version", action="version", version=f"mux-worker {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run until SIGTERM or SIGINT: the daemon")
    run.set_defaults(command=_run)
    scan = commands.add_parser("scan", help="do one pass over everything that is due, then exit")
    scan.set_defaults(command=_scan)
    doctor = commands.add_parser(
        "doctor", help="check whether everything is in place, and say what to do where it is not"
    )
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.set_defaults(command=_doctor)
    health = commands.add_parser("health", help="ask the worker of this machine whether it is well")
    health.set_defaults(command=_health)
    demo = commands.add_parser(
        "demo", help="watch the worker publish lessons on a Supabase and a Mux of this machine"
    )
    demo.add_argument("--keep", action="store_true", help="leave the stack running at the end")
    demo.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="play N times as fast (0.5 to 5)"
    )
    demo.set_defaults(command=_demo)
    return parser


def _speed(text: str) -> float:
    speed = float(text)
    if not 0.5 <= speed <= 5:
        raise argparse.ArgumentTypeError("must be from 0.5 to 5")
    return speed


def _run(_arguments: argparse.Namespace) -> NoReturn:
    from worker import logs
    from worker.settings import Settings

    began = time.monotonic()
    settings = Settings.load()
    logs.configure(level=settings.log_level, form=settings.log_format, secrets=settings.secrets)
    asyncio.run(_work_until_the_end(settings, began))


async def _work_until_the_end(settings: "Settings", began: float) -> NoReturn:
    """Work until a signal or a fault of our own ends it, then end the process.

    From inside the loop, without leaving it: asyncio and Python would wait for threads that hang
    in a name lookup, a second signal would meet its default handler, and a broken standard output
    would change the exit status.
    """
    from worker import logs

    code = DONE
    try:
        await _work(settings, began)
    except WorkerError as error:
        logs.get_logger().error("worker.crashed", message=str(error))
        code = FAILED
    except Exception:  # noqa: BLE001  # told with its traceback, and it ends the process
        # A fault of our own ends the process: its platform restarts it, and hiding it helps nobody.
        logs.get_logger().exception("worker.crashed")
        code = FAILED
    logs.flush()
    os._exit(code)


async def _work(settings: "Settings", began: float) -> None:
    from worker.logs import get_logger
    from worker.signals import Signals

    stopping = asyncio.Event()
    signals = Signals(stopping, settings.shutdown_seconds)
    signals.listen()  # before the large imports, in the middle of which a signal may come
    log = get_logger()
    log.info("worker.started", version=__version__)

    from worker.daemon import Daemon
    from worker.retention import Retention
    from worker.watching import watch_for, watched

    watch = watch_for(settings)
    async with _parts(settings, stopping, watch) as (mux, store, reconciler):
        daemon = Daemon(
            mux,
            store,
            reconciler.scan,
            interval_seconds=settings.scan_interval_seconds,
            shutdown_seconds=settings.shutdown_seconds,
            stopping=stopping,
        )
        async with watched(settings, watch, daemon, reconciler, (mux, store)):
            await daemon.run(Retention(store, settings.event_retention_days))
    log.info("worker.stopped", signal=signals.received, seconds=round(time.monotonic() - began, 1))


def _scan(_arguments: argparse.Namespace) -> int:
    from worker import logs
    from worker.settings import Settings

    settings = Settings.load()
    logs.configure(
        level=settings.log_level,
        form=settings.log_format,
        secrets=settings.secrets,
        stream=sys.stderr,
    )
    return asyncio.run(_scan_everything(settings))


async def _scan_everything(settings: "Settings") -> int:
    """Scan until nothing more is due, and print what came of it."""
    from collections import Counter

    from worker.signals import Signals

    stopping = asyncio.Event()
    Signals(stopping, settings.shutdown_seconds).listen()
    outcomes: Counter[str] = Counter()
    claimed = released = 0
    left_to_others = False
    async with _parts(settings, stopping) as (_, store, reconciler):
        await store.check_schema()
        while not stopping.is_set():
            report = await reconciler.scan()
            outcomes += report.outcomes
            claimed += report.claimed + report.unasked
            released += report.released
            left_to_others = report.left_to_others
            if not report.is_full:
                break
        summary = await store.summary()
    done = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())) or "nothing due"
    print(f"Looked at {claimed} rows: {done}.")
    if left_to_others:
        print("Another worker is working off what is due.")
    print(
        f"Now {summary['processing']} processing ({summary['due']} due, {summary['stuck']} stuck), "
        f"{summary['error']} failed."
    )
    return FAILED if released or outcomes["refused"] else DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from worker import logs
    from worker.settings import Settings

    settings = Settings.load()
    logs.configure(level="error", secrets=settings.secrets, stream=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what Mux calls its environment may be any text
    return asyncio.run(_examine(settings, as_json=arguments.json))


def _health(_arguments: argparse.Namespace) -> int:
    from worker.checkup import fault_of
    from worker.settings import Settings

    fault = fault_of(Settings.load())
    print(fault or "ok")
    return DONE if fault is None else FAILED


async def _examine(settings: "Settings", *, as_json: bool) -> int:
    from worker.doctor import examine
    from worker.printing import as_lines, summed_up

    checks = []
    async with _parts(settings, asyncio.Event(), alone=True) as (mux, store, _):
        async for check in examine(settings, mux, store):
            checks.append(check)
            if not as_json:
                print(as_lines(check), flush=True)
    print(
        json.dumps([asdict(check) for check in checks], indent=2) if as_json else summed_up(checks)
    )
    return FAILED if any(check.health == "failed" for check in checks) else DONE


@asynccontextmanager
async def _parts(
    settings: "Settings",
    stopping: asyncio.Event,
    watch: "Watch | None" = None,
    *,
    alone: bool = False,
) -> AsyncIterator["tuple[Mux, Store, Reconciler]"]:
    """Put the worker's parts together; alone, it asks Mux without agreeing with other workers."""
    from worker.decide import Rules
    from worker.mux import Mux
    from worker.pace import OwnBudget, Pace
    from worker.reconcile import Batching, Reconciler
    from worker.report import Reporter
    from worker.store import Store

    store = await Store.connect(settings, stopping, watch)
    pace = Pace(settings.mux_requests_per_second, OwnBudget() if alone else store)
    mux = Mux(settings, stopping, pace, watch)
    reconciler = Reconciler(
        mux,
        store,
        batching=Batching.within(
            settings.scan_batch_size, settings.lease_seconds, settings.mux_requests_per_second
        ),
        rules=Rules(settings.playback_policies, settings.give_up_after_seconds),
        stopping=stopping,
        reporter=Reporter(watch),
    )
    try:
        yield mux, store, reconciler
    finally:
        await store.close()


def _demo(arguments: argparse.Namespace) -> int:
    try:
        from worker.local.demo import demo
    except ModuleNotFoundError as error:
        raise WorkerError(f"The demo needs {error.name}: run `make demo` in a checkout.") from error
    return demo(keep=arguments.keep, speed=arguments.speed)
