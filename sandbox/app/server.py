"""Serve the sample app: the instructor's page, and the endpoints that need a server.

The browser itself sends requests to Supabase and to Mux's upload URLs. This server returns the
page, a token as Supabase Auth would, and Mux uploads, since creating one needs the Mux secret.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import aiohttp
from aiohttp import hdrs, web

from sandbox.app.middleware import RequestGuard, bearer_token, error_response, json_object
from sandbox.app.static import PageFiles
from sandbox.app.uploads import SCENARIOS, UploadService
from sandbox.http_server import Server
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase

REQUEST_TIMEOUT_SECONDS = 10.0
TOKEN_SECONDS = 3600
CLIENT = web.AppKey("client", aiohttp.ClientSession)

BACKDATE_UPLOAD = """
    update public.mux_asset_tracking set tracked_at = tracked_at - interval '31 minutes'
    where lesson_id = %s and status = 'processing'
"""


class SampleApp:
    """Serve the instructor's page for a local Supabase and a simulated Mux; a context manager."""

    def __init__(
        self,
        supabase: LocalSupabase,
        mux: MuxSimulator,
        instructors: Mapping[str, UUID],
        files: PageFiles | None = None,
    ) -> None:
        """Prepare the server; both services must run before the page is used."""
        self.files = files or PageFiles()
        self._supabase = supabase
        self._instructors = instructors
        self._mux = mux
        self._uploads = UploadService(supabase, mux)
        self._server = Server(self._app)

    @property
    def url(self) -> str:
        """Return the URL of the page."""
        return f"{self._server.url}/"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop()

    def _app(self) -> web.Application:
        guard = RequestGuard(services=lambda: (self._supabase.url, self._mux.url))
        app = web.Application(middlewares=[guard.check])
        app.on_response_prepare.append(guard.add_headers)
        app.cleanup_ctx.append(_client)
        app.router.add_get("/", self.files.answer_page)
        app.router.add_get("/config", self._config)
        app.router.add_post("/session", self._log_in)
        app.router.add_post("/uploads", self._make_upload)
        app.router.add_post("/lessons/{lesson_id}/backdate", self._backdate_upload)
        app.router.add_get("/{name}", self.files.answer)
        return app

    async def _config(self, _request: web.Request) -> web.Response:
        """Return the configuration of the page; the publishable key is public."""
        names = [{"id": str(user), "name": name} for name, user in self._instructors.items()]
        return web.json_response(
            {
                "supabaseUrl": self._supabase.url,
                "publishableKey": self._supabase.publishable_key,
                "instructors": names,
                "scenarios": [{"name": name, "label": s.label} for name, s in SCENARIOS.items()],
            }
        )

    async def _log_in(self, request: web.Request) -> web.Response:
        """Return a token as Supabase Auth would; the demo needs no password."""
        name = (await json_object(request)).get("instructor")
        user = self._instructors.get(name) if isinstance(name, str) else None
        if user is None:
            raise error_response(
                400, f"The instructor must be one of {', '.join(self._instructors)}"
            )
        return web.json_response(
            {
                "user": {"id": str(user), "name": name},
                "token": self._supabase.user_token(user, TOKEN_SECONDS),
                "expiresInSeconds": TOKEN_SECONDS,
            }
        )

    async def _make_upload(self, request: web.Request) -> web.Response:
        body = await json_object(request)
        lesson_id = _lesson_id(body.get("lessonId"))
        scenario = body.get("scenario")
        if not isinstance(scenario, str) or scenario not in SCENARIOS:
            raise error_response(400, f"The scenario must be one of {', '.join(SCENARIOS)}")
        client = request.app[CLIENT]
        await self._uploads.require_lesson(client, lesson_id, bearer_token(request))
        origin = request.headers[hdrs.ORIGIN]
        return web.json_response(
            await self._uploads.create(client, lesson_id, origin, scenario), status=201
        )

    async def _backdate_upload(self, request: web.Request) -> web.Response:
        """Backdate an upload by 31 minutes, so that the worker reports it as stuck."""
        lesson_id = _lesson_id(request.match_info["lesson_id"])
        await json_object(request)
        await self._uploads.require_lesson(request.app[CLIENT], lesson_id, bearer_token(request))
        if not await asyncio.to_thread(self._backdate, lesson_id):
            raise error_response(409, "The lesson has no upload in processing")
        return web.Response(status=204)

    def _backdate(self, lesson_id: UUID) -> bool:
        with self._supabase.connect() as db:
            return db.execute(BACKDATE_UPLOAD, [lesson_id]).rowcount == 1


async def _client(app: web.Application) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as app[CLIENT]:
        yield


def _lesson_id(value: Any) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise error_response(400, "The lessonId must be the id of a lesson") from None
