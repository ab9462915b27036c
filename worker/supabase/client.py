"""Call SQL functions over Supabase's API, with retries: the only module that imports its client."""

import asyncio
import time
from contextvars import ContextVar
from functools import partial
from typing import Any

import httpx
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions, create_async_client

from worker.errors import SupabaseUnavailable, error_text
from worker.network import proxy_for, tls_context
from worker.retry import RetryPolicy
from worker.settings import Settings
from worker.supabase.errors import error_for, max_attempts
from worker.supabase.serialize import sanitize
from worker.telemetry.hooks import Telemetry

DEADLINE_TIMEOUTS = 1.5
"""The deadline of one attempt, in timeouts, since connecting, sending and reading have a timeout
each. No attempt begins later either. So a dead connection is replaced unnoticed, and a hang is
reported soon."""

KEEP_ALIVE_SECONDS = 30.0

_status: ContextVar[int] = ContextVar("_status")
"""The HTTP status of the response to this task's call, which the client drops."""


class RpcClient:
    """Calls SQL functions, each in its own transaction, and retries transient errors.

    So a function must be safe to call twice.
    """

    def __init__(
        self,
        client: AsyncClient,
        http: httpx.AsyncClient,
        timeout: float,
        stopping: asyncio.Event,
        telemetry: Telemetry,
    ) -> None:
        self._client = client
        self._http = http
        self._deadline_seconds = timeout * DEADLINE_TIMEOUTS
        self._retry_policy = RetryPolicy(stopping, first_pause_seconds=0.1, max_pause_seconds=2)
        self._telemetry = telemetry
        self.calls = 0

    @classmethod
    async def connect(
        cls, settings: Settings, stopping: asyncio.Event, telemetry: Telemetry | None = None
    ) -> "RpcClient":
        """Return a client that is ready; nothing is sent yet."""
        timeout = settings.supabase_timeout_seconds
        http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout),
            limits=httpx.Limits(max_connections=10, keepalive_expiry=KEEP_ALIVE_SECONDS),
            follow_redirects=False,
            event_hooks={"response": [_record_status]},
            trust_env=False,
            proxy=proxy_for(settings.supabase_url),
            verify=tls_context(),
        )
        options = AsyncClientOptions(
            httpx_client=http, auto_refresh_token=False, persist_session=False
        )
        key = settings.supabase_service_role_key.get_secret_value()
        options.headers["Authorization"] = f"Bearer {key}"
        client = await create_async_client(
            settings.supabase_url, settings.supabase_api_key, options
        )
        return cls(client, http, timeout, stopping, telemetry or Telemetry())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Return the response of an SQL function.

        Raises SupabaseUnavailable when there is none after a few attempts.
        """
        attempt = partial(self._measured, function, sanitize(params))
        return await self._retry_policy.run(attempt, max_attempts, self._deadline_seconds)

    async def _measured(self, function: str, params: dict[str, Any]) -> Any:
        began, reason = time.monotonic(), "cancelled"
        try:
            response = await self._send(function, params)
            reason = ""
            return response
        except SupabaseUnavailable as error:
            reason = error.reason
            raise
        finally:
            self._telemetry.rpc_ended(function, time.monotonic() - began, reason)

    async def _send(self, function: str, params: dict[str, Any]) -> Any:
        self.calls += 1
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return (await self._client.rpc(function, params).execute()).data
        except APIError as error:
            message, details = error.message or "no reason given", str(error.details or "")
            raise error_for(
                function, error.code, _status.get(), message[:300], details[:300]
            ) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise SupabaseUnavailable("timeout", "Supabase did not answer in time.") from error
        except httpx.HTTPError as error:
            raise error_for(function, "connection", 0, error_text(error)) from error
        except (ValueError, RecursionError) as error:
            raise SupabaseUnavailable("unreadable", "Supabase's response is not JSON.") from error


async def _record_status(response: httpx.Response) -> None:
    _status.set(response.status_code)
