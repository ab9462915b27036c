"""Add the CORS headers by which a page of an upload's `cors_origin` may send its file.

Mux's API itself allows no browser. The URLs of its direct uploads are resumable sessions as Google
Cloud Storage has them, which store the origin that they were created for: a response to that origin
names it in `Access-Control-Allow-Origin`, a response to any other has no such header.
https://cloud.google.com/storage/docs/cross-origin
"""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from sandbox.mux.auth import UPLOAD_URL_PREFIX
from sandbox.mux.state import MuxState

ANY_ORIGIN = "*"
METHODS = "DELETE,GET,HEAD,PATCH,POST,PUT"
EXPOSED_HEADERS = "Content-Length,Content-Type,Date,Range,Server,Transfer-Encoding"
"""UpChunk reads `Range`, to see which pieces it must send again."""

PREFLIGHT_MAX_AGE_SECONDS = "3600"


def allow_origin(
    state: MuxState,
) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return a hook that adds the headers to every response of an upload URL, errors included."""

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        if not origin or not request.path.startswith(UPLOAD_URL_PREFIX):
            return
        allowed = _origin_of(state, request.path.removeprefix(UPLOAD_URL_PREFIX))
        if allowed not in (ANY_ORIGIN, origin):
            return
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED_HEADERS
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        if request.method == hdrs.METH_OPTIONS:
            response.headers.update(_preflight(request))

    return add_headers


def _origin_of(state: MuxState, url_token: str) -> str | None:
    try:
        # Mux's own examples end the origin with a slash; a browser's `Origin` never does.
        return state.upload_by_url_token(url_token).cors_origin.removesuffix("/")
    except KeyError:
        return None


def _preflight(request: web.Request) -> dict[str, str]:
    headers: dict[str, str] = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
        hdrs.ACCESS_CONTROL_MAX_AGE: PREFLIGHT_MAX_AGE_SECONDS,
    }
    requested = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
    return headers | ({hdrs.ACCESS_CONTROL_ALLOW_HEADERS: requested} if requested else {})
