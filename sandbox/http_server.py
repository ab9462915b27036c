"""Serve an aiohttp app on a loopback port, in its own thread.

The event loop runs in that thread, so synchronous and asynchronous callers can use the server, and
a caller that blocks does not block the server.
"""

import asyncio
import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Self

from aiohttp import web

HOST = "127.0.0.1"
THREAD_NAME = "sandbox-server"
_PORTS = range(20_000, 28_000)
"""Of these servers, below those that a system chooses from, for servers and for clients."""

_FREE_PORTS = range(28_000, 32_000)
"""Of other programs, which listen some time after they are given their port."""

_NO_PORT = "20 ports between {} and {} are all taken"

_START_TIMEOUT_SECONDS = 30.0
_SHUTDOWN_TIMEOUT_SECONDS = 0.5
_STOP_TIMEOUT_SECONDS = 30.0


def free_port() -> int:
    """Return a port that is free, and that no other program is given before it is used."""
    for port in _some_of(_FREE_PORTS):
        with suppress(OSError), socket.create_server((HOST, port)):  # taken
            return port
    raise OSError(_NO_PORT.format(_FREE_PORTS[0], _FREE_PORTS[-1]))


def _some_of(ports: range) -> list[int]:
    return random.SystemRandom().sample(ports, 20)


class Server:
    """Run the app that the factory `app` returns; it is called in the server's event loop."""

    def __init__(self, app: Callable[[], web.Application], *, port: int = 0) -> None:
        """Prepare a server on a loopback `port`; with 0 it chooses a free one."""
        self._app = app
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def port(self) -> int:
        """Return the port; it stays the same when a stopped server starts again."""
        if not self._port:
            raise RuntimeError("The server has no port before its first start.")
        return self._port

    @property
    def url(self) -> str:
        """Return the URL, without a trailing slash."""
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the server's thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the server and wait until it accepts connections; do nothing when it runs.

        Raises the exception of the app's factory or startup, `OSError` when the port is in use, and
        `TimeoutError` after half a minute.
        """
        if self.running:
            return
        ready: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name=THREAD_NAME, daemon=True
        )
        self._thread.start()
        self._port = ready.result(timeout=_START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Close every connection, also those with hanging requests, and join the thread.

        Does nothing when not running. Raises `TimeoutError` when the thread does not end.
        """
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None:
            return
        if loop is not None and stopping is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)
        thread.join(_STOP_TIMEOUT_SECONDS)
        if thread.is_alive():
            raise TimeoutError(
                f"the server at {self.url} did not stop in {_STOP_TIMEOUT_SECONDS:.0f} s"
            )
        self._thread = self._loop = self._stopping = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self, ready: Future[int]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            # Raised by start(), in its caller's thread.
            ready.set_exception(error)

    async def _serve(self, ready: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        runner = web.AppRunner(
            self._app(), access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT_SECONDS
        )
        try:
            await runner.setup()
            await self._listen(runner)
            ready.set_result(int(runner.addresses[0][1]))
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> None:
        """Listen on the port, or on one that no other program is given while this is stopped."""
        if self._port:
            await web.TCPSite(runner, HOST, self._port).start()
            return
        for port in _some_of(_PORTS):
            with suppress(OSError):  # taken
                await web.TCPSite(runner, HOST, port).start()
                return
        raise OSError(_NO_PORT.format(_PORTS[0], _PORTS[-1]))
