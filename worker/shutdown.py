"""Turn SIGTERM, SIGINT and SIGHUP into a stop, and end the process if stopping takes too long."""

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType

from worker.telemetry.logs import flush, get_logger

FORCED_EXIT_LOG_SECONDS = 0.5
"""How long logging the forced exit may take, before the deadline; the log may be what hangs."""

log = get_logger()


async def sleep_unless_stopping(seconds: float, stopping: asyncio.Event) -> None:
    """Sleep for `seconds`, or until `stopping` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


class Signals:
    """Set `stopping` at the first SIGTERM, SIGINT or SIGHUP; end the process at the deadline.

    A thread keeps the deadline, and Python's own signal handler starts it, so that both also work
    while the event loop is blocked, for example by a full log pipe.
    """

    def __init__(self, stopping: asyncio.Event, shutdown_seconds: float) -> None:
        self._stopping = stopping
        self._seconds = shutdown_seconds
        self._is_received = threading.Event()
        self.received: str | None = None

    def listen(self) -> None:
        """Handle the signals from now on, in the running loop."""
        threading.Thread(target=self._exit_at_deadline, name="deadline", daemon=True).start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup ignores SIGHUP
            # The loop wakes in any case; its callback has to wait until the loop runs.
            loop.add_signal_handler(number, self._stopping.set)
            signal.signal(number, self._record)

    def _record(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:  # Heroku may send it more than once
            self.received = signal.Signals(number).name
            self._is_received.set()

    def _exit_at_deadline(self) -> None:
        self._is_received.wait()
        log_seconds = min(FORCED_EXIT_LOG_SECONDS, self._seconds / 2)
        time.sleep(self._seconds - log_seconds)
        logging = threading.Thread(target=self._log_forced_exit, daemon=True)
        logging.start()
        logging.join(log_seconds)
        os._exit(1)

    def _log_forced_exit(self) -> None:
        log.error(
            "worker.stopped",
            signal=self.received,
            forced=True,
            message=f"The worker did not stop within {self._seconds:g} s. Claimed rows fall due "
            "again when their lease ends; no change is incomplete.",
        )
        flush()
