"""The uploads that the demo's app makes at Mux for whoever owns a lesson, and what awaits them."""

import asyncio
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp

from sandbox.app.middleware import refused
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase

TIMEOUT_SECONDS = 60
"""The shortest that Mux allows, so that one need not wait long for an abandoned upload to end."""

AGAIN_AFTER_SECONDS = 1.1
MOST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Fate:
    """What the simulated Mux will do with a file, since it has no encoder to find out."""

    says: str
    timeline: Timeline


FATES = {
    "plays": Fate(
        "Encode it in 8 seconds", Timeline(file_after_seconds=None, prepare_seconds=8)
    ),
    "broken": Fate(
        "Find the file broken",
        Timeline(file_after_seconds=None, prepare_seconds=4, ending="asset_errored"),
    ),
    "stuck": Fate(
        "Encode it for ever", Timeline(file_after_seconds=None, prepare_seconds=365 * 86_400)
    ),
    "abandoned": Fate(
        "Wait in vain: the page sends nothing", Timeline(file_after_seconds=None)
    ),
}  # fmt: skip


class SchoolUploads:
    """Asks Supabase whose lesson it is, then Mux for an upload; Mux's secret stays here."""

    def __init__(self, supabase: LocalSupabase, mux: MuxSimulator) -> None:
        self._supabase = supabase
        self._mux = mux

    async def require_lesson(
        self, client: aiohttp.ClientSession, lesson_id: UUID, token: str
    ) -> None:
        """Refuse who may not put a video into the lesson, in the words of the database."""
        status, answer = await _asked(
            client,
            "Supabase",
            f"{self._supabase.url}/rest/v1/rpc/check_asset_status",
            json={"lesson_id": str(lesson_id)},
            headers={
                "apikey": self._supabase.publishable_key,
                "Authorization": f"Bearer {token}",
            },
        )
        if status != 200:
            message = str(answer.get("message", f"Supabase answers with {status}"))
            raise refused(status, message, answer.get("hint"))

    async def make(
        self, client: aiohttp.ClientSession, lesson_id: UUID, origin: str, fate: str
    ) -> dict[str, str]:
        """Make an upload that a page of `origin` may send its file to; give its id and url."""
        for _ in range(MOST_ATTEMPTS):
            status, answer = await self._ask_mux(client, lesson_id, origin)
            if status == 201:
                upload = answer["data"]
                self._mux.state.script(upload["id"], FATES[fate].timeline)
                return {"id": upload["id"], "url": upload["url"]}
            if status != 429:
                raise refused(502, f"Mux answers with {status}", "Try again in a moment.")
            await asyncio.sleep(AGAIN_AFTER_SECONDS)  # Mux takes one such request a second
        raise refused(503, "Mux has too much to do", "Try again in a moment.")

    async def _ask_mux(
        self, client: aiohttp.ClientSession, lesson_id: UUID, origin: str
    ) -> tuple[int, dict[str, Any]]:
        return await _asked(
            client,
            "Mux",
            f"{self._mux.url}/video/v1/uploads",
            json={
                "cors_origin": origin,
                "timeout": TIMEOUT_SECONDS,
                "new_asset_settings": {
                    "playback_policies": ["public"],
                    "passthrough": str(lesson_id),
                },
            },
            headers={"Authorization": f"Basic {self._credentials()}"},
        )

    def _credentials(self) -> str:
        both = f"{self._mux.token_id}:{self._mux.token_secret}"
        return b64encode(both.encode()).decode()


async def _asked(
    client: aiohttp.ClientSession, whom: str, url: str, **request: Any
) -> tuple[int, dict[str, Any]]:
    """Give status and JSON of an answer; an empty object where it is none."""
    try:
        async with client.post(url, **request) as reply:
            try:
                body = await reply.json(content_type=None)
            except ValueError:
                body = None
            return reply.status, body if isinstance(body, dict) else {}
    except (aiohttp.ClientError, TimeoutError):
        raise refused(503, f"{whom} does not answer", "Try again in a moment.") from None
