"""A Mux with lists, which records the requests that it gets."""

from dataclasses import replace
from typing import Any

from worker.errors import MuxUnavailable
from worker.model import Observation, OnSent, Page, PlaybackId, ignore

PAGE_SIZE = 100


class ListedMux:
    """A Mux that knows a list of assets, and uploads that have no asset."""

    def __init__(self, *assets: Observation, uploads: tuple[Observation, ...] = ()) -> None:
        self.listed = list(assets)
        self.waiting = {upload.upload_id: upload for upload in uploads}
        self.faults: set[str] = set()
        """Ids about which Mux does not answer."""

        self.sent: list[str] = []
        self.is_down = False

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return len(self.sent)

    @requests.setter
    def requests(self, _: int) -> None:
        raise AssertionError("only requests are counted")

    async def environment(self) -> str:
        """Return the token's environment."""
        return "env1"

    async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return an upload."""
        self._record(f"upload {upload_id}")
        asset = next((a for a in self.listed if a.upload_id == upload_id), None)
        if asset is not None:
            return Observation("upload", "asset_created", "probe", upload_id, asset.asset_id)
        gone = Observation("upload", "missing", "probe", upload_id)
        return self.waiting.get(upload_id, gone)

    async def asset(self, asset_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return an asset."""
        self._record(f"asset {asset_id}")
        gone = Observation("asset", "missing", "probe", asset_id=asset_id)
        found = next((a for a in self.listed if a.asset_id == asset_id), gone)
        return replace(found, source="probe")

    async def asset_of(self, upload_id: str, on_sent: OnSent = ignore) -> Observation | None:
        """Return the asset of an upload."""
        self._record(f"asset of {upload_id}")
        found = next((a for a in self.listed if a.upload_id == upload_id), None)
        return found and replace(found, source="probe")

    async def control(self) -> None:
        """Succeed, unless Mux has an outage."""
        self._record("control")

    async def assets(self, cursor: str | None) -> Page:
        """Return a page of the list of assets."""
        self._record(f"assets {cursor or 0}")
        start = int(cursor or 0)
        end = start + PAGE_SIZE
        following = str(end) if end < len(self.listed) else None
        return Page(tuple(self.listed[start:end]), following)

    async def uploads(self, cursor: str | None) -> Page:
        """Fail the test."""
        raise AssertionError("a backfill reads no list of uploads")

    def _record(self, request: str) -> None:
        self.sent.append(request)
        if self.is_down:
            raise MuxUnavailable("connection", "Mux is down.")
        if request.rsplit(maxsplit=1)[-1] in self.faults:
            raise MuxUnavailable("http_500", "Mux answered with 500.")


def listed(number: int, **fields: Any) -> Observation:
    """Return the ready asset `a<number>` of upload `u<number>`, as a list has it."""
    ids = (PlaybackId(f"p{number}", "public"),)
    seen = Observation("asset", "ready", "sweep", f"u{number}", f"a{number}", ids)
    return replace(seen, **fields)


def waiting(upload_id: str) -> Observation:
    """Return an upload whose file has not arrived."""
    return Observation("upload", "waiting", "probe", upload_id)


def pages(count: int) -> list[str]:
    """Return the requests for the first pages of the list of assets."""
    return [f"assets {number * PAGE_SIZE}" for number in range(count)]
