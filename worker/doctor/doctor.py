"""Run all checks, one after another; none changes anything."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from worker.doctor import checks, grants
from worker.doctor.checks import Check
from worker.doctor.connectivity import check_network
from worker.doctor.webhook_check import check_webhook
from worker.errors import SchemaOutdated, Unavailable
from worker.model import UPLOAD_UNKNOWN, Environment, Observation, is_mux_id
from worker.project_key import expires_at
from worker.settings import Settings
from worker.supabase.errors import REQUIRED_SCHEMA

OF_DATABASE = (
    "key",
    "schema",
    "objects",
    "lessons",
    "triggers",
    "row security",
    "functions",
    "app functions",
    "anon",
    "schedule",
    "clock",
    "scan calls",
)
OF_MUX = ("Mux environment", "Mux rate limit")
"""The checks that are skipped together where the database, or Mux, does not answer."""

RecentIds = tuple[str | None, str | None]
"""An asset id and an upload id of one row; at least one of them can be sent to Mux."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the database has recorded: the environment of the tracked ids, and the latest ids."""

    environment_id: str | None
    recent: tuple[RecentIds, ...]


class MuxPort(Protocol):
    """What the doctor needs of Mux."""

    rate_limit: tuple[str | None, str | None]

    async def check(self) -> Environment:
        """Return the environment of the token."""
        ...

    async def upload(self, upload_id: str) -> Observation:
        """Look up an upload."""
        ...

    async def asset(self, asset_id: str) -> Observation:
        """Look up an asset."""
        ...


class DatabasePort(Protocol):
    """What the doctor needs of the database."""

    async def doctor_facts(self) -> dict[str, Any]:
        """Return the facts that the checks need."""
        ...

    async def rehearse_scan(self) -> None:
        """Make the calls of a scan, without effect."""
        ...


async def examine(settings: Settings, mux: MuxPort, store: DatabasePort) -> AsyncIterator[Check]:
    """Yield each check when it is done: always the same ones, in the same order."""
    async for check in _examine(settings, mux, store):
        yield check.without(settings.secrets)
    yield (await check_webhook(settings)).without(settings.secrets)


async def _examine(settings: Settings, mux: MuxPort, store: DatabasePort) -> AsyncIterator[Check]:
    yield checks.check_pace(
        settings.mux_requests_per_second, settings.lease_seconds, settings.mux_timeout_seconds
    )
    network = await check_network("Supabase", "SUPABASE_URL", settings.supabase_url)
    yield network
    recorded, database = await _check_database(
        store,
        expires_at(settings.supabase_service_role_key.get_secret_value()),
        is_reachable=network.health != "failed",
    )
    for check in database:
        yield check
    network = await check_network("Mux", "MUX_BASE_URL", settings.mux_base_url)
    yield network
    if network.health == "failed":
        for check in _skipped("Mux token", *OF_MUX, reason="Mux cannot be reached"):
            yield check
        return
    async for check in _check_mux(mux, recorded):
        yield check


async def _check_database(
    store: DatabasePort, key_expires_at: float | None, *, is_reachable: bool
) -> tuple[Recorded | None, list[Check]]:
    """Return what the database has recorded, if it answers, and the checks of its facts."""
    if not is_reachable:
        return None, _skipped("database", *OF_DATABASE, reason="Supabase cannot be reached")
    try:
        facts = await store.doctor_facts()
        judged = [
            checks.check_role(facts, key_expires_at, time.time()),
            checks.check_schema(facts, REQUIRED_SCHEMA),
            checks.check_objects(facts),
            checks.check_lessons(facts),
            checks.check_triggers(facts),
            checks.check_row_security(facts),
            grants.check_functions(facts),
            grants.check_app_functions(facts),
            grants.check_anon(facts),
            checks.check_schedule(facts),
            checks.check_clock(facts, time.time()),
            await _rehearse(store),
        ]
        recorded = Recorded(facts["environment_id"], tuple(_recent_ids(facts["recent"])))
        return recorded, [Check("database", "ok", "answers"), *judged]
    except SchemaOutdated as error:
        advice = (
            f"{checks.REAPPLY} If that was done just now, PostgREST will notice within seconds."
        )
        failed = Check("database", "failed", error.reason, f"There is no worker_doctor. {advice}")
    except Unavailable as error:
        failed = Check("database", "failed", error.reason, error.message)
    except (LookupError, TypeError, ValueError, AttributeError):
        detail = "worker_doctor has another version"
        failed = Check("database", "failed", detail, checks.REAPPLY)
    return None, [failed, *_skipped(*OF_DATABASE, reason="the database reported nothing")]


async def _rehearse(store: DatabasePort) -> Check:
    """Check that the calls of a scan are allowed, which the catalog alone does not show."""
    try:
        await store.rehearse_scan()
    except Unavailable as error:
        return Check("scan calls", "failed", error.reason, error.message)
    return Check("scan calls", "ok", "all calls of a scan work")


def _skipped(*names: str, reason: str) -> list[Check]:
    return [Check(name, "skipped", reason) for name in names]


async def _check_mux(mux: MuxPort, recorded: Recorded | None) -> AsyncIterator[Check]:
    try:
        environment = await mux.check()
    except Unavailable as error:
        yield Check("Mux token", "failed", error.reason, error.message)
        for check in _skipped(*OF_MUX, reason="Mux did not identify the token"):
            yield check
        return
    yield Check("Mux token", "ok", "accepted")
    yield await _check_environment(mux, environment, recorded)
    yield checks.check_rate_limit(*mux.rate_limit)


async def _check_environment(
    mux: MuxPort, environment: Environment, recorded: Recorded | None
) -> Check:
    """Look up the latest tracked ids in the token's environment."""
    if recorded is None:
        detail = f"{environment.name} ({environment.type}, {environment.id}); without the database"
        return Check("Mux environment", "skipped", f"{detail} there are no ids to look up")
    try:
        known = [await _is_known(mux, row) for row in recorded.recent]
    except Unavailable as error:
        return Check("Mux environment", "failed", error.reason, error.message)
    return checks.check_environment(environment, recorded.environment_id, sum(known), len(known))


def _recent_ids(recent: Sequence[Mapping[str, str | None]]) -> list[RecentIds]:
    """Return the ids of the latest rows that can be sent to Mux."""
    found = []
    for row in recent:
        asset = row["asset_id"] if is_mux_id(row["asset_id"]) else None
        upload = row["upload_id"] if is_mux_id(row["upload_id"]) else None
        if asset or (upload and upload != UPLOAD_UNKNOWN):
            found.append((asset, upload))
    return found


async def _is_known(mux: MuxPort, row: RecentIds) -> bool:
    asset, upload = row
    observation = await mux.asset(asset) if asset else await mux.upload(upload or "")
    return observation.found
