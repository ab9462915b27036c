"""Serve an aiohttp app on a loopback port from a thread of its own.

The event loop lives in that thread, so tests and the demo can use the server whether they are
synchronous or not, and a caller that blocks never blocks its own server.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from aiohttp import web

HOST = "127.0.0.1"
_START_SECONDS = 10.0
_HANGING_REQUEST_SECONDS = 0.5
_STOP_SECONDS = 10.0


def free_port() -> int:
    """Find a port of this machine that is free now."""
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


class Server:
    """Run the app that `app` builds; the factory is called in the server's own event loop."""

    def __init__(self, app: Callable[[], web.Application], *, port: int = 0) -> None:
        """Prepare a server on `port` of the loopback; 0 lets the kernel choose a free one."""
        self._app = app
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def port(self) -> int:
        """Give the port; it stays the same when a stopped server starts again."""
        if not self._port:
            raise RuntimeError("the server has no port before its first start")
        return self._port

    @property
    def url(self) -> str:
        """Give the address, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Tell whether the server's thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Return once connections are accepted; do nothing when already running.

        Raises what the app's factory or its startup raised, `OSError` when the port is taken, and
        `TimeoutError` after ten seconds.
        """
        if self.running:
            return
        ready: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="local-server", daemon=True
        )
        self._thread.start()
        self._port = ready.result(timeout=_START_SECONDS)

    def stop(self) -> None:
        """Close every connection, cutting hanging requests off, and join the thread.

        Does nothing when not running. Raises `TimeoutError` when the thread does not end.
        """
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None:
            return
        if loop is not None and stopping is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)
        thread.join(_STOP_SECONDS)
        if thread.is_alive():
            raise TimeoutError(f"the server at {self.url} did not stop in {_STOP_SECONDS:.0f} s")
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
            # Handed to the thread that called start(), which raises it there.
            ready.set_exception(error)

    async def _serve(self, ready: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        runner = web.AppRunner(
            self._app(), access_log=None, shutdown_timeout=_HANGING_REQUEST_SECONDS
        )
        try:
            await runner.setup()
            await web.TCPSite(runner, HOST, self._port).start()
            ready.set_result(int(runner.addresses[0][1]))
            await self._stopping.wait()
        finally:
            await runner.cleanup()
