"""The state of a simulated upload and its asset, as a function of the time.

Nothing runs in the background: a record says when each thing happens, and its status is computed
from the clock when it is read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sandbox.mux.resumable import ReceivedFile

Ending = Literal["ready", "asset_errored", "upload_errored", "cancelled"]
Policy = Literal["public", "signed", "drm"]
UploadStatus = Literal["waiting", "asset_created", "errored", "cancelled", "timed_out"]
AssetStatus = Literal["preparing", "ready", "errored"]

TEST_ASSET_SECONDS = 24 * 3600.0
"""How long a test asset lives: https://www.mux.com/docs/api-reference/video/direct-uploads."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happens to an upload, and when.

    * `file_after_seconds`: when the file arrives, counted from the upload's creation. None: when a
      client sends it to the upload's URL; if none does, the upload times out.
    * `prepare_seconds`: how long the asset is then `preparing`.
    * `ending`: how it ends. `upload_errored` and `cancelled` happen when the file would arrive.
    * `error_type`, `error_messages`: the error of an upload (first message only) or an asset.
    * `late_policy`, `late_after_seconds`: the policy of a playback id that is added this long
      after the asset is prepared. None: none is added.
    * `deleted_after_seconds`: when the asset is deleted, counted from the end of `preparing`.
    """

    file_after_seconds: float | None = 1.0
    prepare_seconds: float = 5.0
    ending: Ending = "ready"
    error_type: str = "invalid_input"
    error_messages: tuple[str, ...] = ("The input file is not a video.",)
    late_policy: Policy | None = None
    late_after_seconds: float = 60.0
    deleted_after_seconds: float | None = None


AT_ONCE = Timeline(file_after_seconds=0.0, prepare_seconds=0.0)
"""Ready as soon as the upload is created."""


@dataclass(frozen=True, slots=True)
class AssetSettings:
    """An upload's `new_asset_settings`, as far as the simulator stores them."""

    policies: tuple[str, ...] = ()
    passthrough: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, policies: Sequence[str], passthrough: str | None, external_id: str | None
    ) -> "AssetSettings":
        """Return settings with `external_id` as their only meta."""
        meta = {} if external_id is None else {"external_id": external_id}
        return cls(tuple(policies), passthrough, meta)


@dataclass(frozen=True, slots=True)
class PlaybackId:
    """A playback id, and from when until when it exists."""

    id: str
    policy: str
    exists_from: float
    exists_until: float = math.inf


@dataclass(slots=True)
class Asset:
    """An asset, also before it exists and after it is deleted."""

    id: str
    number: int
    created_at: float
    timeline: Timeline
    settings: AssetSettings
    upload_id: str | None = None
    test: bool = False
    playback_ids: list[PlaybackId] = field(default_factory=list)
    deleted_at: float | None = None

    @property
    def prepared_at(self) -> float:
        """Return when it stops preparing."""
        return self.created_at + self.timeline.prepare_seconds

    @property
    def age_order(self) -> tuple[float, int]:
        """Return the key that sorts assets from the oldest to the newest."""
        return self.created_at, self.number

    @property
    def exists_until(self) -> float:
        """Return when it is deleted, for any reason; infinite if never."""
        ends = [math.inf if self.deleted_at is None else self.deleted_at]
        if self.test:
            ends.append(self.created_at + TEST_ASSET_SECONDS)
        if self.timeline.deleted_after_seconds is not None:
            ends.append(self.prepared_at + self.timeline.deleted_after_seconds)
        return min(ends)

    def exists(self, now: float) -> bool:
        """Whether it is created and not yet deleted."""
        return self.created_at <= now < self.exists_until

    def playback_ids_at(self, now: float) -> list[PlaybackId]:
        """Return the playback ids that exist."""
        return [p for p in self.playback_ids if p.exists_from <= now < p.exists_until]

    def status(self, now: float) -> AssetStatus:
        """Return its status."""
        if now < self.prepared_at:
            return "preparing"
        return "errored" if self.timeline.ending == "asset_errored" else "ready"


@dataclass(slots=True)
class Upload:
    """A direct upload."""

    id: str
    number: int
    created_at: float
    timeline: Timeline
    url_token: str
    timeout: int
    cors_origin: str
    test: bool
    settings: AssetSettings
    file_at: float | None = None
    cancelled_at: float | None = None
    asset_id: str | None = None
    file: ReceivedFile | None = None
    """What a client has sent so far; None for a file that arrives by the timeline."""

    @property
    def times_out_at(self) -> float:
        """Return when it stops accepting a file."""
        return self.created_at + self.timeout

    @property
    def age_order(self) -> tuple[float, int]:
        """Return the key that sorts uploads from the oldest to the newest."""
        return self.created_at, self.number

    def status(self, now: float) -> UploadStatus:
        """Return its status."""
        if self.cancelled_at is not None and self.cancelled_at <= now:
            return "cancelled"
        if self.file_at is not None and self.file_at <= min(now, self.times_out_at):
            return "errored" if self.timeline.ending == "upload_errored" else "asset_created"
        return "timed_out" if now >= self.times_out_at else "waiting"
