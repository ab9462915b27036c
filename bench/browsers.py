"""The browsers that would poll instead of a worker, as the report's useAssetStatusPolling does.

Each open page asks for its own lesson at once, then after 7.5 s, and so on, half as long again each
time, up to 30 s and 60 times. A question is one GET of the asset at Mux; an answer that the video
is ready is written to both tables, as the report's update-asset does. A question that Mux refuses
waits for the next one. That is kind to it: the page stays open until the end, the real asset id is
known from the start, mux-node's own repetitions are left out, and so is the second poll, every
5 s, of the report's VideoProcessingStatus.
"""

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from uuid import UUID

import aiohttp

from bench.stage import Stage

FIRST_DELAY_SECONDS = 5.0
GROWTH = 1.5
LONGEST_DELAY_SECONDS = 30.0
MOST_ATTEMPTS = 60


@dataclass(frozen=True, slots=True)
class Tab:
    """An open page, and the lesson it waits for."""

    lesson: UUID
    asset_id: str


class Browsers:
    """A set of open pages; a context manager that closes them."""

    def __init__(self, here: Stage) -> None:
        self._here = here
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tabs: set[asyncio.Task[None]] = set()
        self._mux: aiohttp.ClientSession
        self._rest: aiohttp.ClientSession

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._connect(), self._loop).result()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self, tab: Tab) -> None:
        """Open a page."""
        self._loop.call_soon_threadsafe(self._start, tab)

    def _start(self, tab: Tab) -> None:
        task = self._loop.create_task(self._poll(tab))
        self._tabs.add(task)
        task.add_done_callback(self._tabs.discard)

    async def _connect(self) -> None:
        mux, key = self._here.mux, self._here.supabase.service_role_key
        auth = aiohttp.BasicAuth(mux.token_id, mux.token_secret)
        headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        self._mux = aiohttp.ClientSession(mux.url, auth=auth)
        self._rest = aiohttp.ClientSession(self._here.supabase.url, headers=headers)

    async def _close(self) -> None:
        tabs = list(self._tabs)
        for task in tabs:
            task.cancel()
        await asyncio.gather(*tabs, return_exceptions=True)
        await self._mux.close()
        await self._rest.close()

    async def _poll(self, tab: Tab) -> None:
        delay = FIRST_DELAY_SECONDS
        for _ in range(MOST_ATTEMPTS + 1):
            playback_id = await self._playback_id(tab)
            if playback_id is not None:
                await self._publish(tab, playback_id)
                return
            delay = min(delay * GROWTH, LONGEST_DELAY_SECONDS)
            await asyncio.sleep(delay)

    async def _playback_id(self, tab: Tab) -> str | None:
        async with self._mux.get(f"/video/v1/assets/{tab.asset_id}") as answer:
            if answer.status != 200:
                return None
            asset = (await answer.json())["data"]
        return str(asset["playback_ids"][0]["id"]) if asset["status"] == "ready" else None

    async def _publish(self, tab: Tab, playback_id: str) -> None:
        ids = {"mux_asset_id": tab.asset_id, "mux_playback_id": playback_id}
        now = {"updated_at": datetime.now(UTC).isoformat()}
        await self._patch("mux_asset_tracking", "lesson_id", tab, {**ids, **now, "status": "ready"})
        await self._patch("lessons", "id", tab, {**ids, **now, "status": "published"})

    async def _patch(self, table: str, key: str, tab: Tab, values: dict[str, str]) -> None:
        which = {key: f"eq.{tab.lesson}"}
        async with self._rest.patch(f"/rest/v1/{table}", params=which, json=values) as answer:
            answer.raise_for_status()
