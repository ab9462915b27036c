"""The command `run`: the daemon, with the HTTP server and the adoption beside it."""

import asyncio
import os
import time
from typing import TYPE_CHECKING, NoReturn

from worker import __version__
from worker.errors import WorkerError
from worker.shutdown import Signals
from worker.telemetry import liveness, logs

if TYPE_CHECKING:
    from worker.settings import Settings


async def run_daemon(settings: "Settings", began: float) -> NoReturn:
    """Run until a signal or an error ends it, then end the process.

    The process ends from inside the event loop. Otherwise asyncio and Python would wait for threads
    that hang in a name lookup, a second signal would meet its default handler, and a broken
    standard output would change the exit status.
    """
    code = 0
    try:
        await _run(settings, began)
    except WorkerError as error:  # an operator's to mend, for example PORT in use
        logs.get_logger().error("worker.stopped", message=str(error))
        code = 1
    except Exception:  # noqa: BLE001  # a programming error: logged with its traceback
        logs.get_logger().exception("worker.crashed")
        code = 1  # the platform restarts the process
    logs.flush()
    os._exit(code)


async def _run(settings: "Settings", began: float) -> None:
    stopping = asyncio.Event()
    signals = Signals(stopping, settings.shutdown_seconds)
    signals.listen()  # before the slow imports, since a signal may come during them
    log = logs.get_logger()
    if settings.port is None and liveness.file_of(settings) is None:
        log.warning("worker.started", version=__version__, message=liveness.NO_DIRECTORY)
    else:
        log.info("worker.started", version=__version__)

    from worker import app

    await app.run(settings, stopping)
    log.info("worker.stopped", signal=signals.received, seconds=round(time.monotonic() - began, 1))
