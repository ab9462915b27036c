"""Put the parts of the HTTP server together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiohttp import web

from worker.backfill.publish import MuxApi
from worker.settings import Settings
from worker.telemetry.hooks import Telemetry
from worker.telemetry.liveness import Liveness
from worker.telemetry.logs import get_logger
from worker.telemetry.metrics import Metrics
from worker.telemetry.scan_history import ScanHistory
from worker.web.app import Answering, make_app, serving
from worker.web.health import ChecksStore, Health
from worker.web.metrics import CountsRows, Numbers
from worker.web.webhooks.handler import Webhook
from worker.web.webhooks.ingest import Hearing, KeepsRows

log = get_logger()


class IsUsed(MuxApi, Protocol):
    """What the server needs of Mux."""

    is_refused: bool
    requests: int
    rate_limit: tuple[str | None, str | None]


class Keeps(KeepsRows, ChecksStore, CountsRows, Protocol):
    """What the server needs of the database."""

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Call a function."""
        ...


@asynccontextmanager
async def served(
    settings: Settings,
    telemetry: Telemetry,
    liveness: Liveness,
    mux: IsUsed,
    store: Keeps,
    history: ScanHistory,
) -> AsyncIterator[int]:
    """Keep the server open for as long as the block lasts; gives the port."""
    assert settings.port is not None  # noqa: S101  # without it there is no server
    metrics = Metrics(lambda: _number(mux.rate_limit[1]), lambda: liveness.last_scan_at)
    telemetry.subscribe(metrics)
    answering = Answering(
        Health(liveness, store, mux, history),
        metrics,
        Numbers(metrics, store),
        _webhook(settings, store, telemetry),
        settings.ops_token.get_secret_value() if settings.ops_token else None,
    )
    app = make_app(answering)
    if settings.ops_token is not None:
        _add_status_page(app, settings, liveness, mux, store, history)
    async with serving(app, settings.host, settings.port) as port:
        log.info("web.listening", host=settings.host, port=port)
        yield port


def _add_status_page(
    app: web.Application,
    settings: Settings,
    liveness: Liveness,
    mux: IsUsed,
    store: Keeps,
    history: ScanHistory,
) -> None:
    from worker.web.dashboard.routes import add_status_page, standing_of

    add_status_page(app, settings, mux, store, standing_of(settings, liveness, history, mux))


def _webhook(settings: Settings, store: KeepsRows, telemetry: Telemetry) -> Webhook | None:
    secrets = [secret.get_secret_value() for secret in settings.mux_webhook_secret]
    if not secrets:
        log.warning(
            "webhook.off",
            message="There is no MUX_WEBHOOK_SECRET, so webhooks are not taken: only scans are.",
        )
        return None
    return Webhook(secrets, Hearing(store, settings.rules, telemetry), telemetry)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
