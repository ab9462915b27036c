"""Keep connections from using the server up: how many may be open, for how long, and saying what.

aiohttp has no limit on connections and none on the time that a request's head may take.
"""

import asyncio
from typing import Any, Literal

from aiohttp import web

from worker.logs import Sparingly, get_logger

MOST_CONNECTIONS = 500
HEAD_WITHIN_SECONDS = 10.0
CLOSED_AFTER_SECONDS = 15.0
"""How long a connection lives after its last request began; an answer takes 10 s at the most."""

LIMITS: dict[str, Any] = {
    "keepalive_timeout": 10.0,
    "lingering_time": 1.0,
    "max_line_size": 4096,
    "max_field_size": 4096,
    "max_headers": 64,
    "auto_decompress": False,  # what Mux signs is what it sends, and nobody sends us bombs
    "access_log": None,
}

Doing = Literal["silent", "asking", "answered"]

log = get_logger()


class Connections:
    """The open connections of a server; makes room by closing the oldest that asks nothing.

    First of those that never asked anything, then of those that have their answer.
    """

    def __init__(self, server: web.Server, most: int = MOST_CONNECTIONS) -> None:
        self._server = server
        self._most = most
        self._open: dict[Connection, Doing] = {}
        """In the order in which each began what it does."""

        self._crashes = Sparingly(60)

    def protocol(self) -> "Connection":
        """Make the protocol of a new connection."""
        return Connection(self, self._server)

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def opened(self, connection: "Connection") -> None:
        """Take a new connection in, if there is room or can be made."""
        if self.count >= self._most:
            oldest = self._oldest("silent") or self._oldest("answered") or connection
            oldest.end()
            if oldest is connection:
                return
            self.closed(oldest)
        self._open[connection] = "silent"

    def asked(self, connection: "Connection") -> None:
        """Note that a connection has sent the head of a request."""
        self._note(connection, "asking")

    def answered(self, connection: "Connection") -> None:
        """Note that a connection has its answer, or is about to."""
        self._note(connection, "answered")

    def closed(self, connection: "Connection") -> None:
        """Forget a connection."""
        self._open.pop(connection, None)

    def _oldest(self, doing: Doing) -> "Connection | None":
        return next((one for one, does in self._open.items() if does == doing), None)

    def _note(self, connection: "Connection", doing: Doing) -> None:
        if self._open.pop(connection, None) is not None:
            self._open[connection] = doing

    def crashed(self, error: BaseException | None) -> None:
        """Tell of a fault of our own, which the one who asked is told nothing of."""
        if self._crashes.may_say(type(error)):
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
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let it end."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._connections.closed(self)
        super().connection_lost(exc)

    def asked(self) -> None:
        """Note that the head of a request has come: it has some time for the rest."""
        self._good_until = self._loop.time() + CLOSED_AFTER_SECONDS
        self._connections.asked(self)

    def answered(self) -> None:
        """Note that the request has its answer."""
        self._connections.answered(self)

    def end(self) -> None:
        """Close it at once, whatever is still to be sent."""
        transport = self.transport
        self.force_close()
        if isinstance(transport, asyncio.Transport):
            transport.abort()

    def _expire(self) -> None:
        if self._loop.time() >= self._good_until:
            self.end()
        else:
            self._expiry = self._loop.call_at(self._good_until, self._expire)

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
        response = Plain(status=status, text="bad request\n" if status < 500 else "failed\n")
        response.force_close()
        del request
        return response


class Plain(web.Response):
    """A response that does not say what made it."""

    async def _prepare_headers(self) -> None:
        # aiohttp's own; its public hook is not called for requests that it cannot read.
        await super()._prepare_headers()
        self.headers.popall("Server", None)
