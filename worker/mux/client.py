"""Send requests to Mux, within the rate limit and with retries."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import cached_property, partial
from typing import Any, TypeVar

import urllib3

from worker.errors import MuxUnavailable, error_text
from worker.model import Environment, Observation, OnSent, Page, ignore
from worker.mux.api import MuxApi
from worker.mux.parse import read_asset, read_upload
from worker.mux.rate_limit import RateLimiter
from worker.mux.response import (
    Response,
    check,
    read_asset_of,
    read_assets,
    read_control,
    read_object,
    read_uploads,
    read_whoami,
)
from worker.mux.retry import RetryLimits
from worker.mux.thread import in_daemon_thread
from worker.retry import RetryPolicy
from worker.scan.batch import MIN_PROBE_SECONDS
from worker.settings import Settings
from worker.telemetry.hooks import Telemetry

PAGE_SIZE = 100
"""The largest page that Mux returns."""

CONNECT_TIMEOUT_SECONDS = 5.0
PROBE_ATTEMPT_SHARE = 0.4
"""The share of a probe's time that each of its two attempts may take, with a pause between them."""

CHUNK_BYTES = 65536
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""Many times the size of a page of assets with all their tracks."""

LIST_LIMITS = RetryLimits(unauthorized=2)

T = TypeVar("T")


class MuxClient:
    """Reads uploads, assets and lists from Mux.

    Every method raises MuxUnauthorized (401, 403) or MuxUnavailable after the last attempt. A 404
    is an observation and raises nothing. A probe of one id has two attempts, within a scan
    interval. `on_sent` is called for each request that has passed the rate limiter.

    mux-python is synchronous, so each request has a daemon thread: a thread that hangs in a socket
    cannot be interrupted, and must not keep the process alive.
    """

    def __init__(
        self,
        settings: Settings,
        stopping: asyncio.Event,
        rate_limiter: RateLimiter,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._settings = settings
        self._timeout = settings.mux_timeout_seconds
        self._probe_seconds = max(settings.scan_interval_seconds, MIN_PROBE_SECONDS)
        self._probe_timeout = min(self._timeout, PROBE_ATTEMPT_SHARE * self._probe_seconds)
        self._rate_limiter = rate_limiter
        self._telemetry = telemetry = telemetry or Telemetry()
        self._retry_policy = RetryPolicy(
            stopping, first_pause_seconds=0.5, max_pause_seconds=8, on_retry=telemetry.mux_retried
        )
        self._environment: str | None = None
        self.requests = 0
        self.rate_limit: tuple[str | None, str | None] = (None, None)
        """The rate limit and what remains of it, by the last response."""

    @cached_property
    def _api(self) -> MuxApi:
        return MuxApi(self._settings)

    async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return the observation of an upload."""
        reader = partial(read_upload, source="probe")
        read = partial(read_object, subject="upload", requested_id=upload_id, reader=reader)
        return await self._probe(read, partial(self._api.get_upload, upload_id), on_sent)

    async def asset(self, asset_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return the observation of an asset."""
        reader = partial(read_asset, source="probe")
        read = partial(read_object, subject="asset", requested_id=asset_id, reader=reader)
        return await self._probe(read, partial(self._api.get_asset, asset_id), on_sent)

    async def asset_of(self, upload_id: str, on_sent: OnSent = ignore) -> Observation | None:
        """Return the only asset of an upload.

        None if there is none, or several: then the upload tells which of them counts.
        """
        call = partial(self._api.list_assets, upload_id=upload_id, limit=2)
        return await self._probe(partial(read_asset_of, upload_id), call, on_sent)

    async def control(self) -> None:
        """Request the newest asset, which succeeds whatever is wrong with a single id."""
        await self._probe(read_control, partial(self._api.list_assets, limit=1))

    async def assets(self, cursor: str | None) -> Page:
        """Return a page of the list of assets, newest first: the first, or that of a cursor."""
        options = {} if cursor is None else {"cursor": cursor}
        call = partial(self._api.list_assets, limit=PAGE_SIZE, **options)
        return await self._send(LIST_LIMITS, read_assets, call)

    async def uploads(self, cursor: str | None) -> Page:
        """Return a page of the list of uploads, newest first. Its cursors are page numbers."""
        number = int(cursor or 1)
        call = partial(self._api.list_uploads, limit=PAGE_SIZE, page=number)
        return await self._send(LIST_LIMITS, partial(read_uploads, number, PAGE_SIZE), call)

    async def environment(self) -> str:
        """Return the id of the token's environment, requested once: it never changes."""
        return self._environment or (await self.check()).id

    async def check(self) -> Environment:
        """Return the token's environment, by the one request that any valid token may send."""
        await in_daemon_thread(lambda: self._api)  # its import must not delay a reserved slot
        environment = await self._send(RetryLimits(), read_whoami, partial(self._whoami))
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
        self, read: Callable[[Response], T], call: partial[Any], on_sent: OnSent = ignore
    ) -> T:
        async def attempt() -> T:
            seconds = self._probe_timeout
            return read(await self._send_once(call, seconds, seconds, on_sent))

        return await self._retry(attempt, RetryLimits(2, 2, self._probe_seconds))

    async def _send(
        self, limits: RetryLimits, read: Callable[[Response], T], call: partial[Any]
    ) -> T:
        async def attempt() -> T:
            seconds = self._timeout + CONNECT_TIMEOUT_SECONDS
            return read(await self._send_once(call, self._timeout, seconds))

        return await self._retry(attempt, limits)

    async def _retry(self, attempt: Callable[[], Coroutine[Any, Any, T]], limits: RetryLimits) -> T:
        return await self._retry_policy.run(attempt, limits.max_attempts, limits.seconds)

    async def _send_once(
        self, call: partial[Any], read_seconds: float, seconds: float, on_sent: OnSent = ignore
    ) -> Response:
        route = call.func.__name__.strip("_")
        await self._rate_limiter.acquire()
        self.requests += 1
        on_sent()
        try:
            async with asyncio.timeout(seconds):
                response = await in_daemon_thread(lambda: _fetch(call, read_seconds))
        except TimeoutError as error:
            self._telemetry.mux_answered(route, "timeout")
            raise MuxUnavailable("timeout", "Mux did not answer in time.") from error
        except MuxUnavailable as error:
            self._telemetry.mux_answered(route, error.reason)
            raise
        self._telemetry.mux_answered(route, str(response.status))
        self.rate_limit = response.rate_limit
        per_second = self._rate_limiter.per_second
        if response.asks_for_less or response.is_limit_used_by_others(per_second):
            await self._rate_limiter.slow_down(response.retry_after_seconds or 0.0)
        return check(response)


def _fetch(call: Callable[..., Any], timeout: float) -> Response:
    """Send one request and read its response, in a thread.

    mux-python deserializes strictly and drops a response with one unknown value, so the raw body is
    read. urllib3's read timeout applies to each read alone, so the body is read in chunks until a
    deadline.
    """
    from mux_python import ApiException

    deadline = time.monotonic() + timeout
    timeouts = (min(timeout, CONNECT_TIMEOUT_SECONDS), timeout)
    try:
        raw = call(_preload_content=False, _request_timeout=timeouts)
        body = bytearray()
        while chunk := raw.read1(CHUNK_BYTES):
            body += chunk
            if time.monotonic() > deadline:
                raw.close()
                raise MuxUnavailable("timeout", "Mux did not finish its answer in time.")
            if len(body) > MAX_RESPONSE_BYTES:
                raw.close()
                raise MuxUnavailable("unreadable", "Mux's answer is too long.")
        raw.release_conn()
        return Response.of(raw.status, raw.headers, bytes(body))
    except ApiException as error:
        return Response.of(error.status, error.headers, error.body)
    except urllib3.exceptions.HTTPError as error:
        raise MuxUnavailable(_reason(error), _message(error)) from error
    except AttributeError as error:  # what mux-python makes of a TLS failure
        raise MuxUnavailable("tls", "There is no TLS connection to Mux.") from error
    except UnicodeDecodeError as error:  # what it makes of an error page in another encoding
        raise MuxUnavailable("unreadable", "Mux answered with an unreadable error.") from error


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """Return `timeout` or `connection`: urllib3 counts a refused connection as a timeout."""
    is_timeout = isinstance(error, urllib3.exceptions.TimeoutError)
    was_refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    return "timeout" if is_timeout and not was_refused else "connection"


def _message(error: urllib3.exceptions.HTTPError) -> str:
    """Return the message of a transport error, without the name of a Python object."""
    cause = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error
    text = error_text(cause)
    return f"No answer from Mux: {error_text(Exception(text.rpartition(': ')[2]))}"[:200]
