"""What every request to the demo's app goes through, and what every answer says to the browser."""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' {services}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def refused(status: int, message: str, hint: str | None = None) -> web.HTTPException:
    """Give a refusal in JSON, to be raised."""
    kinds: dict[int, type[web.HTTPException]] = {
        400: web.HTTPBadRequest,
        401: web.HTTPUnauthorized,
        403: web.HTTPForbidden,
        404: web.HTTPNotFound,
        409: web.HTTPConflict,
        415: web.HTTPUnsupportedMediaType,
        421: web.HTTPMisdirectedRequest,
        502: web.HTTPBadGateway,
        503: web.HTTPServiceUnavailable,
    }
    text = json.dumps({"message": message} | ({"hint": hint} if hint else {}))
    return kinds.get(status, web.HTTPBadGateway)(text=text, content_type="application/json")


async def json_object(request: web.Request) -> dict[str, Any]:
    """Give the body, which must be a JSON object."""
    try:
        body = json.loads(await request.text())
    except ValueError:
        raise refused(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise refused(400, "the body is not a JSON object")
    return body


def bearer(request: web.Request) -> str:
    """Give the token of who is signed in."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme != "Bearer" or not token:
        raise refused(401, "nobody is signed in")
    return token


class SchoolDoor:
    """Let in what comes from the page itself; `talks_to` gives the services that it may ask."""

    def __init__(self, talks_to: Callable[[], tuple[str, ...]]) -> None:
        self._talks_to = talks_to
        self.check = self._middleware()

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Tell the browser what the page may do: run and show what is ours, ask our services."""
        response.headers.popall(hdrs.SERVER, None)
        response.headers.update(HEADERS)
        services = " ".join(self._talks_to())
        response.headers["Content-Security-Policy"] = POLICY.format(services=services)

    def _middleware(self) -> Middleware:
        # aiohttp marks the function that it is given, which a bound method does not allow.
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            port = request.url.port
            hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
            # Any other name is one that somebody else has pointed at this machine.
            if request.host not in hosts:
                raise refused(421, "this server is reached as 127.0.0.1 or localhost")
            if request.method == hdrs.METH_POST:
                _require_own_page(request)
            return await handler(request)

        return check


def _require_own_page(request: web.Request) -> None:
    if request.headers.get(hdrs.ORIGIN) != f"http://{request.host}":
        raise refused(403, "only the page of this server may ask for that")
    if request.content_type != "application/json":
        raise refused(415, "the body must be JSON")
