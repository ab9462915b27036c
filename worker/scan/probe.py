"""Probe one row: ask Mux about its upload, and tell a fault of its id from an outage."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Protocol, TypeVar

from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import UPLOAD_UNKNOWN, Claim, Observation, Subject, is_mux_id
from worker.mux.rate_limit import Sent

MuxFault = MuxUnavailable | MuxUnauthorized
T = TypeVar("T")


class AnswersProbes(Protocol):
    """What probing needs of Mux; `sent` is called when a request goes out."""

    async def upload(self, upload_id: str, sent: Sent = ...) -> Observation:
        """Ask for an upload."""
        ...

    async def asset(self, asset_id: str, sent: Sent = ...) -> Observation:
        """Ask for an asset."""
        ...

    async def asset_of(self, upload_id: str, sent: Sent = ...) -> Observation | None:
        """Ask for the one asset that an upload became; None if there is none, or several."""
        ...

    async def control(self) -> None:
        """Ask what Mux answers whatever is wrong with one id."""
        ...


class Control:
    """The control question of one scan, which tells a fault of one id from an outage."""

    def __init__(self, mux: AnswersProbes) -> None:
        self._mux = mux
        self._asking = asyncio.Lock()
        self._is_answered = False
        self._outage: MuxFault | None = None

    async def ask(self, fault: MuxFault) -> None:
        """Return where the fault leaves Mux answering; raises the outage's fault where not."""
        if isinstance(fault, MuxUnavailable) and fault.is_rate_limit:
            raise fault
        async with self._asking:
            if self._outage is not None:
                raise self._outage
            if self._is_answered:
                return
            try:
                await self._mux.control()
                self._is_answered = True
            except (MuxUnavailable, MuxUnauthorized) as outage:
                self._outage = outage
                raise


class IdFault(Exception):
    """A probe failed; whether that is the fault of its id, the control question tells."""

    def __init__(self, fault: MuxFault, observation: Observation) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.observation = observation


async def _about(
    subject: Subject, mux_id: str, answer: Awaitable[T], upload_id: str | None = None
) -> T:
    """Await the answer about one id; raises IdFault with what to say of it where there is none.

    `upload_id` is the upload that is known to have become the asset.
    """
    try:
        return await answer
    except (MuxUnavailable, MuxUnauthorized) as fault:
        seen = Observation(
            subject,
            "fault",
            "probe",
            upload_id=mux_id if subject == "upload" else upload_id,
            asset_id=mux_id if subject == "asset" else None,
            error_type=fault.reason,
            error_message=fault.message
            if isinstance(fault, MuxUnavailable)
            else f"Mux refuses this {subject}.",
        )
        raise IdFault(fault, seen) from fault


def has_upload(claim: Claim) -> bool:
    """Whether the row names an upload that Mux can be asked about."""
    return claim.upload_id != UPLOAD_UNKNOWN and is_mux_id(claim.upload_id)


async def probe(claim: Claim, mux: AnswersProbes, sent: Sent) -> Observation:
    """Put the cheapest questions that tell where this row's upload stands.

    Raises IdFault.
    """
    asset_id = claim.asset_id if is_mux_id(claim.asset_id) else None
    if asset_id is not None and (claim.status == "ready" or claim.upload_id == UPLOAD_UNKNOWN):
        return await _about("asset", asset_id, mux.asset(asset_id, sent))
    if claim.upload_id == UPLOAD_UNKNOWN:
        return _unaskable("The upload is not known and neither is a real asset.")
    if not has_upload(claim):
        return _unaskable(f"{_shown(claim.upload_id)} cannot be the id of an upload.")
    upload_id, asset = claim.upload_id, None
    if asset_id is not None:
        asset = await _about("asset", asset_id, mux.asset(asset_id, sent))
    elif claim.check_count == 0:  # most apps track an upload when its file has arrived
        asset = await _about("upload", upload_id, mux.asset_of(upload_id, sent))
    if (
        asset is not None
        and asset.found
        and (asset.upload_id is None or upload_id in (asset.upload_id, asset.asset_id))
    ):
        return asset
    # There is none, or it is gone, or came from another upload: the row's own upload tells.
    upload = await _ask_for_upload(upload_id, asset, mux, sent)
    if upload.subject != "upload" or upload.found or claim.missing_count > 0:
        return upload
    # An app may have stored an asset's id. Asked once: most ids that Mux does not know are garbage.
    of_id = await _about("asset", upload_id, mux.asset(upload_id, sent))
    return of_id if of_id.found else upload


async def _ask_for_upload(
    upload_id: str, asset: Observation | None, mux: AnswersProbes, sent: Sent
) -> Observation:
    """Ask for an upload and, if there is one, for its asset, unless that is known already."""
    upload = await _about("upload", upload_id, mux.upload(upload_id, sent))
    if upload.status != "asset_created":
        return upload
    if upload.asset_id is None:  # what Mux named cannot be the id of an asset
        return await _about("upload", upload_id, mux.asset_of(upload_id, sent)) or upload
    if asset is None or asset.asset_id != upload.asset_id:
        question = mux.asset(upload.asset_id, sent)
        asset = await _about("asset", upload.asset_id, question, upload_id)
    return replace(asset, upload_id=upload.upload_id)


def _unaskable(why: str) -> Observation:
    return Observation("none", "unaskable", "probe", error_message=why)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:60]}…")
