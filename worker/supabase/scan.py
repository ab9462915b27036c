"""What the worker asks of its database: one method for each of its SQL functions."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from worker.errors import SchemaOutdated, SupabaseUnavailable
from worker.model import Claim, ClaimedBatch, ClaimLimits, Note, Outcome, RequestSlots, Settlement
from worker.settings import Settings
from worker.supabase.bisect import Halving
from worker.supabase.client import Database
from worker.supabase.errors import REQUIRED_FILE
from worker.supabase.serialize import expect, note_json, read, settlement_json
from worker.telemetry.hooks import Watch

SETTLE_AT_ONCE = 100
SWEEP_SECONDS = 15.0
"""How long sweeping is left to the worker that did it last, at the least."""

LAST_CALL_SECONDS = 1.0
MOST_TURNS_PER_SECOND = 10_000
"""The rate at which a turn takes the least time from others that the database allows."""


class Store:
    """Calls the worker's functions in the database.

    All methods raise SupabaseUnavailable when Supabase does not answer as it should, after a few
    tries: settling twice is harmless, so a call whose answer was lost is simply repeated.
    """

    def __init__(self, database: Database, *, sweep_seconds: float = SWEEP_SECONDS) -> None:
        self._database = database
        self._rpc = database.call
        self._name = str(uuid4())
        self._sweep_seconds = sweep_seconds
        self._sweeps = False
        self._halving = Halving(self._rpc)

    @classmethod
    async def connect(
        cls, settings: Settings, stopping: asyncio.Event, watch: Watch | None = None
    ) -> "Store":
        """Prepare the client; nothing is sent yet."""
        database = await Database.connect(settings, stopping, watch)
        sweep_seconds = max(SWEEP_SECONDS, 2 * settings.scan_interval_seconds)
        return cls(database, sweep_seconds=sweep_seconds)

    @property
    def calls(self) -> int:
        """How many calls were sent, repeats included."""
        return self._database.calls

    async def close(self) -> None:
        """Leave sweeping to others, if it was ours, and close the connections."""
        if self._sweeps:
            with suppress(SupabaseUnavailable, TimeoutError):  # then its time just runs out
                async with asyncio.timeout(LAST_CALL_SECONDS):
                    await self._rpc("worker_release", {"claimed": [], "sweeper": self._name})
        await self._database.close()

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

    async def claim(self, limits: ClaimLimits, few: int) -> ClaimedBatch:
        """Lease due rows.

        More than a few are leased only to the one worker that sweeps; that may become this one.
        """
        params = {
            "batch_size": limits.max_probes,
            "lease_seconds": limits.lease_seconds,
            "sweep_size": limits.batch_size,
            "sweeper": self._name,
            "sweep_above": few,
            "sweep_seconds": self._sweep_seconds,
        }
        answer = expect(await self._rpc("worker_claim", params), dict)
        claimed = read(
            lambda: ClaimedBatch(
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
            outcomes += await self._halving.settle(
                part, environment_id=environment_id, sweeper=self._name
            )
        return outcomes

    async def release(self, claims: Sequence[Claim]) -> int:
        """Hand claimed rows back, due at once and in their place; returns how many were ours."""
        claimed = [{"id": c.id, "leased_until": c.leased_until, "due_at": c.due_at} for c in claims]
        return expect(await self._rpc("worker_release", {"claimed": claimed}), int)

    async def acquire_requests(self, count: int, per_second: float, *, bulk: bool) -> RequestSlots:
        """Take the next moments at which Mux may be asked, in agreement with all other workers."""
        answer = await self._rpc(
            "worker_take_turns", {"turns": count, "per_second": per_second, "bulk": bulk}
        )
        told = expect(answer, dict)
        return read(
            lambda: RequestSlots(float(told["first_in_seconds"]), float(told["gap_seconds"]))
        )

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

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Tell all workers that webhooks of an environment arrive; gives the recorded one."""
        params = {"environment_id": environment_id, "has_matched": has_matched}
        recorded = await self._rpc("worker_note_events", params)
        return recorded if isinstance(recorded, str) else None

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

    async def rehearse_scan(self) -> None:
        """Make the calls that a scan makes, in a way that holds up no worker.

        A row that is claimed is handed back in its place, and sweeping is left at once.
        """
        claim = {"batch_size": 1, "lease_seconds": 1, "sweeper": self._name}
        answer = await self._rpc("worker_claim", {**claim, "sweep_above": -1, "sweep_seconds": 0})
        rows = read(lambda: [Claim.from_json(row) for row in expect(answer, dict)["rows"]])
        await self.release(rows)
        await self.acquire_requests(1, MOST_TURNS_PER_SECOND, bulk=True)
        await self._rpc("worker_settle", {"verdicts": []})

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Call one of the functions that have no method here."""
        return await self._rpc(function, params)
