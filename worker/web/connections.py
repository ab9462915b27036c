"""Keep connections from using the process up: how many may be open, and for how long.

aiohttp has no limit on connections and none on the time that a request's head may take.
"""

import asyncio
import resource
import socket
from typing import Any

from aiohttp import web

from worker.telemetry.logs import LogThrottle, get_logger

MOST_CONNECTIONS = 500
FEWEST_CONNECTIONS = 8
KEPT_DESCRIPTORS = 64
"""Left to everything else of the process: connections to Mux and Supabase, lookups, imports."""

HEAD_WITHIN_SECONDS = 10.0
CLOSED_AFTER_SECONDS = 15.0
"""How long a connection lives after its last request began; an answer takes 10 s at the most."""

ACCEPT_AGAIN_AFTER_SECONDS = 1.0

LIMITS: dict[str, Any] = {
    "keepalive_timeout": 10.0,
    "lingering_time": 1.0,
    "max_line_size": 4096,
    "max_field_size": 4096,
    "max_headers": 64,
    "auto_decompress": False,  # what Mux signs is what it sends, and nobody sends us bombs
    "access_log": None,
}

log = get_logger()


def most_connections() -> int:
    """Return how many connections may be open at a time, by what this process may open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, limit - KEPT_DESCRIPTORS))


class Connections:
    """Accepts connections, up to a limit; what comes beyond it waits in the kernel's queue."""

    def __init__(self, server: web.Server, listening: socket.socket) -> None:
        self._server = server
        self._listening = listening
        self._places = asyncio.Semaphore(most_connections())
        self._crashes = LogThrottle(60)

    async def accept(self) -> None:
        """Accept connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            try:
                taken, _ = await loop.sock_accept(self._listening)
                await loop.connect_accepted_socket(self._protocol, taken)
            except OSError as error:  # out of descriptors, say
                self._places.release()
                self.crashed(error)
                await asyncio.sleep(ACCEPT_AGAIN_AFTER_SECONDS)

    def _protocol(self) -> "Connection":
        return Connection(self, self._server)

    def closed(self) -> None:
        """Note that a connection has ended."""
        self._places.release()

    def crashed(self, error: BaseException | None) -> None:
        """Log a fault of our own, which whoever asked learns nothing of."""
        if self._crashes.allow(type(error)):
            log.error("web.crashed", exc_info=error)


class Connection(web.RequestHandler):
    """A connection as aiohttp has it, with a time by which it is closed."""

    __slots__ = ("_connections", "_expiry", "_good_until")

    def __init__(self, connections: Connections, server: web.Server) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **LIMITS)
        self._connections = connections
        self._good_until = 0.0
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it begin, for a while."""
        super().connection_made(transport)
        self._good_until = self._loop.time() + HEAD_WITHIN_SECONDS
        self._expiry = self._loop.call_at(self._good_until, self._expire)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let it end."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._connections.closed()
        super().connection_lost(exc)

    def asked(self) -> None:
        """Note that the head of a request has come: it has some time for the rest."""
        self._good_until = self._loop.time() + CLOSED_AFTER_SECONDS

    def _expire(self) -> None:
        if self._loop.time() < self._good_until:
            self._expiry = self._loop.call_at(self._good_until, self._expire)
            return
        transport = self.transport
        self.force_close()
        if isinstance(transport, asyncio.Transport):
            transport.abort()  # whatever is still to be sent

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # what was wrong with it is of no use to anybody
    ) -> web.StreamResponse:
        """Answer what could not be read, or what we failed at, in one word."""
        if status >= 500:
            self._connections.crashed(exc)
        # aiohttp would name itself and its version: no hook of the application is called here.
        response = web.Response(
            status=status,
            text="bad request\n" if status < 500 else "failed\n",
            headers={"Server": "mux-worker"},
        )
        response.force_close()
        del request
        return response
