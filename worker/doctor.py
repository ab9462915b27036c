"""Examine whether everything is in place: one check after another, none that changes anything."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from worker import checks
from worker.checks import Check
from worker.errors import Unavailable
from worker.model import UPLOAD_UNKNOWN, Environment, Observation, is_mux_id
from worker.settings import Settings

NEWEST_FILE = "009_doctor"
CONNECT_WITHIN_SECONDS = 10.0


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


async def examine(settings: Settings, mux: AsksMux, store: TellsFacts) -> AsyncIterator[Check]:
    """Give one check after the other, as it is done."""
    yield checks.check_pace(
        settings.mux_requests_per_second, settings.lease_seconds, settings.mux_timeout_seconds
    )
    facts: Mapping[str, Any] | None = None
    road = await _check_road("Supabase", "SUPABASE_URL", settings.supabase_url)
    yield road
    if road.health == "failed":
        yield Check("database", "skipped", "Supabase cannot be reached")
    else:
        try:
            facts = await store.doctor_facts()
            for check in checks.check_database(facts, NEWEST_FILE, time.time()):
                yield check
        except Unavailable as fault:
            yield Check("database", "failed", fault.reason, fault.message)
    road = await _check_road("Mux", "MUX_BASE_URL", settings.mux_base_url)
    yield road
    if road.health == "failed":
        yield Check("Mux token", "skipped", "Mux cannot be reached")
        return
    async for check in _check_mux(mux, facts):
        yield check


async def _check_road(service: str, setting: str, url: str) -> Check:
    """Resolve the name, connect, and shake hands by TLS where the address asks for it."""
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    name = f"road to {service}"
    try:
        async with asyncio.timeout(CONNECT_WITHIN_SECONDS):
            context = ssl.create_default_context() if is_tls else None
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.close()
    except socket.gaierror:
        return Check(name, "failed", f"{host} has no address", f"Check {setting}, and DNS.")
    except ssl.SSLError as error:
        advice = f"Check {setting}, and whether something between changes the certificate."
        return Check(name, "failed", f"no TLS with {host}: {error.reason}", advice)
    except (OSError, TimeoutError) as error:
        seen = f"{host}:{port} does not answer: {type(error).__name__}"
        return Check(name, "failed", seen, f"Check {setting}, and the firewall.")
    if not is_tls:
        advice = "Fine on one machine; anywhere else use https."
        return Check(name, "warning", f"{host}:{port} answers, without TLS", advice)
    return Check(name, "ok", f"{host} answers, its certificate is good")


async def _check_mux(mux: AsksMux, facts: Mapping[str, Any] | None) -> AsyncIterator[Check]:
    try:
        environment = await mux.check()
        yield Check("Mux token", "ok", "accepted")
        recent = _askable(facts["recent"]) if facts is not None else []
        known = [await _is_known(mux, row) for row in recent]
        home = facts["environment_id"] if facts is not None else None
        yield checks.check_environment(environment, home, sum(known), len(known))
        yield checks.check_rate_limit(*mux.rate_limit)
    except Unavailable as fault:
        yield Check("Mux token", "failed", fault.reason, fault.message)


def _askable(recent: Sequence[Mapping[str, str | None]]) -> list[tuple[str | None, str | None]]:
    """Pick from the rows published last what Mux may be asked about."""
    found = []
    for row in recent:
        asset = row["asset_id"] if is_mux_id(row["asset_id"]) else None
        upload = row["upload_id"] if is_mux_id(row["upload_id"]) else None
        if asset or (upload and upload != UPLOAD_UNKNOWN):
            found.append((asset, upload))
    return found


async def _is_known(mux: AsksMux, row: tuple[str | None, str | None]) -> bool:
    asset, upload = row
    seen = await mux.asset(asset) if asset else await mux.upload(upload or "")
    return seen.found
