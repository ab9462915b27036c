"""Answer 503 from a thread for as long as the event loop hangs: it cannot say so itself."""

import asyncio
import select
import socket
import threading
import time
from contextlib import suppress

HANGS_AFTER_SECONDS = 2.0
LOOK_EVERY_SECONDS = 0.5
REQUEST_WITHIN_SECONDS = 0.2

_BODY = b'{"status": "failing", "reason": "the event loop hangs"}'
_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_BODY), _BODY)
)


class StandIn:
    """Watches the event loop, and takes its place at the listening socket when it hangs.

    New connections only: those that the loop has accepted hang with it. A webhook that is answered
    here comes again.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._ticked_at = time.monotonic()
        self._stopping = threading.Event()
        self._ticking: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._watch, name="stand-in", daemon=True)

    def start(self) -> None:
        """Begin, in the running loop."""
        self._ticking = asyncio.create_task(self._tick())
        self._thread.start()

    async def stop(self) -> None:
        """Stop answering."""
        self._stopping.set()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    @property
    def _hangs(self) -> bool:
        return time.monotonic() - self._ticked_at > HANGS_AFTER_SECONDS

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_SECONDS):
            while self._hangs and not self._stopping.is_set():
                with suppress(OSError, ValueError):  # the socket may be closed under us
                    self._answer_next()

    def _answer_next(self) -> None:
        if not select.select([self._listening], [], [], LOOK_EVERY_SECONDS)[0]:
            return
        connection, _ = self._listening.accept()
        with connection:
            connection.settimeout(REQUEST_WITHIN_SECONDS)
            with suppress(TimeoutError):
                connection.recv(4096)
            connection.sendall(_ANSWER)
            connection.shutdown(socket.SHUT_WR)
