"""Put the status page together; imported only where there is an OPS_TOKEN to ask for."""

from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from worker.backfill.publish import MuxApi
from worker.settings import Settings
from worker.supabase.lessons import LessonStore
from worker.telemetry.liveness import Liveness
from worker.telemetry.scan_history import ScanHistory
from worker.web.dashboard.actions import Buttons, Messages
from worker.web.dashboard.alerts import Standing
from worker.web.dashboard.auth import Entrance
from worker.web.dashboard.login_throttle import Slowing
from worker.web.dashboard.overview_cache import Overview
from worker.web.dashboard.render import Pages
from worker.web.dashboard.sessions import Sessions
from worker.web.dashboard.views import StatusPage


class CallsFunctions(Protocol):
    """What the page needs of the database."""

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Call a function."""
        ...


class Mux(MuxApi, Protocol):
    """What the page needs of Mux."""

    is_refused: bool
    requests: int
    rate_limit: tuple[str | None, str | None]


def add_status_page(
    app: web.Application,
    settings: Settings,
    mux: Mux,
    store: CallsFunctions,
    standing: Callable[[], Standing],
) -> None:
    """Add the pages, the login, the buttons, and what pages are made of."""
    assert settings.ops_token is not None  # noqa: S101  # without it there is no page
    pages, messages, books = Pages(), Messages(), LessonStore(store.call)
    overview = Overview(books)
    entrance = Entrance(Sessions(settings.ops_token.get_secret_value()), Slowing(), pages)
    page = StatusPage(pages, books, overview, standing, messages)
    buttons = Buttons(books, mux, settings.rules, overview, messages)
    app.router.add_get("/", entrance.page(page.index))
    app.router.add_get("/lessons/{id}", entrance.page(page.lesson))
    app.router.add_get("/search", entrance.page(page.search))
    app.router.add_post(
        "/lessons/{id:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}}"
        "/{action:look|retry|publish}",
        entrance.form(buttons.press),
    )
    app.router.add_get("/login", entrance.show_login)
    app.router.add_post("/login", entrance.log_in)
    app.router.add_post("/logout", entrance.form(entrance.log_out))
    app.router.add_get("/assets/{name}", pages.serve_asset)


def standing_of(
    settings: Settings, liveness: Liveness, history: ScanHistory, mux: Mux
) -> Callable[[], Standing]:
    """Give a way to ask the process how it stands."""

    def ask() -> Standing:
        return Standing(
            loop_fault=liveness.fault(),
            last_scan_at=liveness.last_scan_at,
            started_at=history.started_at,
            scans=tuple(history.newest_first),
            mux=history.outages.get("mux"),
            supabase=history.outages.get("supabase"),
            mux_refuses=mux.is_refused,
            mux_requests=mux.requests,
            rate_limit=mux.rate_limit,
            takes_webhooks=bool(settings.mux_webhook_secret),
        )

    return ask
