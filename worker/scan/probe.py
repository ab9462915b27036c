"""Probe one query: request its upload or asset, and tell a fault of its id from an outage."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import TypeVar

from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import UPLOAD_UNKNOWN, Observation, OnSent, Query, Subject, is_mux_id
from worker.scan.mux_reader import MuxReader
from worker.text import quoted

MuxError = MuxUnavailable | MuxUnauthorized
T = TypeVar("T")


class Control:
    """Sends one control request a scan, which tells a fault of one id from an outage."""

    def __init__(self, mux: MuxReader) -> None:
        self._mux = mux
        self._lock = asyncio.Lock()
        self._is_available = False
        self._outage: MuxError | None = None

    async def check(self, error: MuxError) -> None:
        """Return if Mux is available apart from the error.

        Raises the error of the control request if it is not, and a 429 without a request.
        """
        if isinstance(error, MuxUnavailable) and error.is_rate_limit:
            raise error
        async with self._lock:
            if self._outage is not None:
                raise self._outage
            if self._is_available:
                return
            try:
                await self._mux.control()
                self._is_available = True
            except (MuxUnavailable, MuxUnauthorized) as outage:
                self._outage = outage
                raise


@dataclass(eq=False)
class IdFault(Exception):
    """A request for one id failed. `Control` decides whether it is an outage."""

    error: MuxError
    observation: Observation


async def _requested(
    subject: Subject, mux_id: str, request: Awaitable[T], upload_id: str | None = None
) -> T:
    """Return the result of a request for one id.

    `upload_id` is the upload that is known to have become the asset. Raises IdFault with the
    observation of the fault.
    """
    try:
        return await request
    except (MuxUnavailable, MuxUnauthorized) as error:
        is_unavailable = isinstance(error, MuxUnavailable)
        observation = Observation(
            subject,
            "fault",
            "probe",
            upload_id=mux_id if subject == "upload" else upload_id,
            asset_id=mux_id if subject == "asset" else None,
            error_type=error.reason,
            error_message=error.message if is_unavailable else f"Mux refuses this {subject}.",
        )
        raise IdFault(error, observation) from error


async def probe(query: Query, mux: MuxReader, on_sent: OnSent) -> Observation:
    """Return the state of an upload or asset, with as few requests as possible.

    Raises IdFault.
    """
    asset_id = query.asset_id if is_mux_id(query.asset_id) else None
    if asset_id is not None and (query.is_recheck or query.upload_id == UPLOAD_UNKNOWN):
        return await _requested("asset", asset_id, mux.asset(asset_id, on_sent))
    if query.upload_id == UPLOAD_UNKNOWN:
        return _invalid_id("Neither an upload nor an asset is known.")
    if not query.has_upload:
        return _invalid_id(f"{quoted(query.upload_id)} cannot be the id of an upload.")
    upload_id, asset = query.upload_id, None
    if asset_id is not None:
        asset = await _requested("asset", asset_id, mux.asset(asset_id, on_sent))
    elif not (query.was_asked or query.is_backlog):
        # Most apps track an upload when its file has arrived.
        asset = await _requested("upload", upload_id, mux.asset_of(upload_id, on_sent))
    if asset is not None and asset.found and _is_from(asset, upload_id):
        return asset
    # There is no asset, or it is deleted or of another upload: the upload itself decides.
    upload = await _probe_upload(upload_id, asset, mux, on_sent)
    if upload.subject != "upload" or upload.found or query.was_missing:
        return upload
    # An app may have stored an asset's id. Tried once: most ids that Mux does not know are garbage.
    by_asset_id = await _requested("asset", upload_id, mux.asset(upload_id, on_sent))
    return by_asset_id if by_asset_id.found else upload


def _is_from(asset: Observation, upload_id: str) -> bool:
    return asset.upload_id is None or upload_id in (asset.upload_id, asset.asset_id)


async def _probe_upload(
    upload_id: str, asset: Observation | None, mux: MuxReader, on_sent: OnSent
) -> Observation:
    """Return the asset of an upload or, without one, the upload; `asset` is known already."""
    upload = await _requested("upload", upload_id, mux.upload(upload_id, on_sent))
    if upload.status != "asset_created":
        return upload
    if upload.asset_id is None:  # Mux named something that cannot be the id of an asset
        listed = await _requested("upload", upload_id, mux.asset_of(upload_id, on_sent))
        return listed or upload
    if asset is None or asset.asset_id != upload.asset_id:
        request = mux.asset(upload.asset_id, on_sent)
        asset = await _requested("asset", upload.asset_id, request, upload_id)
    return replace(asset, upload_id=upload.upload_id)


def _invalid_id(message: str) -> Observation:
    return Observation("row", "invalid_id", "probe", error_message=message)
