"""Cause faults on demand, for any route of any of our servers.

`Faults.middleware` stands in front of an app's handlers. Tests and the demo add faults from their
own thread while the server runs in another.
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

FaultKind = Literal["answer", "hang", "reset", "truncate", "trickle", "drop_reply"]
Match = Callable[[web.Request], bool]

_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Fault:
    """Describe what goes wrong, after `delay_seconds`.

    * `answer`: `status`, `body` and `headers` in place of the real reply.
    * `hang`: no answer at all, until the client or the server gives up.
    * `reset`: the connection is reset (RST); the handler never runs.
    * `truncate`: the handler runs, and half of its reply's body arrives.
    * `trickle`: `status` and `headers` at once, then the body a byte at a time, for ever.
    * `drop_reply`: the handler runs, then the connection is reset: a reply lost after commit.
    """

    kind: FaultKind
    status: int = 500
    body: str | bytes = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Hit:
    """Record one request that met a fault."""

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


def can_answer(request: web.Request) -> bool:
    """Tell whether the client's connection is still there; a fault may have broken it."""
    return request.transport is not None and not request.transport.is_closing()


class Faults:
    """Hold the faults of one server; safe to change from any thread."""

    def __init__(self) -> None:
        """Begin with no faults."""
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
        """Meet the requests that fit with `fault`; of several that fit, the oldest acts.

        `path` is a pattern as in `fnmatch`, without the query; `times` is how often the fault
        acts before it is used up (None: until `clear`); `match` looks at the request itself.
        """
        with self._changed:
            self._rules.append(_Rule(fault, method.upper(), path, times, match))

    def clear(self) -> None:
        """Take all faults away. What was hit stays recorded; a request that hangs, hangs on."""
        with self._changed:
            self._rules.clear()

    @property
    def hits(self) -> tuple[Hit, ...]:
        """Give what was hit so far, oldest first."""
        with self._changed:
            return tuple(self._hits)

    def wait_for_hits(self, number: int, timeout_seconds: float = 30.0) -> None:
        """Block until at least `number` requests were hit; raise `TimeoutError` if they are not."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._hits) >= number, timeout_seconds):
                raise TimeoutError(f"{len(self._hits)} of {number} faults in {timeout_seconds} s")

    def _take(self, request: web.Request) -> Fault | None:
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
        # aiohttp marks the function that it is given, which a bound method does not allow.
        @web.middleware
        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            fault = self._take(request)
            if fault is None:
                return await handler(request)
            await asyncio.sleep(fault.delay_seconds)
            return await _act(fault, request, handler)

        return intercept


async def _act(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    match fault.kind:
        case "answer":
            return _answer(fault)
        case "hang":
            return await _hang(request)
        case "reset":
            return await _reset(request)
        case "truncate":
            return await _truncate(request, await _real_reply(request, handler))
        case "trickle":
            return await _trickle(request, fault)
        case "drop_reply":
            await _real_reply(request, handler)
            return await _reset(request)


def _bytes_of(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _answer(fault: Fault) -> web.Response:
    headers = {"Content-Type": fault.content_type, **fault.headers}
    return web.Response(status=fault.status, body=_bytes_of(fault.body), headers=headers)


async def _hang(request: web.Request) -> web.Response:
    # aiohttp takes the transport away when the client has gone, and has no event that says so.
    while request.transport is not None:  # noqa: ASYNC110
        await asyncio.sleep(_PAUSE_SECONDS)
    return web.Response()


async def _reset(request: web.Request) -> web.Response:
    # Once the request has come in whole, the client meets the reset while it reads. One that still
    # writes may take it for an ordinary end of the connection.
    await request.read()
    if request.transport is not None:
        # Closing with a linger of zero seconds makes the kernel send RST in place of FIN.
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()  # aiohttp wants something to send; there is nobody to send it to


async def _real_reply(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as reply:
        return reply


async def _truncate(request: web.Request, reply: web.StreamResponse) -> web.StreamResponse:
    body = reply.body if isinstance(reply, web.Response) else None
    if not isinstance(body, bytes | bytearray) or not body:
        return await _reset(request)  # without a body of bytes there is no middle to cut at
    cut = web.StreamResponse(status=reply.status, headers=reply.headers)
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(bytes(body[: len(body) // 2]))
    if request.transport is not None:
        request.transport.close()
    return cut


async def _trickle(request: web.Request, fault: Fault) -> web.StreamResponse:
    headers = {"Content-Type": fault.content_type, **fault.headers}
    reply = web.StreamResponse(status=fault.status, headers=headers)
    await reply.prepare(request)
    body = _bytes_of(fault.body) or b" "
    while request.transport is not None:
        for byte in body:
            with suppress(ConnectionError):  # the client has gone; the loop ends by itself
                await reply.write(bytes((byte,)))
            await asyncio.sleep(_PAUSE_SECONDS)
    return reply
