"""Call the database's functions through Supabase: the only module that knows its client."""

import asyncio
import time
from contextvars import ContextVar
from functools import partial
from typing import Any

import httpx
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions, create_async_client
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from worker.errors import SupabaseBusy, SupabaseUnavailable
from worker.network import proxy_for, tls_context
from worker.settings import Settings
from worker.sleep import pause
from worker.supabase.errors import is_final, refusal
from worker.supabase.serialize import sendable
from worker.telemetry.hooks import Watch

ATTEMPTS = 4
"""Of one call; what passes within seconds is repeated for as long as LONGEST_TRY allows."""

LONGEST_TRY = 1.5
"""In timeouts: one call, whose connecting, sending and reading have a timeout each, and no try
begins later than that. So a connection that has died heals unnoticed, and a hang is told soon."""

KEEP_ALIVE_SECONDS = 30.0

_status: ContextVar[int] = ContextVar("_status")
"""The HTTP status of the answer to this task's call, which the client drops."""


class Database:
    """Calls functions, each in a transaction of its own, and repeats what fails for a moment.

    Whoever calls sees to it that a function does no harm when it is called twice.
    """

    def __init__(
        self,
        client: AsyncClient,
        http: httpx.AsyncClient,
        timeout: float,
        stopping: asyncio.Event,
        watch: Watch,
    ) -> None:
        self._client = client
        self._http = http
        self._timeout = timeout
        self._stopping = stopping
        self._watch = watch
        self.calls = 0

    @classmethod
    async def connect(
        cls, settings: Settings, stopping: asyncio.Event, watch: Watch | None = None
    ) -> "Database":
        """Prepare the client; nothing is sent yet."""
        timeout = settings.supabase_timeout_seconds
        http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout),
            limits=httpx.Limits(max_connections=10, keepalive_expiry=KEEP_ALIVE_SECONDS),
            follow_redirects=False,
            event_hooks={"response": [_note_status]},
            trust_env=False,
            proxy=proxy_for(settings.supabase_url),
            verify=tls_context(),
        )
        options = AsyncClientOptions(
            httpx_client=http, auto_refresh_token=False, persist_session=False
        )
        key = settings.supabase_service_role_key.get_secret_value()
        client = await create_async_client(settings.supabase_url, key, options)
        return cls(client, http, timeout, stopping, watch or Watch())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Call a function, and give what it returns.

        Raises SupabaseUnavailable when it does not answer as it should, after a few tries.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(SupabaseUnavailable),
            stop=self._is_out_of_patience,
            wait=wait_exponential_jitter(multiplier=0.1, max=2, jitter=0.1),
            sleep=partial(pause, stopping=self._stopping),
            reraise=True,
        )
        return await retrying(self._watched, function, sendable(params))

    async def _watched(self, function: str, params: dict[str, Any]) -> Any:
        began, reason = time.monotonic(), "cancelled"
        try:
            answer = await self._once(function, params)
            reason = ""
            return answer
        except SupabaseUnavailable as fault:
            reason = fault.reason
            raise
        finally:
            self._watch.rpc_ended(function, time.monotonic() - began, reason)

    async def _once(self, function: str, params: dict[str, Any]) -> Any:
        self.calls += 1
        try:
            async with asyncio.timeout(self._timeout * LONGEST_TRY):
                return (await self._client.rpc(function, params).execute()).data
        except APIError as error:
            message, details = error.message or "no reason given", str(error.details or "")
            raise refusal(
                function, error.code, _status.get(), message[:300], details[:300]
            ) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise SupabaseUnavailable("timeout", "Supabase did not answer in time.") from error
        except httpx.HTTPError as error:
            words = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise refusal(function, "connection", 0, words) from error
        except (ValueError, RecursionError) as error:
            raise SupabaseUnavailable("unreadable", "Supabase's answer is no JSON.") from error

    def _is_out_of_patience(self, state: RetryCallState) -> bool:
        fault = state.outcome.exception() if state.outcome else None
        return (
            self._stopping.is_set()
            or (state.attempt_number >= ATTEMPTS and not isinstance(fault, SupabaseBusy))
            or (state.seconds_since_start or 0) >= self._timeout * LONGEST_TRY
            or is_final(fault)
        )


async def _note_status(response: httpx.Response) -> None:
    _status.set(response.status_code)
