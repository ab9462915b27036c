"""Check the access token and the rate limit of every request to the simulated Mux."""

from collections.abc import Callable

from aiohttp import BasicAuth, web
from aiohttp.typedefs import Handler, Middleware

from sandbox.mux.ids import Credentials
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.responses import error_json

UPLOAD_URL_PREFIX = "/direct-uploads/"


def authenticate(
    credentials: Callable[[], Credentials], limits: Callable[[], RateLimits]
) -> Middleware:
    """Return a middleware that checks the token, then the rate limit.

    Every response carries the headers of the rate limit.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        # At Mux these are on another host; the signed URL is the permission.
        if request.path.startswith(UPLOAD_URL_PREFIX):
            return await _with_json_errors(request, handler)
        limit = limits().for_request(request)
        if not _is_authenticated(request, credentials()):
            body = error_json("unauthorized", "Unauthorized request")
            response: web.StreamResponse = web.json_response(body, status=401)
        elif not limit.acquire():
            response = _too_many_requests(limits().retry_after_seconds)
        else:
            response = await _with_json_errors(request, handler)
        response.headers.update(limit.headers)
        return response

    return check


async def _with_json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.content_type == "application/json":
            return web.Response(body=error.body, status=error.status, headers=error.headers)
        error_type = "not_found" if error.status == 404 else "invalid_request"
        return web.json_response(error_json(error_type, error.reason), status=error.status)


def _is_authenticated(request: web.Request, credentials: Credentials) -> bool:
    try:
        sent = BasicAuth.decode(request.headers.get("Authorization", ""))
    except ValueError:
        return False
    return (sent.login, sent.password) == (credentials.token_id, credentials.token_secret)


def _too_many_requests(retry_after_seconds: int | None) -> web.Response:
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    body = {"errors": ["Too many requests, retry later."]}
    return web.json_response(body, status=429, headers=headers)
