"""The HTTP server: its routes, its parts, and its start and end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiohttp import web

from worker.errors import WorkerError
from worker.scan.mux_reader import MuxReader
from worker.settings import Settings
from worker.telemetry.hooks import Telemetry
from worker.telemetry.liveness import Liveness
from worker.telemetry.logs import get_logger
from worker.telemetry.metrics import Metrics
from worker.telemetry.scan_history import ScanHistory
from worker.web.connections import Connections
from worker.web.dashboard.auth import OperatorAuth
from worker.web.health import Health, MuxState, SchemaCheck
from worker.web.metrics import MetricsPage, RowCounts
from worker.web.webhooks.handler import WebhookHandler
from worker.web.webhooks.ingest import EventIngest, EventStore

BACKLOG = 512
MAX_BODY_BYTES = 1024 * 1024
SHUTDOWN_SECONDS = 5.0
"""How long requests under way may take once the worker stops; a webhook takes at most 4 s."""

log = get_logger()


class MuxClient(MuxReader, MuxState, Protocol):
    """What the server needs of Mux's client."""


class WebStore(EventStore, SchemaCheck, RowCounts, Protocol):
    """What the server needs of the database."""

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Call a function."""
        ...


@asynccontextmanager
async def http_server(
    settings: Settings,
    telemetry: Telemetry,
    liveness: Liveness,
    mux: MuxClient,
    store: WebStore,
    history: ScanHistory,
) -> AsyncIterator[int]:
    """Serve HTTP while the block runs, and yield the port.

    Raises WorkerError if the port cannot be opened.
    """
    assert settings.port is not None  # noqa: S101  # without it there is no server
    metrics = Metrics(lambda: _number(mux.rate_limit[1]), lambda: liveness.last_scan_at)
    telemetry.subscribe(metrics)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(_set_security_headers)
    _add_health(app, Health(liveness, store, history))
    _add_webhooks(app, settings, store, telemetry)
    page = MetricsPage(metrics, store).handle
    if settings.ops_token is None:
        app.router.add_get("/metrics", page)
    else:
        from worker.web.dashboard.routes import add_dashboard, service_state

        auth = OperatorAuth(settings.ops_token.get_secret_value(), metrics.token_refused)
        app.router.add_get("/metrics", auth.guard(page))
        state = service_state(settings, liveness, history, mux)
        add_dashboard(
            app,
            auth,
            mux,
            store.call,
            rules=settings.rules,
            state=state,
            telemetry=telemetry,
            thumbnails=settings.dashboard_thumbnails,
        )
    async with _serving(app, settings.host, settings.port) as port:
        log.info("web.listening", host=settings.host, port=port)
        yield port


def _add_health(app: web.Application, health: Health) -> None:
    app.router.add_get("/healthz", health.healthz)
    app.router.add_get("/readyz", health.readyz)


def _add_webhooks(
    app: web.Application, settings: Settings, store: EventStore, telemetry: Telemetry
) -> None:
    secrets = [secret.get_secret_value() for secret in settings.mux_webhook_secret]
    if not secrets:
        log.warning(
            "webhook.off",
            message="MUX_WEBHOOK_SECRET is not set, so no webhooks are accepted. Set it to the "
            "signing secret of Mux's webhook.",
        )
        return
    ingest = EventIngest(store, settings.rules, telemetry)
    app.router.add_post("/webhooks/mux", WebhookHandler(secrets, ingest, telemetry).handle)


async def _set_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"


@asynccontextmanager
async def _serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    listener = _listen(host, port)
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    assert runner.server is not None  # noqa: S101  # it is there after setup()
    accepting = asyncio.create_task(Connections(runner.server, listener).accept())
    try:
        yield listener.getsockname()[1]
    finally:
        accepting.cancel()
        await asyncio.wait({accepting})
        listener.close()
        await runner.server.shutdown(SHUTDOWN_SECONDS)
        await runner.cleanup()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or "").partition(" (")[0]
        raise WorkerError(
            f"Cannot listen on HOST {host}, PORT {port}: {reason}. Stop what uses that port, or "
            "set another."
        ) from error
    listener.setblocking(False)
    return listener


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
