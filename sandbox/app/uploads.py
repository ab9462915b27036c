"""Create Mux uploads for the owner of a lesson, and choose what happens to each."""

import asyncio
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp

from sandbox.app.middleware import error_response
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase

TIMEOUT_SECONDS = 60
"""The minimum that Mux allows, so that an abandoned upload soon times out."""

RETRY_SECONDS = 1.1
MAX_ATTEMPTS = 5
RETRY_HINT = "Try again in a moment."


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the simulated Mux does with a file, since it has no encoder."""

    label: str
    timeline: Timeline


SCENARIOS = {
    "plays": Scenario(
        "Encode the file in 8 seconds", Timeline(file_after_seconds=None, prepare_seconds=8)
    ),
    "broken": Scenario(
        "Report a broken file",
        Timeline(file_after_seconds=None, prepare_seconds=4, ending="asset_errored"),
    ),
    "stuck": Scenario(
        "Never finish encoding", Timeline(file_after_seconds=None, prepare_seconds=365 * 86_400)
    ),
    "abandoned": Scenario(
        "Wait for a file that the page does not send", Timeline(file_after_seconds=None)
    ),
}  # fmt: skip


class UploadService:
    """Check the owner of a lesson with Supabase, then create an upload with Mux's secret."""

    def __init__(self, supabase: LocalSupabase, mux: MuxSimulator) -> None:
        self._supabase = supabase
        self._mux = mux

    async def require_lesson(
        self, client: aiohttp.ClientSession, lesson_id: UUID, token: str
    ) -> None:
        """Raise an error response, with the database's message, unless the user owns the lesson."""
        status, body = await _post(
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
            message = str(body.get("message", f"Supabase answered with HTTP {status}"))
            raise error_response(status, message, body.get("hint"))

    async def create(
        self, client: aiohttp.ClientSession, lesson_id: UUID, origin: str, scenario: str
    ) -> dict[str, str]:
        """Create an upload that a page of `origin` may send its file to; return its id and URL."""
        for _ in range(MAX_ATTEMPTS):
            status, body = await self._request_upload(client, lesson_id, origin)
            if status == 201:
                upload = body["data"]
                self._mux.state.set_timeline(upload["id"], SCENARIOS[scenario].timeline)
                return {"id": upload["id"], "url": upload["url"]}
            if status != 429:
                raise error_response(502, f"Mux answered with HTTP {status}", RETRY_HINT)
            await asyncio.sleep(RETRY_SECONDS)  # Mux allows one such request a second
        raise error_response(503, "Mux has too many requests", RETRY_HINT)

    async def _request_upload(
        self, client: aiohttp.ClientSession, lesson_id: UUID, origin: str
    ) -> tuple[int, dict[str, Any]]:
        return await _post(
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
        token = f"{self._mux.token_id}:{self._mux.token_secret}"
        return b64encode(token.encode()).decode()


async def _post(
    client: aiohttp.ClientSession, service: str, url: str, **request: Any
) -> tuple[int, dict[str, Any]]:
    """Send a request; return the status and the JSON object, or an empty one."""
    try:
        async with client.post(url, **request) as response:
            try:
                body = await response.json(content_type=None)
            except ValueError:
                body = None
            return response.status, body if isinstance(body, dict) else {}
    except (aiohttp.ClientError, TimeoutError):
        raise error_response(503, f"{service} does not answer", RETRY_HINT) from None
