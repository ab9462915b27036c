"""Call the SQL functions of scans, webhooks, the rate limit, retention and the doctor."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from worker.errors import SchemaRefused, StatementTimeout, SupabaseUnavailable
from worker.model import (
    Claim,
    Outcome,
    RequestSlots,
    Settlement,
)
from worker.scan.batch import ClaimedBatch, ClaimLimits
from worker.settings import Settings
from worker.supabase.client import RpcClient
from worker.supabase.errors import REQUIRED_SCHEMA
from worker.supabase.serialize import (
    expect,
    outcomes,
    parse,
    settlement_json,
    timeout_outcome,
)
from worker.telemetry.hooks import Telemetry

SETTLEMENTS_PER_CALL = 100
MAX_SLOW_ITEMS = 1000
"""How many slow items are remembered; with more, all are forgotten."""

LEADER_LEASE_SECONDS = 15.0
"""How long the worker that claimed rows last is the leader, at least, but never longer than it may
lease rows: so the rows of a worker that died are checked once their lease has ended."""

RELEASE_ON_CLOSE_SECONDS = 1.0
MAX_REQUESTS_PER_SECOND = 10_000
"""The highest rate that the database allows: a request reserved at it delays others least."""

Item = dict[str, Any]


class ScanStore:
    """Calls the SQL functions that the daemon needs, one method each.

    All methods raise SupabaseUnavailable when Supabase does not answer properly after a few
    attempts. Settling twice is harmless, so a call whose response was lost is simply repeated.
    """

    def __init__(
        self, client: RpcClient, *, leader_lease_seconds: float = LEADER_LEASE_SECONDS
    ) -> None:
        self._client = client
        self._worker_id = str(uuid4())
        self._leader_lease_seconds = leader_lease_seconds
        self._is_leader = False
        self._slow_ids: set[tuple[str | None, str | None]] = set()

    @classmethod
    async def connect(
        cls, settings: Settings, stopping: asyncio.Event, telemetry: Telemetry | None = None
    ) -> "ScanStore":
        """Return a store whose client is ready; nothing is sent yet."""
        client = await RpcClient.connect(settings, stopping, telemetry)
        lead_seconds = max(LEADER_LEASE_SECONDS, 2 * settings.scan_interval_seconds)
        return cls(client, leader_lease_seconds=min(lead_seconds, settings.lease_seconds))

    @property
    def calls(self) -> int:
        """How many calls were sent, retries included."""
        return self._client.calls

    async def close(self) -> None:
        """Stop being the leader, and close the connections."""
        with suppress(SupabaseUnavailable, TimeoutError):  # then it expires
            async with asyncio.timeout(RELEASE_ON_CLOSE_SECONDS):
                await self.stop_leading()
        await self._client.close()

    async def stop_leading(self) -> None:
        """Let another worker lead, if this one does."""
        if self._is_leader:
            await self.call("worker_release", {"claimed": [], "leader": self._worker_id})
            self._is_leader = False

    async def check_schema(self) -> None:
        """Raise SchemaRefused if the database lacks files of sql/, or has an older version."""
        version = await self.call("worker_schema_version", {})
        if version is None:
            facts = await self.doctor_facts()
            files = parse(lambda: ", ".join(f"sql/{name}.sql" for name in facts["missing_files"]))
            found = f"The database lacks {files}."
        elif expect(version, int) < REQUIRED_SCHEMA:
            found = (
                f"The database has version {version} of sql/, and this worker needs version "
                f"{REQUIRED_SCHEMA}."
            )
        else:
            return
        message = f"{found} Apply all files of sql/ again, in order."
        raise SchemaRefused("schema_outdated", message)

    async def claim(self, limits: ClaimLimits) -> ClaimedBatch:
        """Lease due rows, and return them.

        Only the leader is given rows. This worker becomes it where rows are due and no other one
        is.
        """
        params = {
            "batch_size": limits.batch_size,
            "lease_seconds": limits.lease_seconds,
            "leader": self._worker_id,
            "lead_seconds": self._leader_lease_seconds,
            "requests_per_second": limits.requests_per_second,
        }
        response = expect(await self.call("worker_claim", params), dict)
        claimed = parse(
            lambda: ClaimedBatch(
                tuple(Claim.from_json(row) for row in response["rows"]),
                response["environment_id"],
                response["events_arrive"],
                response["more_are_due"],
                left_to_others=response["leader"] == "others",
                slot=response["slot"] and _slots(response["slot"]),
            )
        )
        if response["leader"] != "none":  # of nothing that is due there is no leader
            self._is_leader = response["leader"] == "ours"
        return claimed

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts in batches, and return the outcomes.

        `environment_id` is the Mux environment in which one of the observations found its id.
        Items that exceeded the statement timeout before are settled last, each in its own call.
        """
        settled: list[Outcome] = []
        for start in range(0, len(settlements), SETTLEMENTS_PER_CALL):
            batch = [settlement_json(s) for s in settlements[start : start + SETTLEMENTS_PER_CALL]]
            quick = [item for item in batch if _ids(item) not in self._slow_ids]
            slow = [item for item in batch if _ids(item) in self._slow_ids]
            for items in ([quick] if quick else []) + [[item] for item in slow]:
                settled += await self._settle_bisecting(items, environment_id)
        return settled

    async def _settle_bisecting(
        self, items: list[Item], environment_id: str | None
    ) -> list[Outcome]:
        """Settle items in one call, or in halves where it exceeds the statement timeout (57014).

        An item that exceeds it alone is recorded as refused, so that its row backs off. To find it
        among a hundred takes seven calls that time out.
        """
        params = {
            "verdicts": items,
            "environment_id": environment_id,
            "leader": self._worker_id if self._is_leader else None,
            "lead_seconds": self._leader_lease_seconds,
        }
        try:
            response = await self.call("worker_settle", params)
        except StatementTimeout:
            if len(items) == 1:
                return await self._record_timeout(items[0])
            half = len(items) // 2
            first = await self._settle_bisecting(items[:half], environment_id)
            return first + await self._settle_bisecting(items[half:], environment_id)
        if len(items) == 1:
            self._slow_ids.discard(_ids(items[0]))
        return outcomes(response)

    async def _record_timeout(self, item: Item) -> list[Outcome]:
        """Make the item's rows back off; if even that fails, only return the outcome."""
        if len(self._slow_ids) >= MAX_SLOW_ITEMS:
            self._slow_ids.clear()
        self._slow_ids.add(_ids(item))
        outcome = timeout_outcome(item)
        params = {"verdict": item, "code": outcome.sqlstate, "problem": outcome.message}
        try:
            return outcomes(await self.call("worker_record_refusal", params))
        except SupabaseUnavailable:
            return [outcome]

    async def release(self, claims: Sequence[Claim]) -> int:
        """Make claimed rows due again, in their old place; return how many were still leased."""
        claimed = [{"id": c.id, "leased_until": c.leased_until, "due_at": c.due_at} for c in claims]
        return expect(await self.call("worker_release", {"claimed": claimed}), int)

    async def acquire_requests(self, count: int, per_second: float) -> RequestSlots:
        """Reserve the next times at which requests may be sent to Mux, shared by all workers."""
        params = {"requests": count, "per_second": per_second}
        response = expect(await self.call("worker_acquire_requests", params), dict)
        return parse(lambda: _slots(response))

    async def slow_down(self, pause_seconds: float) -> None:
        """Reduce the rate of all workers for a while; let them send nothing during the pause."""
        await self.call("worker_slow_down", {"pause_seconds": pause_seconds})

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Record that webhooks of an environment arrive; return the recorded environment."""
        params = {"environment_id": environment_id, "has_matched": has_matched}
        recorded = await self.call("worker_note_events", params)
        return recorded if isinstance(recorded, str) else None

    async def summary(self) -> dict[str, Any]:
        """Return counts of processing, due, stuck and failed rows, and the oldest ages in s."""
        return expect(await self.call("worker_summary", {}), dict)

    async def prune_events(self, older_than_days: int, at_most: int) -> int:
        """Delete the oldest audit events beyond an age; return how many were deleted."""
        params = {"older_than_days": older_than_days, "at_most": at_most}
        return expect(await self.call("worker_prune_events", params), int)

    async def doctor_facts(self) -> dict[str, Any]:
        """Return the facts about the database: columns, protection, grants, version, clock."""
        return expect(await self.call("worker_doctor", {}), dict)

    async def rehearse_scan(self) -> None:
        """Make the calls that a scan makes, in a way that delays no worker noticeably.

        A claimed row is released in its place, the lead lasts no time, and the reserved request
        delays others by a tenth of a millisecond.
        """
        claim = {"batch_size": 1, "lease_seconds": 1}
        params = {**claim, "leader": self._worker_id, "lead_seconds": 0}
        response = expect(await self.call("worker_claim", params), dict)
        await self.release(parse(lambda: [Claim.from_json(row) for row in response["rows"]]))
        await self.acquire_requests(1, MAX_REQUESTS_PER_SECOND)
        await self.call("worker_settle", {"verdicts": []})

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Return the response of an SQL function."""
        return await self._client.call(function, params)


def _slots(response: dict[str, Any]) -> RequestSlots:
    return RequestSlots(
        float(response["first_in_seconds"]),
        float(response["gap_seconds"]),
        float(response["paused_seconds"]),
    )


def _ids(item: Item) -> tuple[str | None, str | None]:
    return item["upload_id"], item["asset_id"]
