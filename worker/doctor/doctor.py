"""Examine whether everything is in place: one check after another, none that leaves a trace."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from worker.doctor import checks
from worker.doctor.checks import Check
from worker.doctor.connectivity import check_road
from worker.doctor.webhook_check import check_webhook
from worker.errors import SchemaOutdated, Unavailable
from worker.model import UPLOAD_UNKNOWN, Environment, Observation, is_mux_id
from worker.settings import Settings

NEEDED_FILE = "016_status_page"
"""The last file of sql/ that makes something for the worker; what is the app's is judged apart."""

NEEDED_FILES = (
    *("001_preconditions", "002_asset_tracking", "003_audit", "004_new_upload", "005_access"),
    *("006_claim", "007_settle", "008_reports", "009_doctor", "011_pace", "012_retention"),
    *("013_backfill", "014_operate", "015_webhooks", "016_status_page", "900_snapshot"),
)
"""All files of sql/ that the worker needs: those of the app's functions are judged apart."""

APPLY = f"Apply sql/{NEEDED_FILE}.sql, after those before it that are missing."

OF_DATABASE = (
    "key",
    "schema",
    "objects",
    "lessons",
    "row security",
    "functions",
    "app functions",
    "anon",
    "clock",
    "scan calls",
)
OF_MUX = ("Mux environment", "Mux rate limit")
"""The checks that are skipped together where the database, or Mux, does not answer."""

Askable = tuple[str | None, str | None]
"""An asset id and an upload id; at least one of them can be sent to Mux."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What the database knows of Mux: where our ids were last found, and the latest of them."""

    environment_id: str | None
    recent: tuple[Askable, ...]


class AsksMux(Protocol):
    """What the doctor needs of Mux."""

    rate_limit: tuple[str | None, str | None]

    async def check(self) -> Environment:
        """Ask Mux who we are."""
        ...

    async def upload(self, upload_id: str) -> Observation:
        """Ask for an upload."""
        ...

    async def asset(self, asset_id: str) -> Observation:
        """Ask for an asset."""
        ...


class TellsFacts(Protocol):
    """What the doctor needs of the database."""

    async def doctor_facts(self) -> dict[str, Any]:
        """Tell how the database stands."""
        ...

    async def rehearse_scan(self) -> None:
        """Make the calls that a scan makes."""
        ...


async def examine(settings: Settings, mux: AsksMux, store: TellsFacts) -> AsyncIterator[Check]:
    """Give one check after the other, as it is done: always the same ones, in the same order."""
    async for check in _examine(settings, mux, store):
        yield check.without(settings.secrets)
    yield (await check_webhook(settings)).without(settings.secrets)


async def _examine(settings: Settings, mux: AsksMux, store: TellsFacts) -> AsyncIterator[Check]:
    yield checks.check_pace(
        settings.mux_requests_per_second, settings.lease_seconds, settings.mux_timeout_seconds
    )
    road = await check_road("Supabase", "SUPABASE_URL", settings.supabase_url)
    yield road
    traces, database = await _ask_database(store, is_reachable=road.health != "failed")
    for check in database:
        yield check
    road = await check_road("Mux", "MUX_BASE_URL", settings.mux_base_url)
    yield road
    if road.health == "failed":
        for check in _skipped("Mux token", *OF_MUX, reason="Mux cannot be reached"):
            yield check
        return
    async for check in _check_mux(mux, traces):
        yield check


async def _ask_database(
    store: TellsFacts, *, is_reachable: bool
) -> tuple[Traces | None, list[Check]]:
    """Give what our ids left behind, if the database tells, and the checks of all it tells."""
    if not is_reachable:
        return None, _skipped("database", *OF_DATABASE, reason="Supabase cannot be reached")
    try:
        facts = await store.doctor_facts()
        judged = [
            checks.check_role(facts),
            checks.check_schema(facts, NEEDED_FILE, NEEDED_FILES),
            checks.check_objects(facts),
            checks.check_lessons(facts),
            checks.check_row_security(facts),
            checks.check_functions(facts),
            checks.check_app_functions(facts),
            checks.check_anon(facts),
            checks.check_clock(facts, time.time()),
            await _rehearse(store),
        ]
        traces = Traces(facts["environment_id"], tuple(_askable(facts["recent"])))
        return traces, [Check("database", "ok", "answers"), *judged]
    except SchemaOutdated as fault:
        advice = f"{APPLY} If that was done just now, PostgREST is about to notice."
        failed = Check("database", "failed", fault.reason, f"There is no worker_doctor. {advice}")
    except Unavailable as fault:
        failed = Check("database", "failed", fault.reason, fault.message)
    except (LookupError, TypeError, ValueError, AttributeError):
        seen = "worker_doctor is of another version"
        failed = Check("database", "failed", seen, APPLY)
    return None, [failed, *_skipped(*OF_DATABASE, reason="the database did not tell")]


async def _rehearse(store: TellsFacts) -> Check:
    """Find out what a scan would be refused, which nothing that only looks can see."""
    try:
        await store.rehearse_scan()
    except Unavailable as fault:
        return Check("scan calls", "failed", fault.reason, fault.message)
    return Check("scan calls", "ok", "claiming, taking turns, settling and releasing work")


def _skipped(*names: str, reason: str) -> list[Check]:
    return [Check(name, "skipped", reason) for name in names]


async def _check_mux(mux: AsksMux, traces: Traces | None) -> AsyncIterator[Check]:
    try:
        environment = await mux.check()
    except Unavailable as fault:
        yield Check("Mux token", "failed", fault.reason, fault.message)
        for check in _skipped(*OF_MUX, reason="Mux did not say who we are"):
            yield check
        return
    yield Check("Mux token", "ok", "accepted")
    yield await _check_environment(mux, environment, traces)
    yield checks.check_rate_limit(*mux.rate_limit)


async def _check_environment(
    mux: AsksMux, environment: Environment, traces: Traces | None
) -> Check:
    """Look for our latest ids in the token's environment."""
    if traces is None:
        seen = f"{environment.name} ({environment.type}, {environment.id}); without the database"
        return Check("Mux environment", "skipped", f"{seen} there are no ids to look for")
    try:
        known = [await _is_known(mux, row) for row in traces.recent]
    except Unavailable as fault:
        return Check("Mux environment", "failed", fault.reason, fault.message)
    return checks.check_environment(environment, traces.environment_id, sum(known), len(known))


def _askable(recent: Sequence[Mapping[str, str | None]]) -> list[Askable]:
    """Pick from the latest rows what Mux may be asked about."""
    found = []
    for row in recent:
        asset = row["asset_id"] if is_mux_id(row["asset_id"]) else None
        upload = row["upload_id"] if is_mux_id(row["upload_id"]) else None
        if asset or (upload and upload != UPLOAD_UNKNOWN):
            found.append((asset, upload))
    return found


async def _is_known(mux: AsksMux, row: Askable) -> bool:
    asset, upload = row
    seen = await mux.asset(asset) if asset else await mux.upload(upload or "")
    return seen.found
