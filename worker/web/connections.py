"""Accept connections, up to a limit that leaves file descriptors to the rest of the process."""

import asyncio
import resource
import socket
from typing import Any

from aiohttp import web

from worker.telemetry.logs import LogThrottle, get_logger

MAX_CONNECTIONS = 500
MIN_CONNECTIONS = 8
RESERVED_DESCRIPTORS = 64
"""Left to the rest of the process: connections to Mux and Supabase, lookups, imports."""

ACCEPT_RETRY_SECONDS = 1.0
CRASH_LOG_SECONDS = 60.0

LIMITS: dict[str, Any] = {
    "keepalive_timeout": 10.0,  # also the longest wait for the first request's head
    "lingering_time": 1.0,
    "max_line_size": 4096,
    "max_field_size": 4096,
    "max_headers": 64,
    "auto_decompress": False,  # Mux signs what it sends, and a compressed body may be a bomb
    "access_log": None,
}

log = get_logger()


def connection_limit() -> int:
    """Return how many connections may be open at a time, by the process's descriptor limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, limit - RESERVED_DESCRIPTORS))


class Connections:
    """Accepts connections up to the limit; further ones wait in the kernel's queue."""

    def __init__(self, server: web.Server, listener: socket.socket) -> None:
        self._server = server
        self._listener = listener
        self._free = asyncio.Semaphore(connection_limit())
        self._crashes = LogThrottle(CRASH_LOG_SECONDS)

    async def accept(self) -> None:
        """Accept connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._free.acquire()
            try:
                accepted, _ = await loop.sock_accept(self._listener)
                await loop.connect_accepted_socket(self._connection, accepted)
            except OSError as error:  # out of descriptors, for example
                self.release()
                self.log_crash(error)
                await asyncio.sleep(ACCEPT_RETRY_SECONDS)

    def _connection(self) -> "Connection":
        return Connection(self, self._server)

    def release(self) -> None:
        """Free the place of a connection that has ended."""
        self._free.release()

    def log_crash(self, error: BaseException | None) -> None:
        """Log an error of the server, which the response does not show."""
        if self._crashes.allow(type(error)):
            log.error("web.crashed", exc_info=error)


class Connection(web.RequestHandler):
    """A connection that frees its place when it ends, and whose error responses are one word."""

    __slots__ = ("_connections",)

    def __init__(self, connections: Connections, server: web.Server) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **LIMITS)
        self._connections = connections

    def connection_lost(self, exc: BaseException | None) -> None:
        """Free the place."""
        self._connections.release()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # it would quote the request
    ) -> web.StreamResponse:
        """Return the response to an unreadable request, or to a handler's exception."""
        if status >= 500 and not _is_utf8(request.headers.get("Expect", "")):
            status = 400  # aiohttp quotes the header in a 417, which fails
        if status >= 500:
            self._connections.log_crash(exc)
        # The application's hooks are not called here, and aiohttp would name its version.
        response = web.Response(
            status=status,
            text="bad request\n" if status < 500 else "failed\n",
            headers={"Server": "mux-worker"},
        )
        response.force_close()
        return response


def _is_utf8(header: str) -> bool:
    try:
        header.encode()
    except UnicodeEncodeError:
        return False
    return True
