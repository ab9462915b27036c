"""The only module that talks to Mux."""

import asyncio
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import urllib3
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from worker import answers
from worker.answer import Answer, check, read_about, read_data
from worker.errors import MuxUnavailable
from worker.logs import Sparingly, get_logger
from worker.model import Environment, Observation
from worker.pace import Pace
from worker.settings import Settings
from worker.threads import in_daemon_thread

ATTEMPTS = 4
RETRY_WITHIN_SECONDS = 20.0
LONGEST_PATIENCE_SECONDS = 10.0
"""A `Retry-After` beyond this ends the pass; rows are not held for it."""

CONNECT_WITHIN_SECONDS = 5.0
PIECE_BYTES = 65536

log = get_logger()


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
        configuration.retries = False  # hidden, and they would sleep as long as Mux says
        self.client = mux_python.ApiClient(configuration)
        self.uploads = mux_python.DirectUploadsApi(self.client)
        self.assets = mux_python.AssetsApi(self.client)


class Mux:
    """Asks Mux one question at a time, at its pace, with retries.

    Every question raises MuxUnauthorized (401, 403) and, when patience ends, MuxUnavailable; a
    404 is no fault but an observation. mux-python is synchronous, so each call has a daemon
    thread: nothing can cut off a thread that hangs in a socket, and it must not keep the process
    alive.
    """

    def __init__(self, settings: Settings, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._timeout = settings.mux_timeout_seconds
        self._pace = Pace(settings.mux_requests_per_second)
        self._stopping = stopping
        self._retries_said = Sparingly(60)
        self._environment: str | None = None
        self.requests = 0
        self.rate_limit: tuple[str | None, str | None] = (None, None)
        """The limit and what is left of it, as Mux said last."""

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

    async def environment(self) -> str:
        """Give the id of the token's environment, asked for once: a token never changes it."""
        return self._environment or (await self.check()).id

    async def check(self) -> Environment:
        """Ask Mux who we are, the one question that any good token may put."""
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

    async def _ask(self, call: Callable[..., Any], *args: str) -> Answer:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(MuxUnavailable),
            stop=self._is_out_of_patience,
            wait=_wait,
            sleep=self._sleep,
            before_sleep=self._say_retry,
            reraise=True,
        )
        answer: Answer = await retrying(self._ask_once, call, *args)
        return answer

    async def _ask_once(self, call: Callable[..., Any], *args: str) -> Answer:
        await self._pace.turn()
        self.requests += 1
        try:
            async with asyncio.timeout(self._timeout + CONNECT_WITHIN_SECONDS):
                answer = await in_daemon_thread(lambda: _fetch(call, args, self._timeout))
        except TimeoutError as error:
            raise MuxUnavailable("timeout", "Mux did not answer in time.") from error
        self.rate_limit = answer.rate_limit
        if self.rate_limit[1] == "0":
            self._pace.hold(1)
        return check(answer)

    def _is_out_of_patience(self, state: RetryCallState) -> bool:
        return (
            self._stopping.is_set()
            or state.attempt_number >= ATTEMPTS
            or (state.seconds_since_start or 0) >= RETRY_WITHIN_SECONDS
            or _retry_after(state) > LONGEST_PATIENCE_SECONDS
        )

    async def _sleep(self, seconds: float) -> None:
        """Sleep between attempts, but not through a shutdown."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _say_retry(self, state: RetryCallState) -> None:
        fault = _fault(state)
        if fault is not None and self._retries_said.may_say(fault.reason):
            log.info(
                "mux.retry",
                reason=fault.reason,
                message=fault.message,
                attempt=state.attempt_number,
                pause_seconds=round(state.upcoming_sleep, 2),
            )


def _fault(state: RetryCallState) -> MuxUnavailable | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, MuxUnavailable) else None


def _retry_after(state: RetryCallState) -> float:
    fault = _fault(state)
    return (fault.retry_after_seconds or 0.0) if fault else 0.0


def _wait(state: RetryCallState) -> float:
    backoff = wait_exponential_jitter(multiplier=0.5, max=8, jitter=0.5)(state)
    return max(backoff, _retry_after(state))


def _fetch(call: Callable[..., Any], args: tuple[str, ...], timeout: float) -> Answer:
    """Make one call and read its answer, in a thread.

    mux-python would deserialize strictly and lose the answer over one unknown value, so the body
    is taken raw. The read timeout of urllib3 holds for each read alone, so the body is read piece
    by piece against a deadline.
    """
    from mux_python import ApiException

    deadline = time.monotonic() + timeout
    limits = (min(timeout, CONNECT_WITHIN_SECONDS), timeout)
    try:
        response = call(*args, _preload_content=False, _request_timeout=limits)
        pieces = []
        while piece := response.read1(PIECE_BYTES):
            pieces.append(piece)
            if time.monotonic() > deadline:
                response.close()
                raise MuxUnavailable("timeout", "Mux did not finish its answer in time.")
        response.release_conn()
        return Answer.of(response.status, response.headers, b"".join(pieces))
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
