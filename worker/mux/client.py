"""The only module that talks to Mux."""

import asyncio
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, TypeVar

import urllib3

from worker.claim_limits import probe_seconds
from worker.errors import MuxUnavailable
from worker.model import Environment, Observation, Page
from worker.mux.api import MuxApi
from worker.mux.parse import read_asset, read_upload
from worker.mux.rate_limit import Pace, Sent, unheard
from worker.mux.response import (
    Answer,
    check,
    read_about,
    read_asset_of,
    read_assets,
    read_control,
    read_uploads,
    read_whoami,
)
from worker.mux.retry import Patience, Tries
from worker.mux.thread import in_daemon_thread
from worker.settings import Settings
from worker.telemetry.hooks import Telemetry

PAGE_SIZE = 100
"""The most that Mux gives a page."""

CONNECT_WITHIN_SECONDS = 5.0
TRY_OF_A_PROBE = 0.4
"""The part of a probe's time that each of its two tries may take; the rest is between them."""

PIECE_BYTES = 65536
LONGEST_ANSWER_BYTES = 16 * 1024 * 1024
"""Many times what a page of assets with all their tracks has."""

LIST = Tries(refusals=2)
ASSET = partial(read_asset, source="probe")
UPLOAD = partial(read_upload, source="probe")

T = TypeVar("T")


class Mux:
    """Asks Mux one question at a time, at its pace, with retries.

    Every question raises MuxUnauthorized (401, 403) and MuxUnavailable when patience ends; a 404
    is no fault but an observation. A probe is tried twice, within a scan interval; `sent` is called
    when its turn has come and its request goes out.

    mux-python is synchronous, so each call has a daemon thread: nothing can cut off a thread that
    hangs in a socket, and it must not keep the process alive.
    """

    def __init__(
        self,
        settings: Settings,
        stopping: asyncio.Event,
        pace: Pace,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._settings = settings
        self._timeout = timeout = settings.mux_timeout_seconds
        self._probe_seconds = in_all = probe_seconds(settings.scan_interval_seconds)
        self._probe_timeout = min(timeout, TRY_OF_A_PROBE * in_all)
        self._pace = pace
        self._telemetry = telemetry or Telemetry()
        self._patience = Patience(stopping, self._telemetry)
        self._environment: str | None = None
        self.requests = 0
        self.rate_limit: tuple[str | None, str | None] = (None, None)
        """The limit and what is left of it, as Mux said last."""

        self.is_refused = False
        """Whether Mux refused the credentials when they were used last."""

    @cached_property
    def _api(self) -> MuxApi:
        return MuxApi(self._settings)

    async def upload(self, upload_id: str, sent: Sent = unheard) -> Observation:
        """Ask for an upload."""
        read = partial(read_about, subject="upload", asked=upload_id, reader=UPLOAD)
        return await self._probe(read, partial(self._api.get_upload, upload_id), sent)

    async def asset(self, asset_id: str, sent: Sent = unheard) -> Observation:
        """Ask for an asset."""
        read = partial(read_about, subject="asset", asked=asset_id, reader=ASSET)
        return await self._probe(read, partial(self._api.get_asset, asset_id), sent)

    async def asset_of(self, upload_id: str, sent: Sent = unheard) -> Observation | None:
        """Ask for the asset that an upload became.

        None if Mux lists none, or several: which of them counts, the upload says.
        """
        ask = partial(self._api.list_assets, upload_id=upload_id, limit=2)
        return await self._probe(partial(read_asset_of, upload_id), ask, sent)

    async def control(self) -> None:
        """Ask for the newest asset, which Mux answers whatever is wrong with one id."""
        await self._probe(read_control, partial(self._api.list_assets, limit=1))

    async def assets(self, at: str | None) -> Page:
        """Ask for a page of assets, newest first; `at` is None or what a page named as its next."""
        which = {} if at is None else {"cursor": at}
        ask = partial(self._api.list_assets, limit=PAGE_SIZE, **which)
        return await self._ask(LIST, read_assets, ask)

    async def uploads(self, at: str | None) -> Page:
        """Ask for a page of uploads, newest first; their pages are numbered from 1."""
        number = int(at or 1)
        ask = partial(self._api.list_uploads, limit=PAGE_SIZE, page=number)
        return await self._ask(LIST, partial(read_uploads, number, PAGE_SIZE), ask)

    async def environment(self) -> str:
        """Give the id of the token's environment, asked for once: a token never changes it."""
        return self._environment or (await self.check()).id

    async def check(self) -> Environment:
        """Ask Mux who we are, the one question that any good token may put."""
        await in_daemon_thread(lambda: self._api)  # its import must not make a turn come late
        environment = await self._ask(Tries(), read_whoami, partial(self._whoami))
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

    async def _probe(
        self, read: Callable[[Answer], T], ask: partial[Any], sent: Sent = unheard
    ) -> T:
        async def once() -> T:
            return read(await self._ask_once(ask, self._probe_timeout, self._probe_timeout, sent))

        return await self._patience.repeat(once, Tries(2, 2, self._probe_seconds))

    async def _ask(self, tries: Tries, read: Callable[[Answer], T], ask: partial[Any]) -> T:
        async def once() -> T:
            in_all = self._timeout + CONNECT_WITHIN_SECONDS
            return read(await self._ask_once(ask, self._timeout, in_all))

        return await self._patience.repeat(once, tries)

    async def _ask_once(
        self, ask: partial[Any], read_seconds: float, seconds: float, sent: Sent = unheard
    ) -> Answer:
        route = ask.func.__name__.strip("_")
        await self._pace.turn()
        self.requests += 1
        sent()
        try:
            async with asyncio.timeout(seconds):
                answer = await in_daemon_thread(lambda: _fetch(ask, read_seconds))
        except TimeoutError as error:
            self._telemetry.mux_answered(route, "timeout")
            raise MuxUnavailable("timeout", "Mux did not answer in time.") from error
        except MuxUnavailable as fault:
            self._telemetry.mux_answered(route, fault.reason)
            raise
        self._telemetry.mux_answered(route, str(answer.status))
        self.is_refused = answer.status in (401, 403)
        self.rate_limit = answer.rate_limit
        if answer.status == 429 or answer.is_used_up_beyond(self._pace.per_second):
            await self._pace.slow_down()
        return check(answer)


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
