"""The app of the demo: the instructor's page, and the little server that such an app has.

The browser talks to Supabase and to Mux's upload urls by itself. It comes here for its page, for a
token in place of Supabase Auth's, and for a Mux upload, since that takes Mux's secret.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import aiohttp
from aiohttp import hdrs, web

from sandbox.app.middleware import SchoolDoor, bearer, json_object, refused
from sandbox.app.static import SchoolFiles
from sandbox.app.uploads import FATES, SchoolUploads
from sandbox.http_server import Server
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase

PATIENCE_SECONDS = 10.0
TOKEN_SECONDS = 3600
CLIENT = web.AppKey("client", aiohttp.ClientSession)

HALF_AN_HOUR_PASSES = """
    update public.mux_asset_tracking set tracked_at = tracked_at - interval '31 minutes'
    where lesson_id = %s and status = 'processing'
"""


class School:
    """Serve the instructor's page for a Supabase and a Mux of this machine; a context manager."""

    def __init__(
        self,
        supabase: LocalSupabase,
        mux: MuxSimulator,
        instructors: Mapping[str, UUID],
        files: SchoolFiles | None = None,
    ) -> None:
        """Prepare the server; both services must run before anybody uses the page."""
        self.files = files or SchoolFiles()
        self._supabase = supabase
        self._instructors = instructors
        self._mux = mux
        self._uploads = SchoolUploads(supabase, mux)
        self._server = Server(self._app)

    @property
    def url(self) -> str:
        """Give the page's address."""
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
        door = SchoolDoor(talks_to=lambda: (self._supabase.url, self._mux.url))
        app = web.Application(middlewares=[door.check])
        app.on_response_prepare.append(door.add_headers)
        app.cleanup_ctx.append(_client)
        app.router.add_get("/", self.files.answer_page)
        app.router.add_get("/config", self._config)
        app.router.add_post("/session", self._log_in)
        app.router.add_post("/uploads", self._make_upload)
        app.router.add_post("/lessons/{lesson_id}/half-an-hour", self._let_time_pass)
        app.router.add_get("/{name}", self.files.answer)
        return app

    async def _config(self, _request: web.Request) -> web.Response:
        """Say what a browser may know: the key it gives is the one for everybody."""
        names = [{"id": str(user), "name": name} for name, user in self._instructors.items()]
        return web.json_response(
            {
                "supabaseUrl": self._supabase.url,
                "publishableKey": self._supabase.publishable_key,
                "instructors": names,
                "fates": [{"name": name, "says": fate.says} for name, fate in FATES.items()],
            }
        )

    async def _log_in(self, request: web.Request) -> web.Response:
        """Hand out the token that Supabase Auth would give, without a password: it is a demo."""
        name = (await json_object(request)).get("instructor")
        user = self._instructors.get(name) if isinstance(name, str) else None
        if user is None:
            raise refused(400, f"instructor must be one of {', '.join(self._instructors)}")
        return web.json_response(
            {
                "user": {"id": str(user), "name": name},
                "token": self._supabase.user_token(user, TOKEN_SECONDS),
                "expiresInSeconds": TOKEN_SECONDS,
            }
        )

    async def _make_upload(self, request: web.Request) -> web.Response:
        asked = await json_object(request)
        lesson_id = _lesson_id(asked.get("lessonId"))
        fate = asked.get("fate")
        if not isinstance(fate, str) or fate not in FATES:
            raise refused(400, f"fate must be one of {', '.join(FATES)}")
        client = request.app[CLIENT]
        await self._uploads.require_lesson(client, lesson_id, bearer(request))
        origin = request.headers[hdrs.ORIGIN]
        return web.json_response(
            await self._uploads.make(client, lesson_id, origin, fate), status=201
        )

    async def _let_time_pass(self, request: web.Request) -> web.Response:
        """Date an upload back, as half an hour would: no rule of the product is bent for it."""
        lesson_id = _lesson_id(request.match_info["lesson_id"])
        await json_object(request)
        await self._uploads.require_lesson(request.app[CLIENT], lesson_id, bearer(request))
        dated_back = await asyncio.to_thread(self._date_back, lesson_id)
        if not dated_back:
            raise refused(409, "no upload of this lesson is being processed")
        return web.Response(status=204)

    def _date_back(self, lesson_id: UUID) -> bool:
        with self._supabase.connect() as db:
            return db.execute(HALF_AN_HOUR_PASSES, [lesson_id]).rowcount == 1


async def _client(app: web.Application) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as app[CLIENT]:
        yield


def _lesson_id(given: Any) -> UUID:
    try:
        return UUID(given)
    except (ValueError, TypeError, AttributeError):
        raise refused(400, "lessonId must be the id of a lesson") from None
