"""The only module that talks to Mux."""

import asyncio
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import urllib3

from worker import answers
from worker.answer import Answer, check, read_about, read_data
from worker.errors import MuxUnavailable
from worker.model import Environment, Observation, Page, Source
from worker.outbound import proxy_for, trust
from worker.pace import Pace
from worker.patience import Patience
from worker.settings import Settings
from worker.threads import in_daemon_thread
from worker.watch import Watch

PAGE_SIZE = 100
"""The most that Mux gives a page."""

CONNECT_WITHIN_SECONDS = 5.0
PIECE_BYTES = 65536
LONGEST_ANSWER_BYTES = 16 * 1024 * 1024
"""Many times what a page of assets with all their tracks has."""


class _Api:
    """mux-python's client and the parts of it that we call, imported at the first question.

    The import takes about a fifth of the time to the first scan, which often asks Mux nothing.
    """

    def __init__(self, settings: Settings) -> None:
        import mux_python

        configuration = mux_python.Configuration(
            host=settings.mux_base_url,
            username=settings.mux_token_id.get_secret_value(),
            password=settings.mux_token_secret.get_secret_value(),
        )
        self.client = mux_python.ApiClient(configuration)
        self.client.rest_client.pool_manager = _pool_for(settings.mux_base_url)
        self.uploads = mux_python.DirectUploadsApi(self.client)
        self.assets = mux_python.AssetsApi(self.client)


def _pool_for(url: str) -> urllib3.PoolManager:
    """Return connections by the rules of `outbound`, without retries as long as Mux says."""
    proxy = proxy_for(url)
    options: dict[str, Any] = {"ssl_context": trust(), "retries": False, "maxsize": 10}
    if proxy is None:
        return urllib3.PoolManager(**options)
    user = unquote(urllib3.util.parse_url(proxy).auth or "")
    headers = urllib3.make_headers(proxy_basic_auth=user or None)
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)


class Mux:
    """Asks Mux one question at a time, at its pace, with retries.

    Every question raises MuxUnauthorized (401, 403) and, when patience ends, MuxUnavailable; a
    404 is no fault but an observation. mux-python is synchronous, so each call has a daemon
    thread: nothing can cut off a thread that hangs in a socket, and it must not keep the process
    alive.
    """

    def __init__(
        self,
        settings: Settings,
        stopping: asyncio.Event,
        pace: Pace,
        watch: Watch | None = None,
    ) -> None:
        self._settings = settings
        self._timeout = settings.mux_timeout_seconds
        self._pace = pace
        self._watch = watch or Watch()
        self._patience = Patience(stopping, self._watch)
        self._environment: str | None = None
        self.requests = 0
        self.rate_limit: tuple[str | None, str | None] = (None, None)
        """The limit and what is left of it, as Mux said last."""

        self.is_refused = False
        """Whether Mux refused the credentials when they were used last."""

    @cached_property
    def _api(self) -> _Api:
        return _Api(self._settings)

    async def upload(self, upload_id: str) -> Observation:
        """Ask for an upload."""
        answer = await self._ask(self._api.uploads.get_direct_upload, upload_id)
        return read_about(
            answer, "upload", upload_id, lambda data: answers.read_upload(data, "probe")
        )

    async def asset(self, asset_id: str) -> Observation:
        """Ask for an asset."""
        answer = await self._ask(self._api.assets.get_asset, asset_id)
        return read_about(answer, "asset", asset_id, lambda data: answers.read_asset(data, "probe"))

    async def asset_of(self, upload_id: str) -> Observation | None:
        """Ask for the asset that an upload became; None if Mux lists none."""
        answer = await self._ask(self._api.assets.list_assets, upload_id=upload_id, limit=1)
        listed = _listed(answer, answers.read_asset, "probe")
        return next((seen for seen in listed if seen.upload_id == upload_id), None)

    async def assets(self, at: str | None) -> Page:
        """Ask for a page of assets, newest first; `at` is None or what a page named as its next."""
        which = {} if at is None else {"cursor": at}
        answer = await self._ask(self._api.assets.list_assets, limit=PAGE_SIZE, **which)
        listed = _listed(answer, answers.read_asset, "sweep")
        return Page(listed, _cursor(answer.body.get("next_cursor")))

    async def uploads(self, at: str | None) -> Page:
        """Ask for a page of uploads, newest first; their pages are numbered from 1."""
        number = int(at or 1)
        answer = await self._ask(
            self._api.uploads.list_direct_uploads, limit=PAGE_SIZE, page=number
        )
        listed = _listed(answer, answers.read_upload, "sweep")
        is_full = answer.status == 200 and len(answer.body["data"]) == PAGE_SIZE
        return Page(listed, str(number + 1) if is_full else None)

    async def environment(self) -> str:
        """Give the id of the token's environment, asked for once: a token never changes it."""
        return self._environment or (await self.check()).id

    async def check(self) -> Environment:
        """Ask Mux who we are, the one question that any good token may put."""
        await in_daemon_thread(lambda: self._api)  # its import must not make a turn come late
        answer = await self._ask(self._whoami)
        if answer.status != 200:
            raise MuxUnavailable(f"http_{answer.status}", "Mux does not say who we are.")
        environment = read_data(answer, answers.read_environment)
        self._environment = environment.id
        return environment

    def _whoami(self, **options: Any) -> Any:
        # mux-python has no method for it.
        return self._api.client.call_api(
            "/system/v1/whoami",
            "GET",
            auth_settings=["accessToken"],
            _return_http_data_only=True,
            **options,
        )

    async def _ask(self, call: Callable[..., Any], *args: str, **query: Any) -> Answer:
        async def once() -> Answer:
            return await self._ask_once(
                call.__name__.strip("_"), lambda **how: call(*args, **query, **how)
            )

        return await self._patience.repeat(once)

    async def _ask_once(self, route: str, call: Callable[..., Any]) -> Answer:
        await self._pace.turn()
        self.requests += 1
        try:
            async with asyncio.timeout(self._timeout + CONNECT_WITHIN_SECONDS):
                answer = await in_daemon_thread(lambda: _fetch(call, self._timeout))
        except TimeoutError as error:
            self._watch.mux_answered(route, "timeout")
            raise MuxUnavailable("timeout", "Mux did not answer in time.") from error
        except MuxUnavailable as fault:
            self._watch.mux_answered(route, fault.reason)
            raise
        self._watch.mux_answered(route, str(answer.status))
        self.is_refused = answer.status in (401, 403)
        self.rate_limit = answer.rate_limit
        if answer.status == 429 or self._others_use_it_up():
            await self._pace.slow_down()
        return check(answer)

    def _others_use_it_up(self) -> bool:
        """Tell whether nothing is left of the limit although we alone keep below it."""
        limit, remaining = self.rate_limit
        try:
            return remaining == "0" and float(limit or 0) > self._pace.per_second
        except ValueError:
            return False


def _listed(
    answer: Answer, reader: Callable[[Any, Source], Observation], source: Source
) -> tuple[Observation, ...]:
    """Read a list; one that Mux refuses lists nothing, and what it would have told is asked for."""
    if answer.status != 200:
        return ()
    return read_data(answer, lambda data: answers.read_list(data, reader, source))


def _cursor(told: object) -> str | None:
    """Read where a list goes on; what could not be sent back ends it."""
    return told if isinstance(told, str) and told and told.isascii() else None


def _fetch(call: Callable[..., Any], timeout: float) -> Answer:
    """Make one call and read its answer, in a thread.

    mux-python would deserialize strictly and lose the answer over one unknown value, so the body
    is taken raw. The read timeout of urllib3 holds for each read alone, so the body is read piece
    by piece against a deadline.
    """
    from mux_python import ApiException

    deadline = time.monotonic() + timeout
    limits = (min(timeout, CONNECT_WITHIN_SECONDS), timeout)
    try:
        response = call(_preload_content=False, _request_timeout=limits)
        body = bytearray()
        while piece := response.read1(PIECE_BYTES):
            body += piece
            if time.monotonic() > deadline:
                response.close()
                raise MuxUnavailable("timeout", "Mux did not finish its answer in time.")
            if len(body) > LONGEST_ANSWER_BYTES:
                response.close()
                raise MuxUnavailable("unreadable", "Mux's answer is too long.")
        response.release_conn()
        return Answer.of(response.status, response.headers, bytes(body))
    except ApiException as error:
        return Answer.of(error.status, error.headers, error.body)
    except urllib3.exceptions.HTTPError as error:
        raise MuxUnavailable(_kind(error), _words(error)) from error
    except AttributeError as error:  # what mux-python makes of a TLS failure
        raise MuxUnavailable("tls", "There is no TLS connection to Mux.") from error
    except UnicodeDecodeError as error:  # what it makes of an error page in another encoding
        raise MuxUnavailable("unreadable", "Mux answered with an unreadable error.") from error


def _kind(error: urllib3.exceptions.HTTPError) -> str:
    """Tell a timeout from a refused connection, which urllib3 counts among the timeouts."""
    is_timeout = isinstance(error, urllib3.exceptions.TimeoutError)
    was_refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    return "timeout" if is_timeout and not was_refused else "connection"


def _words(error: urllib3.exceptions.HTTPError) -> str:
    """Tell a transport fault without the address of a Python object in it."""
    return f"No answer from Mux: {type(error).__name__}: {str(error).rpartition(': ')[2]}"[:200]
