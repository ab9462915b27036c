"""The life of a simulated upload and its asset, as a function of the time.

Nothing runs in the background: a record says when each thing happens, and what is true now is
computed from the clock when somebody asks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Ending = Literal["ready", "asset_errored", "upload_errored", "cancelled"]
Policy = Literal["public", "signed", "drm"]
UploadStatus = Literal["waiting", "asset_created", "errored", "cancelled", "timed_out"]
AssetStatus = Literal["preparing", "ready", "errored"]

TEST_ASSET_SECONDS = 24 * 3600.0
"""How long a test asset lives: https://www.mux.com/docs/api-reference/video/direct-uploads."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Say what becomes of an upload, and when.

    * `file_after_seconds`: when the file arrives, counted from the upload's creation. None: only
      when somebody sends it to the upload's url; without that the upload times out.
    * `prepare_seconds`: how long the asset is then `preparing`.
    * `ending`: how it ends. `upload_errored` and `cancelled` happen when the file would arrive.
    * `error_type`, `error_messages`: what an errored upload (first message) or asset says.
    * `late_policy`, `late_after_seconds`: the policy of a playback id that is added so long after
      the asset is prepared. None: none is added.
    * `deleted_after_seconds`: when the asset is deleted, counted from the moment it is prepared.
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
"""Ready from the moment the upload is made."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an upload's `new_asset_settings` say, as far as we keep it."""

    policies: tuple[str, ...] = ()
    passthrough: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, policies: Sequence[str], passthrough: str | None, external_id: str | None
    ) -> "Settings":
        """Give settings with `external_id` as their only meta."""
        meta = {} if external_id is None else {"external_id": external_id}
        return cls(tuple(policies), passthrough, meta)


@dataclass(frozen=True, slots=True)
class PlaybackId:
    """A playback id, from the moment it exists until it is removed."""

    id: str
    policy: str
    exists_from: float
    exists_until: float = math.inf


@dataclass(slots=True)
class Asset:
    """An asset, from before it exists until after it is deleted."""

    id: str
    number: int
    created_at: float
    timeline: Timeline
    settings: Settings
    upload_id: str | None = None
    test: bool = False
    playback_ids: list[PlaybackId] = field(default_factory=list)
    deleted_at: float | None = None

    @property
    def prepared_at(self) -> float:
        """Give the moment at which it stops preparing."""
        return self.created_at + self.timeline.prepare_seconds

    @property
    def age_order(self) -> tuple[float, int]:
        """Give the key that sorts assets from the oldest to the newest."""
        return self.created_at, self.number

    @property
    def gone_at(self) -> float:
        """Give the moment from which it is deleted, by whomever; may be infinite."""
        ends = [math.inf if self.deleted_at is None else self.deleted_at]
        if self.test:
            ends.append(self.created_at + TEST_ASSET_SECONDS)
        if self.timeline.deleted_after_seconds is not None:
            ends.append(self.prepared_at + self.timeline.deleted_after_seconds)
        return min(ends)

    def exists(self, now: float) -> bool:
        """Tell whether it is created and not yet deleted."""
        return self.created_at <= now < self.gone_at

    def status(self, now: float) -> AssetStatus:
        """Give its status."""
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
    settings: Settings
    file_at: float | None = None
    cancelled_at: float | None = None
    asset_id: str | None = None

    @property
    def times_out_at(self) -> float:
        """Give the moment after which no file is accepted."""
        return self.created_at + self.timeout

    @property
    def age_order(self) -> tuple[float, int]:
        """Give the key that sorts uploads from the oldest to the newest."""
        return self.created_at, self.number

    def status(self, now: float) -> UploadStatus:
        """Give its status."""
        if self.cancelled_at is not None and self.cancelled_at <= now:
            return "cancelled"
        if self.file_at is not None and self.file_at <= min(now, self.times_out_at):
            return "errored" if self.timeline.ending == "upload_errored" else "asset_created"
        return "timed_out" if now >= self.times_out_at else "waiting"
