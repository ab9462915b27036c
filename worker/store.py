"""The only module that talks to Supabase: one method for each of the worker's SQL functions."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions, create_async_client
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from worker.batching import Batching
from worker.errors import SchemaOutdated, StatementTimeout, SupabaseUnavailable
from worker.model import Claim, Claimed, Note, Outcome, Settlement
from worker.pace import Turns
from worker.pausing import pause
from worker.refusal import REQUIRED_FILE, refusal, will_not_pass
from worker.settings import Settings
from worker.watch import Watch
from worker.wire import expect, note_json, read, sendable, settlement_json, timed_out

SETTLE_AT_ONCE = 100
ATTEMPTS = 4
LONGEST_TRY = 1.5
"""In timeouts: one call, whose connecting, sending and reading have a timeout each, and no try
begins later than that. So a connection that has died heals unnoticed, and a hang is told soon."""

KEEP_ALIVE_SECONDS = 30.0
SWEEP_SECONDS = 15.0
"""How long sweeping is left to the worker that did it last, at the least."""

LAST_CALL_SECONDS = 1.0

T = TypeVar("T")


class Store:
    """Calls the worker's functions in the database.

    All methods raise SupabaseUnavailable when Supabase does not answer as it should, after a few
    tries: settling twice is harmless, so a call whose answer was lost is simply repeated.
    """

    def __init__(self, client: AsyncClient, http: httpx.AsyncClient, timeout: float) -> None:
        self._client = client
        self._http = http
        self._timeout = timeout
        self._stopping = asyncio.Event()
        self._name = str(uuid4())
        self._sweep_seconds = SWEEP_SECONDS
        self._sweeps = False
        self._watch = Watch()
        self.calls = 0

    @classmethod
    async def connect(
        cls, settings: Settings, stopping: asyncio.Event, watch: Watch | None = None
    ) -> "Store":
        """Prepare the client; nothing is sent yet."""
        http = httpx.AsyncClient(
            timeout=httpx.Timeout(settings.supabase_timeout_seconds),
            limits=httpx.Limits(max_connections=10, keepalive_expiry=KEEP_ALIVE_SECONDS),
            follow_redirects=False,
        )
        options = AsyncClientOptions(
            httpx_client=http, auto_refresh_token=False, persist_session=False
        )
        key = settings.supabase_service_role_key.get_secret_value()
        client = await create_async_client(settings.supabase_url, key, options)
        store = cls(client, http, settings.supabase_timeout_seconds)
        store._stopping = stopping
        store._watch = watch or store._watch
        store._sweep_seconds = max(SWEEP_SECONDS, 2 * settings.scan_interval_seconds)
        return store

    async def close(self) -> None:
        """Leave sweeping to others, if it was ours, and close the connections."""
        if self._sweeps:
            with suppress(SupabaseUnavailable, TimeoutError):  # then its time just runs out
                async with asyncio.timeout(LAST_CALL_SECONDS):
                    await self._rpc("worker_release", {"claimed": [], "sweeper": self._name})
        await self._http.aclose()

    async def check_schema(self) -> None:
        """Make sure that sql/ is applied.

        Raises SchemaOutdated, naming what to apply.
        """
        applied = expect(await self._rpc("worker_schema_version", {}), str)
        if applied < REQUIRED_FILE:
            raise SchemaOutdated(
                "schema_outdated",
                f"The database has sql/ up to {applied}.sql and this worker needs it up to "
                f"{REQUIRED_FILE}.sql: apply the files after {applied}.sql, in order.",
            )

    async def claim(self, batching: Batching, few: int) -> Claimed:
        """Lease due rows.

        More than a few are leased only to the one worker that sweeps; that may become this one.
        """
        params = {
            "batch_size": batching.probes,
            "lease_seconds": batching.lease_seconds,
            "sweep_size": batching.size,
            "sweeper": self._name,
            "sweep_above": few,
            "sweep_seconds": self._sweep_seconds,
        }
        answer = expect(await self._rpc("worker_claim", params), dict)
        claimed = read(
            lambda: Claimed(
                tuple(Claim.from_json(row) for row in answer["rows"]),
                answer["environment_id"],
                answer["sweep"],
                answer["events_arrive"],
                answer["more_are_due"],
            )
        )
        self._sweeps = claimed.sweep == "ours" or (self._sweeps and claimed.sweep == "none")
        return claimed

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle any number of settlements, at most a hundred a call.

        `environment_id` is the Mux environment, if one of the observations found its id there.
        """
        outcomes: list[Outcome] = []
        for start in range(0, len(settlements), SETTLE_AT_ONCE):
            part = [settlement_json(s) for s in settlements[start : start + SETTLE_AT_ONCE]]
            outcomes += await self._settle(part, environment_id)
        return outcomes

    async def _settle(
        self, items: list[dict[str, Any]], environment_id: str | None
    ) -> list[Outcome]:
        """Settle one call's worth, or its halves where the database cuts the whole off."""
        try:
            answer = await self._rpc(
                "worker_settle",
                {"verdicts": items, "environment_id": environment_id, "sweeper": self._name},
            )
        except StatementTimeout:
            if len(items) > 1:
                half = len(items) // 2
                return [
                    *await self._settle(items[:half], environment_id),
                    *await self._settle(items[half:], environment_id),
                ]
            return [timed_out(items[0])]
        return read(lambda: [Outcome.from_json(row) for row in expect(answer, list)])

    async def release(self, claims: Sequence[Claim]) -> int:
        """Hand claimed rows back, due at once; returns how many were still ours."""
        claimed = [{"id": c.id, "leased_until": c.leased_until} for c in claims]
        return expect(await self._rpc("worker_release", {"claimed": claimed}), int)

    async def take_turns(self, count: int, per_second: float, *, bulk: bool) -> Turns:
        """Take the next moments at which Mux may be asked, in agreement with all other workers."""
        answer = await self._rpc(
            "worker_take_turns", {"turns": count, "per_second": per_second, "bulk": bulk}
        )
        told = expect(answer, dict)
        return read(lambda: Turns(float(told["first_in_seconds"]), float(told["gap_seconds"])))

    async def slow_down(self) -> None:
        """Have all workers ask Mux less often for a while."""
        await self._rpc("worker_slow_down", {})

    async def take_note(self, notes: Sequence[Note]) -> list[Outcome]:
        """Take note of facts that settle nothing: rows that wait for them are due at once."""
        outcomes: list[Outcome] = []
        for start in range(0, len(notes), SETTLE_AT_ONCE):
            facts = [note_json(note) for note in notes[start : start + SETTLE_AT_ONCE]]
            answer = expect(await self._rpc("worker_take_note", {"facts": facts}), list)
            outcomes += read(lambda answer=answer: [Outcome.from_json(row) for row in answer])  # type: ignore[misc]  # a lambda's default
        return outcomes

    async def note_events(self) -> None:
        """Tell all workers that webhooks arrive."""
        await self._rpc("worker_note_events", {})

    async def summary(self) -> dict[str, Any]:
        """Count what is processing, due, stuck and failed; give the oldest ages in seconds."""
        return expect(await self._rpc("worker_summary", {}), dict)

    async def prune_events(self, older_than_days: int, at_most: int) -> int:
        """Remove the oldest audit rows that are older than so many days; returns how many."""
        params = {"older_than_days": older_than_days, "at_most": at_most}
        return expect(await self._rpc("worker_prune_events", params), int)

    async def doctor_facts(self) -> dict[str, Any]:
        """Tell how the database stands: columns, protection, grants, version, clock."""
        return expect(await self._rpc("worker_doctor", {}), dict)

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Call one of the functions that have no method here."""
        return await self._rpc(function, params)

    async def _rpc(self, function: str, params: dict[str, Any]) -> Any:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(SupabaseUnavailable),
            stop=self._is_out_of_patience,
            wait=wait_exponential_jitter(multiplier=0.1, max=2, jitter=0.1),
            sleep=partial(pause, stopping=self._stopping),
            reraise=True,
        )
        return await retrying(self._rpc_watched, function, sendable(params))

    async def _rpc_watched(self, function: str, params: dict[str, Any]) -> Any:
        began, reason = time.monotonic(), "cancelled"
        try:
            answer = await self._rpc_once(function, params)
            reason = ""
            return answer
        except SupabaseUnavailable as fault:
            reason = fault.reason
            raise
        finally:
            self._watch.rpc_ended(function, time.monotonic() - began, reason)

    async def _rpc_once(self, function: str, params: dict[str, Any]) -> Any:
        self.calls += 1
        try:
            async with asyncio.timeout(self._timeout * LONGEST_TRY):
                return (await self._client.rpc(function, params).execute()).data
        except APIError as error:
            message = (error.message or "no reason given")[:300]
            raise refusal(str(error.code or ""), message, function) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise SupabaseUnavailable("timeout", "Supabase did not answer in time.") from error
        except httpx.HTTPError as error:
            words = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise SupabaseUnavailable("connection", f"No answer from Supabase: {words}") from error
        except (ValueError, RecursionError) as error:
            raise SupabaseUnavailable("unreadable", "Supabase's answer is no JSON.") from error

    def _is_out_of_patience(self, state: RetryCallState) -> bool:
        fault = state.outcome.exception() if state.outcome else None
        return (
            self._stopping.is_set()
            or state.attempt_number >= ATTEMPTS
            or (state.seconds_since_start or 0) >= self._timeout * LONGEST_TRY
            or will_not_pass(fault)
        )
