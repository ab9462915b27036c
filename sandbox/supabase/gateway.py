"""A gateway that serves `/rest/v1/…` as Supabase's does, in front of PostgREST.

It requires an API key, replaces the short keys by the JWT of their role, strips the path's prefix,
and answers with JSON when PostgREST does not answer.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from sandbox.fault_injection import Faults
from sandbox.supabase.keys import Keys
from sandbox.supabase.request_log import RequestLog

PREFIX = "/rest/v1"
API_KEY = "apikey"
UPSTREAM_TIMEOUT_SECONDS = 60.0
MAX_BODY_BYTES = 16 * 1024 * 1024
# Headers of one connection, which a proxy must not forward (RFC 9110, 7.6.1), and headers that
# aiohttp sets.
NOT_FORWARDED = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        API_KEY,
    }
)
# Headers that aiohttp's client would add to a request without them.
NOT_ADDED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
CORS = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS",
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "Content-Range,Content-Location,Location",
    hdrs.ACCESS_CONTROL_MAX_AGE: "3600",
}
UPSTREAM = web.AppKey("upstream", aiohttp.ClientSession)


class Gateway:
    """Build the gateway's aiohttp app; `requests` also records requests that meet a fault."""

    def __init__(self, keys: Keys, postgrest_socket: Path) -> None:
        self.faults = Faults()
        self.requests = RequestLog()
        self._keys = keys
        self._socket = postgrest_socket

    def app(self) -> web.Application:
        """Return a new app; called in the event loop that serves it."""
        app = web.Application(
            middlewares=[self.requests.middleware(), _answer_preflight, self.faults.middleware],
            client_max_size=MAX_BODY_BYTES,
        )
        app.on_response_prepare.append(_allow_browsers)
        app.cleanup_ctx.append(self._upstream)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _upstream(self, app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(self._socket), limit=0),
            timeout=aiohttp.ClientTimeout(total=UPSTREAM_TIMEOUT_SECONDS),
            auto_decompress=False,
        ) as app[UPSTREAM]:
            yield

    async def _answer(self, request: web.Request) -> web.Response:
        raw_path = request.rel_url.raw_path
        if raw_path != PREFIX and not raw_path.startswith(f"{PREFIX}/"):
            return _message(404, "no Route matched with those values")
        api_key = request.headers.get(API_KEY) or request.query.get(API_KEY)
        if not api_key:
            hint = "No `apikey` request header or url param was found."
            return _message(401, "No API key found in request", hint)
        token = self._keys.token_for(api_key)
        if token is None:
            hint = "Double check your Supabase `anon` or `service_role` API key."
            return _message(401, "Invalid API key", hint)
        return await _proxy(request, _request_headers(request, api_key, token))


@web.middleware
async def _answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Allow pages of any origin: the API key decides, not the origin."""
    if request.method != hdrs.METH_OPTIONS:
        return await handler(request)
    requested = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "*")
    return web.Response(status=204, headers={hdrs.ACCESS_CONTROL_ALLOW_HEADERS: requested})


async def _allow_browsers(_request: web.Request, response: web.StreamResponse) -> None:
    # On errors too: without these headers a script cannot read the response.
    response.headers.update(CORS)


def _request_headers(request: web.Request, api_key: str, token: str) -> CIMultiDict[str]:
    headers = _forwarded(request.headers)
    authorization = headers.get(hdrs.AUTHORIZATION, "")
    # Clients also send their key as a bearer token, which is replaced; a user's token is kept.
    if not authorization or authorization.removeprefix("Bearer ").strip() == api_key:
        headers[hdrs.AUTHORIZATION] = f"Bearer {token}"
    return headers


async def _proxy(request: web.Request, headers: CIMultiDict[str]) -> web.Response:
    body = await request.read()
    try:
        async with request.app[UPSTREAM].request(
            request.method,
            _upstream_url(request),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            skip_auto_headers=NOT_ADDED,
        ) as response:
            return web.Response(
                status=response.status,
                headers=_forwarded(response.headers),
                body=await response.read(),
            )
    except aiohttp.ClientConnectorError:
        return _message(503, "name resolution failed")
    except aiohttp.ClientError:
        return _message(502, "An invalid response was received from the upstream server")
    except TimeoutError:
        return _message(504, "The upstream server is timing out")


def _upstream_url(request: web.Request) -> URL:
    # The query is forwarded without decoding it, so that PostgREST's filters stay as sent.
    path = request.rel_url.raw_path.removeprefix(PREFIX) or "/"
    pairs = request.rel_url.raw_query_string.split("&")
    query = "&".join(pair for pair in pairs if pair and pair.partition("=")[0] != API_KEY)
    return URL(f"http://postgrest{path}{'?' if query else ''}{query}", encoded=True)


def _forwarded(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in NOT_FORWARDED
    )


def _message(status: int, message: str, hint: str | None = None) -> web.Response:
    body = {"message": message} if hint is None else {"message": message, "hint": hint}
    return web.json_response(body, status=status)
