"""Check every request to the sample app, and set the security headers of every response."""

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


def error_response(status: int, message: str, hint: str | None = None) -> web.HTTPException:
    """Return an error response in JSON, to be raised."""
    exceptions: dict[int, type[web.HTTPException]] = {
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
    return exceptions.get(status, web.HTTPBadGateway)(text=text, content_type="application/json")


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the body, which must be a JSON object."""
    try:
        body = json.loads(await request.text())
    except ValueError:
        raise error_response(400, "The body is not JSON") from None
    if not isinstance(body, dict):
        raise error_response(400, "The body is not a JSON object")
    return body


def bearer_token(request: web.Request) -> str:
    """Return the token of the signed-in user."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme != "Bearer" or not token:
        raise error_response(401, "No user is signed in")
    return token


class RequestGuard:
    """Allow only requests from the page itself.

    `services` returns the URLs of the services that the page may connect to.
    """

    def __init__(self, services: Callable[[], tuple[str, ...]]) -> None:
        self._services = services
        self.check = self._middleware()

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that limit the page to its own files and services."""
        response.headers.popall(hdrs.SERVER, None)
        response.headers.update(HEADERS)
        policy = POLICY.format(services=" ".join(self._services()))
        response.headers["Content-Security-Policy"] = policy

    def _middleware(self) -> Middleware:
        # `web.middleware` sets an attribute on the function, which a bound method does not allow.
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            port = request.url.port
            hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
            # Another host name would be DNS rebinding.
            if request.host not in hosts:
                raise error_response(421, "The host must be 127.0.0.1 or localhost")
            if request.method == hdrs.METH_POST:
                _require_own_page(request)
            return await handler(request)

        return check


def _require_own_page(request: web.Request) -> None:
    if request.headers.get(hdrs.ORIGIN) != f"http://{request.host}":
        raise error_response(403, "Only the page of this server may send this request")
    if request.content_type != "application/json":
        raise error_response(415, "The content type must be application/json")
