"""The only module that talks to Supabase: one method for each of the worker's SQL functions."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Never, TypeVar
from uuid import uuid4

import httpx
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions, create_async_client
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from worker.errors import SchemaOutdated, StatementTimeout, SupabaseUnavailable
from worker.faults import fault_of
from worker.model import Claim, Note, Outcome, Settlement
from worker.pace import Turns
from worker.settings import Settings
from worker.watch import Watch
from worker.wire import note_json, sendable, settlement_json

REQUIRED_FILE = "015_webhooks"
"""The last file of sql/ that this worker needs applied."""

SETTLE_AT_ONCE = 100
ATTEMPTS = 4
KEEP_ALIVE_SECONDS = 30.0
SWEEP_SECONDS = 15.0
"""How long sweeping is left to the worker that did it last, at the least."""

LAST_CALL_SECONDS = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Claimed:
    """Rows leased to this worker, and the Mux environment in which our ids were last found."""

    claims: tuple[Claim, ...]
    environment_id: str | None
    sweep: Literal["none", "ours", "others"] = "none"
    """Whether more rows are due than a few, and then whose they are."""

    events_arrive: bool = False
    """Whether webhooks tell of new uploads, so that they need not be asked for."""


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
        self._watch = Watch()
        self._sweeps = False
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
        applied = _expect(await self._rpc("worker_schema_version", {}), str)
        if applied < REQUIRED_FILE:
            raise SchemaOutdated(
                "schema_outdated",
                f"The database has sql/ up to {applied}.sql and this worker needs it up to "
                f"{REQUIRED_FILE}.sql: apply the files after {applied}.sql, in order.",
            )

    async def claim(self, batch_size: int, lease_seconds: float, few: int) -> Claimed:
        """Lease at most `batch_size` due rows for some seconds.

        More than a few are leased only to the one worker that sweeps; that may become this one.
        """
        params = {
            "batch_size": batch_size,
            "lease_seconds": lease_seconds,
            "sweeper": self._name,
            "sweep_above": few,
            "sweep_seconds": self._sweep_seconds,
        }
        answer = _expect(await self._rpc("worker_claim", params), dict)
        claimed = _read(
            lambda: Claimed(
                tuple(Claim.from_json(row) for row in answer["rows"]),
                answer["environment_id"],
                answer["sweep"],
                answer["events_arrive"],
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
            return [_timed_out(items[0])]
        return _read(lambda: [Outcome.from_json(row) for row in _expect(answer, list)])

    async def release(self, claims: Sequence[Claim]) -> int:
        """Hand claimed rows back, due at once; returns how many were still ours."""
        claimed = [{"id": c.id, "leased_until": c.leased_until} for c in claims]
        return _expect(await self._rpc("worker_release", {"claimed": claimed}), int)

    async def take_turns(self, count: int, per_second: float, *, bulk: bool) -> Turns:
        """Take the next moments at which Mux may be asked, in agreement with all other workers."""
        answer = await self._rpc(
            "worker_take_turns", {"turns": count, "per_second": per_second, "bulk": bulk}
        )
        told = _expect(answer, dict)
        return _read(lambda: Turns(float(told["first_in_seconds"]), float(told["gap_seconds"])))

    async def slow_down(self) -> None:
        """Have all workers ask Mux less often for a while."""
        await self._rpc("worker_slow_down", {})

    async def take_note(self, notes: Sequence[Note]) -> list[Outcome]:
        """Take note of facts that settle nothing: rows that wait for them are due at once."""
        outcomes: list[Outcome] = []
        for start in range(0, len(notes), SETTLE_AT_ONCE):
            facts = [note_json(note) for note in notes[start : start + SETTLE_AT_ONCE]]
            answer = _expect(await self._rpc("worker_take_note", {"facts": facts}), list)
            outcomes += _read(lambda answer=answer: [Outcome.from_json(row) for row in answer])  # type: ignore[misc]  # a lambda's default
        return outcomes

    async def note_events(self) -> None:
        """Tell all workers that webhooks arrive."""
        await self._rpc("worker_note_events", {})

    async def summary(self) -> dict[str, Any]:
        """Count what is processing, due, stuck and failed; give the oldest ages in seconds."""
        return _expect(await self._rpc("worker_summary", {}), dict)

    async def prune_events(self, older_than_days: int, at_most: int) -> int:
        """Remove the oldest audit rows that are older than so many days; returns how many."""
        params = {"older_than_days": older_than_days, "at_most": at_most}
        return _expect(await self._rpc("worker_prune_events", params), int)

    async def doctor_facts(self) -> dict[str, Any]:
        """Tell how the database stands: columns, protection, grants, version, clock."""
        return _expect(await self._rpc("worker_doctor", {}), dict)

    async def _rpc(self, function: str, params: dict[str, Any]) -> Any:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(SupabaseUnavailable),
            stop=self._is_out_of_patience,
            wait=wait_exponential_jitter(multiplier=0.1, max=2, jitter=0.1),
            sleep=self._sleep,
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
            async with asyncio.timeout(self._timeout * 1.5):
                return (await self._client.rpc(function, params).execute()).data
        except APIError as error:
            _classify(error, function)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise SupabaseUnavailable("timeout", "Supabase did not answer in time.") from error
        except httpx.HTTPError as error:
            words = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise SupabaseUnavailable("connection", f"No answer from Supabase: {words}") from error
        except (ValueError, RecursionError) as error:
            raise SupabaseUnavailable("unreadable", "Supabase's answer is no JSON.") from error

    def _is_out_of_patience(self, state: RetryCallState) -> bool:
        return self._stopping.is_set() or state.attempt_number >= ATTEMPTS or _will_not_pass(state)

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def _classify(error: APIError, function: str) -> Never:
    """Turn PostgREST's error into ours, by its code: the status says too little."""
    message = (error.message or "no reason given")[:300]
    raise fault_of(str(error.code or ""), message, function, REQUIRED_FILE) from error


def _will_not_pass(state: RetryCallState) -> bool:
    """Tell whether the same call at once would fail again: too large, or somebody has to act."""
    error = state.outcome.exception() if state.outcome else None
    return isinstance(error, StatementTimeout) or (
        isinstance(error, SupabaseUnavailable)
        and error.needs_somebody
        and error.reason != "function_missing"
    )


def _timed_out(item: dict[str, Any]) -> Outcome:
    return Outcome(
        "refused",
        upload_id=item["upload_id"],
        asset_id=item["asset_id"],
        sqlstate="57014",
        message="Settling this one alone exceeds the database's statement timeout.",
    )


def _expect(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise SupabaseUnavailable("unreadable", "Supabase's answer is not what it should be.")
    return value


def _read(reader: Callable[[], T]) -> T:
    try:
        return reader()
    except (KeyError, TypeError, AttributeError) as error:
        raise SupabaseUnavailable(
            "unreadable", "Supabase's answer is not what it should be."
        ) from error
