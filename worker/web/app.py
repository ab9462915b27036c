"""The HTTP server: which routes there are, and how it begins and ends."""

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from worker.errors import WorkerError
from worker.telemetry.metrics import Metrics
from worker.web.connections import Connection, Connections
from worker.web.health import Health
from worker.web.metrics import Numbers
from worker.web.stand_in import StandIn
from worker.web.webhooks.handler import Webhook

BACKLOG = 512
MOST_FORM_BYTES = 16 * 1024
"""The most of a form; webhooks have a limit of their own."""

FINISH_WITHIN_SECONDS = 5.0
"""How long requests under way may take once the worker stops; a webhook takes 4 s at the most."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers what; without a webhook secret there is nobody to answer webhooks."""

    health: Health
    metrics: Metrics
    numbers: Numbers
    webhook: Webhook | None
    ops_token: str | None = None


def make_app(answering: Answering) -> web.Application:
    """Give the routes."""
    app = web.Application(middlewares=[_note_request], client_max_size=MOST_FORM_BYTES)
    app.on_response_prepare.append(_say_little)
    app.router.add_get("/healthz", answering.health.healthz)
    app.router.add_get("/readyz", answering.health.readyz)
    app.router.add_get("/metrics", for_operators(answering.numbers.handle, answering.ops_token))
    if answering.webhook is not None:
        app.router.add_post("/webhooks/mux", answering.webhook.handle)
    return app


def for_operators(handler: Handler, token: str | None) -> Handler:
    """Ask for the operators' token first, where there is one."""
    if token is None:
        return handler

    async def guarded(request: web.Request) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "").encode(errors="replace")
        if not hmac.compare_digest(shown, f"Bearer {token}".encode()):
            return web.Response(
                status=401, text="unauthorized\n", headers={"WWW-Authenticate": "Bearer"}
            )
        return await handler(request)

    return guarded


@web.middleware
async def _note_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    if isinstance(request.protocol, Connection):
        request.protocol.asked()
    return await handler(request)


async def _say_little(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve for as long as the block lasts; gives the port.

    Raises WorkerError if the port cannot be opened.
    """
    listening = _listen(host, port)
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    assert runner.server is not None  # noqa: S101  # it is there after setup()
    accepting = asyncio.create_task(Connections(runner.server, listening).accept())
    stand_in = StandIn(listening)
    stand_in.start()
    try:
        yield listening.getsockname()[1]
    finally:
        await stand_in.stop()
        accepting.cancel()
        await asyncio.wait({accepting})
        listening.close()
        await runner.server.shutdown(FINISH_WITHIN_SECONDS)
        await runner.cleanup()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or "").partition(" (")[0]
        raise WorkerError(
            f"Cannot listen on HOST {host}, PORT {port}: {reason}. Stop what uses that port, or "
            "set another."
        ) from error
    listening.setblocking(False)
    return listening
