"""Inject faults into any route of the sandbox's servers.

`Faults.middleware` runs before an app's handlers. Tests and the demo add faults from their own
thread while the server runs in another.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

FaultKind = Literal["answer", "hang", "reset", "cut", "truncate", "trickle", "drop_reply", "delay"]
Match = Callable[[web.Request], bool]

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a request, after `delay_seconds`.

    * `answer`: answer with `status`, `body` and `headers`; the handler never runs.
    * `hang`: send no response until the client or the server closes the connection.
    * `reset`: reset the connection (RST); the handler never runs.
    * `cut`: run the handler, and reset the connection when `after_bytes` of the request have come.
    * `truncate`: run the handler and send half of its response's body.
    * `trickle`: send `status` and `headers` at once, then the body byte by byte, without an end.
    * `drop_reply`: run the handler, then reset the connection: a response lost after the commit.
    * `delay`: run the handler and send its response.

    `before_reset` is called in the server's thread just before the connection is reset.
    """

    kind: FaultKind
    status: int = 500
    body: str | bytes = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    before_reset: Callable[[], None] = lambda: None
    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """One request that a fault was injected into."""

    method: str
    path: str
    kind: FaultKind


@dataclass(slots=True)
class _Rule:
    fault: Fault
    method: str
    path: str
    remaining: int | None
    match: Match | None

    def applies_to(self, request: web.Request) -> bool:
        return (
            self.remaining != 0
            and self.method in ("*", request.method)
            and fnmatchcase(request.path, self.path)
            and (self.match is None or self.match(request))
        )


def is_connected(request: web.Request) -> bool:
    """Whether the client's connection is still open; a fault may have closed it."""
    return request.transport is not None and not request.transport.is_closing()


class Faults:
    """The faults of one server; safe to change from any thread."""

    def __init__(self) -> None:
        """Start without faults."""
        self._changed = threading.Condition()
        self._rules: list[_Rule] = []
        self._hits: list[Hit] = []
        self.middleware = self._middleware()

    def add(
        self,
        fault: Fault,
        *,
        method: str = "*",
        path: str = "*",
        times: int | None = None,
        match: Match | None = None,
    ) -> None:
        """Inject `fault` into the requests that match; of several faults the oldest applies.

        `path` is a pattern as in `fnmatch`, without the query; `times` limits how often the fault
        applies (None: until `clear`); `match` decides by the request itself.
        """
        with self._changed:
            self._rules.append(_Rule(fault, method.upper(), path, times, match))

    def clear(self) -> None:
        """Remove all faults. The hits stay recorded; a request that hangs keeps hanging."""
        with self._changed:
            self._rules.clear()

    @property
    def hits(self) -> tuple[Hit, ...]:
        """Return the hits so far, oldest first."""
        with self._changed:
            return tuple(self._hits)

    def wait_for_hits(self, count: int, timeout_seconds: float = 60.0) -> None:
        """Block until at least `count` requests were hit; raise `TimeoutError` if they are not."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._hits) >= count, timeout_seconds):
                raise TimeoutError(f"{len(self._hits)} of {count} faults in {timeout_seconds} s")

    def _next_fault(self, request: web.Request) -> Fault | None:
        with self._changed:
            rule = next((r for r in self._rules if r.applies_to(request)), None)
            if rule is None:
                return None
            if rule.remaining is not None:
                rule.remaining -= 1
            self._hits.append(Hit(request.method, request.path, rule.fault.kind))
            self._changed.notify_all()
            return rule.fault

    def _middleware(self) -> Middleware:
        # `web.middleware` sets an attribute on the function, which a bound method does not allow.
        @web.middleware
        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            fault = self._next_fault(request)
            if fault is None:
                return await handler(request)
            await asyncio.sleep(fault.delay_seconds)
            return await _apply(fault, request, handler)

        return intercept


async def _apply(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    response: web.StreamResponse
    match fault.kind:
        case "answer":
            response = _answer(fault)
        case "hang":
            response = await _hang(request)
        case "reset":
            response = await _reset(request, fault)
        case "cut":
            response = await _cut(request, handler, fault.after_bytes)
        case "truncate":
            response = await _truncate(request, fault, await _handler_response(request, handler))
        case "delay":
            response = await _handler_response(request, handler)
        case "trickle":
            response = await _trickle(request, fault)
        case "drop_reply":
            await _handler_response(request, handler)
            response = await _reset(request, fault)
    return response


def _bytes_of(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _answer(fault: Fault) -> web.Response:
    headers = {"Content-Type": fault.content_type, **fault.headers}
    return web.Response(status=fault.status, body=_bytes_of(fault.body), headers=headers)


async def _hang(request: web.Request) -> web.Response:
    # aiohttp clears the transport when the client disconnects, and has no event for it.
    while request.transport is not None:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)
    return web.Response()


async def _reset(request: web.Request, fault: Fault) -> web.Response:
    # After the whole request is read, the client sees the reset while it waits for the response.
    # A client that still writes may take it for an ordinary end of the connection.
    await request.read()
    fault.before_reset()
    _reset_connection(request)
    return web.Response()  # aiohttp requires a response, which reaches no client


async def _cut(request: web.Request, handler: Handler, after_bytes: int) -> web.Response:
    handling = asyncio.ensure_future(handler(request))
    # aiohttp counts the bytes, and has no event for them.
    while request.content.total_bytes < after_bytes and not handling.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    _reset_connection(request)
    await asyncio.wait([handling])
    handling.exception()  # that the connection was lost; seen, so that asyncio does not report it
    return web.Response()


def _reset_connection(request: web.Request) -> None:
    if request.transport is not None:
        # With a linger of zero seconds the kernel sends RST instead of FIN.
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()


async def _handler_response(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as response:
        return response


async def _truncate(
    request: web.Request, fault: Fault, response: web.StreamResponse
) -> web.StreamResponse:
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes | bytearray) or not body:
        return await _reset(request, fault)  # there is no body to cut
    cut = web.StreamResponse(status=response.status, headers=response.headers)
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(bytes(body[: len(body) // 2]))
    if request.transport is not None:
        request.transport.close()
    return cut


async def _trickle(request: web.Request, fault: Fault) -> web.StreamResponse:
    headers = {"Content-Type": fault.content_type, **fault.headers}
    response = web.StreamResponse(status=fault.status, headers=headers)
    await response.prepare(request)
    body = _bytes_of(fault.body) or b" "
    while request.transport is not None:
        for byte in body:
            with suppress(ConnectionError):  # the client disconnected; the loop ends
                await response.write(bytes((byte,)))
            await asyncio.sleep(_POLL_SECONDS)
    return response
