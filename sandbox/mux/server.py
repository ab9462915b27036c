"""Serve the simulated Mux over HTTP, as Mux's OpenAPI description specifies."""

import base64
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from sandbox.fault_injection import Faults
from sandbox.http_server import Server
from sandbox.mux.auth import authenticate
from sandbox.mux.cors import allow_origin
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.request_log import RequestLog, log_requests
from sandbox.mux.requests import (
    NOT_FOUND,
    error_response,
    found,
    invalid,
    json_object,
    new_upload,
    page_number,
    page_size,
    policy_of,
)
from sandbox.mux.responses import asset_json, playback_id_json, upload_json
from sandbox.mux.state import MuxState
from sandbox.mux.timeline import Asset
from sandbox.mux.upload_urls import UploadUrls

_T = TypeVar("_T")


class MuxSimulator:
    """Run a simulated Mux on this machine; a context manager.

    * `state`: create, change and read uploads and assets.
    * `faults`: inject faults into any route.
    * `requests`: the requests that were received.
    * `limits`: the rate limits in force; assign others at any time.
    """

    def __init__(
        self,
        state: MuxState | None = None,
        *,
        limits: RateLimits | None = None,
        port: int = 0,
    ) -> None:
        """Prepare a simulator; without `limits` it has those of Mux."""
        self.state = state or MuxState()
        self.limits = limits or RateLimits.per_second(get=5, post=1)
        self.faults = Faults()
        self.requests = RequestLog()
        self._server = Server(self._app, port=port)

    @property
    def url(self) -> str:
        """Return the value for `MUX_BASE_URL`."""
        return self._server.url

    @property
    def token_id(self) -> str:
        """Return the value for `MUX_TOKEN_ID`."""
        return self.state.credentials.token_id

    @property
    def token_secret(self) -> str:
        """Return the value for `MUX_TOKEN_SECRET`."""
        return self.state.credentials.token_secret

    def start(self) -> None:
        """Accept connections; after a stop, at the same URL with the same state."""
        self._server.start()

    def stop(self) -> None:
        """Refuse connections and close those that are open."""
        self._server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _app(self) -> web.Application:
        authenticated = authenticate(lambda: self.state.credentials, lambda: self.limits)
        middlewares = [log_requests(self.requests), self.faults.middleware, authenticated]
        app = web.Application(middlewares=middlewares, client_max_size=2**30)
        app.on_response_prepare.append(allow_origin(self.state))
        app.router.add_routes(_Routes(self.state, lambda: self.url).table())
        app.router.add_routes(UploadUrls(self.state).table())
        return app


class _Routes:
    """Handle each route from the state."""

    def __init__(self, state: MuxState, base_url: Callable[[], str]) -> None:
        self._state = state
        self._base_url = base_url

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/system/v1/whoami", self.whoami),
            web.get("/video/v1/uploads", self.list_uploads),
            web.post("/video/v1/uploads", self.create_upload),
            web.get("/video/v1/uploads/{upload_id}", self.get_upload),
            web.put("/video/v1/uploads/{upload_id}/cancel", self.cancel_upload),
            web.get("/video/v1/assets", self.list_assets),
            web.get("/video/v1/assets/{asset_id}", self.get_asset),
            web.delete("/video/v1/assets/{asset_id}", self.delete_asset),
            web.post("/video/v1/assets/{asset_id}/playback-ids", self.create_playback_id),
            web.delete(
                "/video/v1/assets/{asset_id}/playback-ids/{playback_id}", self.delete_playback_id
            ),
            web.get("/video/v1/playback-ids/{playback_id}", self.get_playback_id),
        ]

    async def whoami(self, _request: web.Request) -> web.Response:
        return _data(
            {
                "permissions": ["video:read", "video:write"],
                "organization_name": "Sandbox",
                "organization_id": "local",
                "environment_type": "development",
                "environment_name": "Development",
                "environment_id": self._state.environment_id,
                "access_token_name": "worker",
            }
        )

    async def list_uploads(self, request: web.Request) -> web.Response:
        uploads = _page(request, self._state.uploads())
        now, base_url = self._state.clock.now(), self._base_url()
        return _data([upload_json(upload, now, base_url) for upload in uploads])

    async def create_upload(self, request: web.Request) -> web.Response:
        requested = new_upload(await json_object(request))
        upload = self._state.add_upload(
            self._state.timeline_for_clients,
            requested.settings,
            timeout_seconds=requested.timeout_seconds,
            cors_origin=requested.cors_origin,
            test=requested.test,
        )
        return _data(upload_json(upload, self._state.clock.now(), self._base_url()), status=201)

    async def get_upload(self, request: web.Request) -> web.Response:
        upload = found(self._state.upload, request.match_info["upload_id"])
        return _data(upload_json(upload, self._state.clock.now(), self._base_url()))

    async def cancel_upload(self, request: web.Request) -> web.Response:
        upload = found(self._state.cancel_upload, request.match_info["upload_id"])
        return _data(upload_json(upload, self._state.clock.now(), self._base_url()))

    async def list_assets(self, request: web.Request) -> web.Response:
        limit, cursor = page_size(request), request.query.get("cursor")
        upload_id = request.query.get("upload_id")
        if cursor is None:
            offset = limit * (page_number(request) - 1)
            assets = self._state.assets(upload_id=upload_id)[offset:]
        else:
            assets = self._assets_after(cursor, upload_id)
        page, now = assets[:limit], self._state.clock.now()
        next_cursor = _cursor(page[-1]) if len(assets) > limit else None
        body = {"data": [asset_json(asset, now) for asset in page], "next_cursor": next_cursor}
        return web.json_response(body)

    def _assets_after(self, cursor: str, upload_id: str | None) -> list[Asset]:
        try:
            after = base64.urlsafe_b64decode(cursor.encode()).decode()
            return self._state.assets(upload_id=upload_id, after=after)
        except (KeyError, ValueError):
            raise invalid("cursor is not one of this API") from None

    async def get_asset(self, request: web.Request) -> web.Response:
        asset = found(self._state.asset, request.match_info["asset_id"])
        return _data(asset_json(asset, self._state.clock.now()))

    async def delete_asset(self, request: web.Request) -> web.Response:
        found(self._state.delete_asset, request.match_info["asset_id"])
        return web.Response(status=204)

    async def create_playback_id(self, request: web.Request) -> web.Response:
        policy = policy_of(await json_object(request))
        asset_id = request.match_info["asset_id"]
        playback_id = found(lambda id_: self._state.add_playback_id(id_, policy), asset_id)
        return _data(playback_id_json(playback_id), status=201)

    async def delete_playback_id(self, request: web.Request) -> web.Response:
        asset, playback_id = found(self._state.find_playback_id, request.match_info["playback_id"])
        if asset.id != request.match_info["asset_id"]:
            raise error_response(404, "not_found", NOT_FOUND)
        self._state.remove_playback_id(asset.id, playback_id.id)
        return web.Response(status=204)

    async def get_playback_id(self, request: web.Request) -> web.Response:
        """Return whose playback id it is."""
        asset, playback_id = found(self._state.find_playback_id, request.match_info["playback_id"])
        owner = {"id": asset.id, "type": "asset"}
        return _data({**playback_id_json(playback_id), "object": owner})


def _data(data: Any, *, status: int = 200) -> web.Response:
    return web.json_response({"data": data}, status=status)


def _page(request: web.Request, records: list[_T]) -> list[_T]:
    limit = page_size(request)
    offset = limit * (page_number(request) - 1)
    return records[offset : offset + limit]


def _cursor(last: Asset) -> str:
    return base64.urlsafe_b64encode(last.id.encode()).decode()
