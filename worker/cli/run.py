"""The command `run`: the daemon, with the HTTP server and the adoption beside it."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from worker import __version__
from worker.cli.command import Subparsers
from worker.cli.exit_codes import DONE, FAILED, WRONG_SCHEMA
from worker.errors import SchemaRefused, WorkerError

if TYPE_CHECKING:
    from worker.settings import Settings


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run until SIGTERM or SIGINT: the daemon",
        description="Run the daemon: scan for lessons whose video is ready and publish them, until "
        "SIGTERM, SIGINT or SIGHUP. With PORT it also serves webhooks, health and metrics, and "
        "with OPS_TOKEN the dashboard.",
        examples={
            "mux-worker run": "with the settings of the environment and .env",
            "PORT=8080 mux-worker run": "with the HTTP server",
        },
        uses_schema=True,
        exit_codes={0: "stopped by a signal", 1: "stopped by an error, which the log names"},
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> NoReturn:
    """Run the command."""
    import asyncio

    began = time.monotonic()
    with _without_rich():
        from worker.settings import Settings
        from worker.telemetry import logs
    settings = Settings.load(arguments.env_file)
    logs.configure(level=settings.log_level, form=settings.log_format, secrets=settings.secrets)
    asyncio.run(run_daemon(settings, began))


@contextmanager
def _without_rich() -> Iterator[None]:
    """Let `import rich` fail inside the block.

    structlog and httpx load it if it is installed, which takes time and memory at every start. The
    daemon has no use for it.
    """
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        yield
    finally:
        del sys.modules["rich"]


async def run_daemon(settings: "Settings", began: float) -> NoReturn:
    """Run until a signal or an error ends it, then end the process.

    The process ends from inside the event loop. Otherwise asyncio and Python would wait for threads
    that hang in a name lookup, a second signal would meet its default handler, and a broken
    standard output would change the exit status.
    """
    from worker.telemetry import logs

    code = DONE
    try:
        await _run(settings, began)
    except WorkerError as error:  # an operator has to act, for example PORT is in use
        logs.get_logger().error("worker.stopped", message=str(error))
        code = WRONG_SCHEMA if isinstance(error, SchemaRefused) else FAILED
    except Exception:  # noqa: BLE001  # a programming error: logged with its traceback
        logs.get_logger().exception("worker.crashed")
        code = FAILED  # the platform restarts the process
    logs.flush()
    os._exit(code)


async def _run(settings: "Settings", began: float) -> None:
    import asyncio

    from worker.shutdown import Signals
    from worker.telemetry import liveness, logs

    stopping = asyncio.Event()
    signals = Signals(stopping, settings.shutdown_seconds)
    signals.listen()  # before the slow imports, since a signal may come during them
    log = logs.get_logger()
    if settings.port is None and liveness.file_of(settings) is None:
        log.warning("worker.started", version=__version__, message=liveness.NO_DIRECTORY)
    else:
        log.info("worker.started", version=__version__)

    with _without_rich():
        from worker import app

    await app.run(settings, stopping)
    log.info("worker.stopped", signal=signals.received, seconds=round(time.monotonic() - began, 1))
