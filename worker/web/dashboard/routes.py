"""Add the dashboard's routes to the server; imported only where OPS_TOKEN is set."""

from collections.abc import Callable

from aiohttp import web

from worker.decide import Rules
from worker.scan.mux_reader import MuxReader
from worker.settings import Settings
from worker.supabase.lessons import Call, LessonStore
from worker.telemetry.hooks import Telemetry
from worker.telemetry.liveness import Liveness
from worker.telemetry.scan_history import ScanHistory
from worker.web.dashboard.actions import LessonActions, Messages
from worker.web.dashboard.alerts import ServiceState
from worker.web.dashboard.auth import OperatorAuth
from worker.web.dashboard.bulk_retry import BulkRetry
from worker.web.dashboard.lesson_filter import PATH
from worker.web.dashboard.overview_cache import OverviewCache
from worker.web.dashboard.render import Pages
from worker.web.dashboard.views import Views
from worker.web.health import MuxState

LESSON = "/lessons/{id:[^/]+}"
"""A lesson's page. Its id is any text, percent-encoded: `render.lesson_path`."""


def add_dashboard(  # noqa: PLR0913  # the parts of the pages and the actions
    app: web.Application,
    auth: OperatorAuth,
    mux: MuxReader,
    call: Call,
    *,
    rules: Rules,
    state: Callable[[], ServiceState],
    telemetry: Telemetry,
    thumbnails: bool,
) -> None:
    """Add the pages, the actions, and the files that pages load."""
    pages, messages, store = Pages(), Messages(), LessonStore(call)
    overview = OverviewCache(store)
    views = Views(pages, store, overview, state, messages, thumbnails=thumbnails)
    actions = LessonActions(store, mux, rules, overview, messages, telemetry)
    app.router.add_get("/", auth.guard(views.index))
    app.router.add_get(PATH, auth.guard(views.lessons))
    app.router.add_get(LESSON, auth.guard(views.lesson))
    app.router.add_get("/search", auth.guard(views.search))
    bulk = BulkRetry(store, overview, messages)
    app.router.add_post(PATH + "/retry", auth.guard(bulk.handle))
    app.router.add_post(LESSON + "/{action:check|retry|publish}", auth.guard(actions.handle))
    app.router.add_get("/assets/{name}", pages.serve_asset)


def service_state(
    settings: Settings, liveness: Liveness, history: ScanHistory, mux: MuxState
) -> Callable[[], ServiceState]:
    """Return a function that returns the current state of the services."""

    def state() -> ServiceState:
        return ServiceState(
            loop_problem=liveness.problem(),
            last_scan_at=liveness.last_scan_at,
            started_at=history.started_at,
            scans=tuple(history.newest_first),
            mux=history.outages.get("mux"),
            supabase=history.outages.get("supabase"),
            mux_requests=mux.requests,
            rate_limit=mux.rate_limit,
            accepts_webhooks=bool(settings.mux_webhook_secret),
        )

    return state
