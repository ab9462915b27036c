"""SIGTERM, SIGINT, SIGHUP: the first asks for a stop; one that takes too long is cut short."""

import asyncio
import os
import signal
import threading
import time
from types import FrameType

from worker.telemetry.logs import flush, get_logger

LAST_WORDS_SECONDS = 0.5
"""How long the log may take over the line that the process was ended; it may be what hangs."""

log = get_logger()


class Signals:
    """Turns SIGTERM, SIGINT and SIGHUP into a stop, once; if that takes too long, ends the process.

    The deadline is kept by a thread, and its start by Python's own handler, so that both also hold
    while the event loop is blocked, be it by a log that nobody reads.
    """

    def __init__(self, stopping: asyncio.Event, shutdown_seconds: float) -> None:
        self._stopping = stopping
        self._seconds = shutdown_seconds
        self._asked = threading.Event()
        self.received: str | None = None

    def listen(self) -> None:
        """Take over the signals, in the running loop."""
        threading.Thread(target=self._end_at_deadline, name="deadline", daemon=True).start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # by nohup, say
            # The loop is woken whichever thread the signal meets; its callback has to wait for it.
            loop.add_signal_handler(number, self._stopping.set)
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:  # Heroku may say it more than once
            self.received = signal.Signals(number).name
            self._asked.set()

    def _end_at_deadline(self) -> None:
        self._asked.wait()
        time.sleep(self._seconds)
        last_words = threading.Thread(target=self._say_forced, daemon=True)
        last_words.start()
        last_words.join(LAST_WORDS_SECONDS)
        os._exit(1)

    def _say_forced(self) -> None:
        log.error(
            "worker.stopped",
            signal=self.received,
            forced=True,
            message=f"Did not stop within {self._seconds:g} s. Rows that were claimed fall due "
            "again with their lease; nothing is half done.",
        )
        flush()
