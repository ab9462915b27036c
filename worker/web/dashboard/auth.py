"""Restrict the dashboard and the metrics to holders of OPS_TOKEN: HTTP Basic or Bearer."""

import hmac
from base64 import b64decode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

from aiohttp import web

from worker.telemetry.logs import LogThrottle, get_logger
from worker.text import clean_input

MAX_NAME_LENGTH = 60
REFUSED_LOG_SECONDS = 60.0
CHALLENGE = 'Basic realm="mux-worker", charset="UTF-8"'

OPERATOR = web.RequestKey("operator", str)
"""The name of the operator who sent a request."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = get_logger()


class OperatorAuth:
    """Admits operators, who know the token; `count_refused` is called for each wrong token."""

    def __init__(self, token: str, count_refused: Callable[[], None]) -> None:
        self._token = token.encode()
        self._count_refused = count_refused
        self._refusals = LogThrottle(REFUSED_LOG_SECONDS)

    def guard(self, handler: Handler) -> Handler:
        """Return a handler that checks the token, and the origin of a POST request."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            header = request.headers.get("Authorization")
            if header is None:
                return _unauthorized()
            name, token = _credentials(header)
            if not hmac.compare_digest(token.encode(errors="replace"), self._token):
                self._refuse()
                return _unauthorized()
            if request.method not in ("GET", "HEAD") and not is_same_origin(request):
                return web.Response(
                    status=403,
                    text="Another site sent this request, so nothing was changed. Open the "
                    "dashboard and try again there.\n",
                )
            request[OPERATOR] = clean_input(name, MAX_NAME_LENGTH) or "operator"
            return await handler(request)

        return guarded

    def _refuse(self) -> None:
        self._count_refused()
        if self._refusals.allow("token"):
            log.warning(
                "web.refused",
                message="A request had a wrong token. If it repeats, check who calls the worker.",
            )


def is_same_origin(request: web.Request) -> bool:
    """Whether a request comes from our own pages, from the address bar, or from no browser."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site in ("same-origin", "none")
    if origin is None:
        return True
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    return host != "" and host == request.host


def is_browser(request: web.Request) -> bool:
    """Whether a browser sent a form; every browser names its origin then."""
    return "Sec-Fetch-Site" in request.headers or "Origin" in request.headers


def _credentials(header: str) -> tuple[str, str]:
    """Return the name and the token of an Authorization header, empty if it cannot be read."""
    scheme, _, value = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return "", value.strip()
        case "basic":
            with suppress(ValueError):  # neither base64 nor UTF-8
                name, _, token = b64decode(value.strip(), validate=True).decode().partition(":")
                return name, token
    return "", ""


def _unauthorized() -> web.Response:
    return web.Response(
        status=401,
        text="This page needs a token. Load it again, and enter your name and OPS_TOKEN as the "
        "password.\n",
        headers={"WWW-Authenticate": CHALLENGE},
    )
