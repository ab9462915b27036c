"""The port through which a scan reads Mux."""

from typing import Protocol

from worker.model import Observation, OnSent, Page


class MuxReader(Protocol):
    """Mux's API as far as scans need it. Every method raises MuxUnavailable or MuxUnauthorized."""

    requests: int
    """The number of requests that were sent, retries included."""

    async def upload(self, upload_id: str, on_sent: OnSent = ...) -> Observation:
        """Return the observation of an upload."""
        ...

    async def asset(self, asset_id: str, on_sent: OnSent = ...) -> Observation:
        """Return the observation of an asset."""
        ...

    async def asset_of(self, upload_id: str, on_sent: OnSent = ...) -> Observation | None:
        """Return the only asset of an upload, or None if there is none, or several."""
        ...

    async def control(self) -> None:
        """Send a request that succeeds whatever is wrong with a single id."""
        ...

    async def assets(self, cursor: str | None) -> Page:
        """Return a page of the list of assets, newest first."""
        ...

    async def uploads(self, cursor: str | None) -> Page:
        """Return a page of the list of uploads, newest first."""
        ...

    async def environment(self) -> str:
        """Return the id of the token's environment."""
        ...
