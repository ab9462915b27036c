"""The command `run`: the daemon, and what works and answers beside it."""

import argparse
import os
import time
from typing import TYPE_CHECKING, NoReturn

from worker import __version__
from worker.cli.command import Subparsers
from worker.errors import WorkerError

if TYPE_CHECKING:
    from worker.settings import Settings


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("run", help="run until SIGTERM or SIGINT: the daemon")
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> NoReturn:
    """Run the command."""
    import asyncio

    from worker.settings import Settings
    from worker.telemetry import logs

    began = time.monotonic()
    settings = Settings.load()
    logs.configure(level=settings.log_level, form=settings.log_format, secrets=settings.secrets)
    asyncio.run(work_until_the_end(settings, began))


async def work_until_the_end(settings: "Settings", began: float) -> NoReturn:
    """Work until a signal or a fault of our own ends it, then end the process.

    From inside the loop, without leaving it: asyncio and Python would wait for threads that hang
    in a name lookup, a second signal would meet its default handler, and a broken standard output
    would change the exit status.
    """
    from worker.telemetry import logs

    code = 0
    try:
        await _work(settings, began)
    except WorkerError as error:  # no fault of ours: PORT is in use, say
        logs.get_logger().error("worker.stopped", message=str(error))
        code = 1
    except Exception:  # noqa: BLE001  # told with its traceback, and it ends the process
        # A fault of our own ends the process: its platform restarts it, and hiding it helps nobody.
        logs.get_logger().exception("worker.crashed")
        code = 1
    logs.flush()
    os._exit(code)


async def _work(settings: "Settings", began: float) -> None:
    import asyncio

    from worker.shutdown import Signals
    from worker.telemetry import liveness, logs

    stopping = asyncio.Event()
    signals = Signals(stopping, settings.shutdown_seconds)
    signals.listen()  # before the large imports, in the middle of which a signal may come
    log = logs.get_logger()
    if settings.port is None and liveness.file_of(settings) is None:
        log.warning("worker.started", version=__version__, message=liveness.NO_DIRECTORY)
    else:
        log.info("worker.started", version=__version__)

    from worker.app import bulk_mux, parts
    from worker.daemon.adoption import Adopter, Adoption
    from worker.daemon.loop import Daemon
    from worker.daemon.retention import Retention
    from worker.monitoring import watch_for, watched
    from worker.supabase.lessons import Books

    watch = watch_for(settings)
    async with parts(settings, stopping, watch) as (mux, store, reconciler):
        books = Books(store.call)
        adopter = Adopter(bulk_mux(settings, stopping, store, watch), books)
        daemon = Daemon(
            mux,
            store,
            reconciler.scan,
            interval_seconds=settings.scan_interval_seconds,
            shutdown_seconds=settings.shutdown_seconds,
            stopping=stopping,
        )
        async with (
            Adoption(adopter, books, settings, stopping).beside(),
            watched(settings, watch, daemon, reconciler, (mux, store)),
        ):
            await daemon.run(Retention(store, settings.event_retention_days))
    log.info("worker.stopped", signal=signals.received, seconds=round(time.monotonic() - began, 1))
