"""Which browsers may send a file to an upload's url: those with a page of its `cors_origin`.

Mux's API itself lets no browser in. The urls of its direct uploads are resumable sessions of Google
Cloud Storage, which remember the origin that they were begun for: an answer to that origin names it
in `Access-Control-Allow-Origin`, an answer to any other has no such header, and the browser stops.
https://cloud.google.com/storage/docs/cross-origin
"""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from sandbox.mux.auth import UPLOAD_URL_PREFIX
from sandbox.mux.state import MuxState

ANY_ORIGIN = "*"
METHODS = "DELETE,GET,HEAD,PATCH,POST,PUT"
PREFLIGHT_SECONDS = "3600"


def allow_origin(
    state: MuxState,
) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Give what adds CORS' headers to the answers of upload urls, refusals and faults included."""

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        if not origin or not request.path.startswith(UPLOAD_URL_PREFIX):
            return
        allowed = _origin_of(state, request.path.removeprefix(UPLOAD_URL_PREFIX))
        if allowed not in (ANY_ORIGIN, origin):
            return
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        if request.method == hdrs.METH_OPTIONS:
            response.headers.update(_preflight(request))

    return add_headers


def _origin_of(state: MuxState, url_token: str) -> str | None:
    try:
        # Mux's own examples end the origin with a slash, which no browser's `Origin` does.
        return state.upload_at(url_token).cors_origin.removesuffix("/")
    except KeyError:
        return None


def _preflight(request: web.Request) -> dict[str, str]:
    headers: dict[str, str] = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
        hdrs.ACCESS_CONTROL_MAX_AGE: PREFLIGHT_SECONDS,
    }
    asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
    return headers | ({hdrs.ACCESS_CONTROL_ALLOW_HEADERS: asked} if asked else {})
