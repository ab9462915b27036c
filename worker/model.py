"""The words of the worker: what Mux said, whom it concerns, and what follows from it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from worker.wording import FAILURES

Subject = Literal["upload", "asset", "none"]
Source = Literal["probe", "sweep", "webhook"]
Action = Literal["publish", "fail", "wait"]

UPLOAD_UNKNOWN = "migrated"
"""What the migration script of the app writes as upload id where it knows only the asset."""

_MUX_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")


def is_mux_id(text: str | None) -> bool:
    """Tell whether a text can be an id in Mux, and so may be sent there."""
    return text is not None and _MUX_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class PlaybackId:
    """A playback id of an asset with its policy, such as `public` or `signed`."""

    id: str
    policy: str


@dataclass(frozen=True, slots=True)
class Environment:
    """The Mux environment that a token belongs to; its name and type are for people."""

    id: str
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What Mux said about one upload or asset.

    It carries only ids that Mux named or was asked for, never those of the row that prompted the
    question. `status` is Mux's own word, or `missing` (Mux answered 404), `rejected` (another 4xx
    about this id alone), `fault` (Mux does not answer about this id alone) or `unaskable` (there is
    no id that could be sent to Mux).
    """

    subject: Subject
    status: str
    source: Source
    upload_id: str | None = None
    asset_id: str | None = None
    playback_ids: tuple[PlaybackId, ...] = ()
    error_type: str | None = None
    error_message: str | None = None
    claims: tuple[str, ...] = ()
    """The asset's `passthrough` and `meta.external_id`: perhaps the id of a lesson."""

    is_test: bool = False
    """Whether it is a test asset, which Mux deletes a day after it was made."""

    @property
    def found(self) -> bool:
        """Whether Mux knows the id, so that the token's environment is the right one."""
        return self.subject != "none" and self.status not in ("missing", "rejected", "fault")

    def as_json(self) -> dict[str, Any]:
        """Give the observation as the audit keeps it, without what was not said."""
        said = ((name, getattr(self, name)) for name in self.__slots__)
        told = {name: value for name, value in said if value not in (None, (), False)}
        if self.playback_ids:
            told["playback_ids"] = [{"id": p.id, "policy": p.policy} for p in self.playback_ids]
        return told


@dataclass(frozen=True, slots=True)
class Claim:
    """A due row that this worker has leased, as it was when it was claimed.

    Ages are seconds by the database's clock. `tracked_at`, `leased_until` and `due_at` are the
    database's own texts, handed back as they came so that no precision is lost. `due_at` is the
    place that the row has when it is handed back; without one it goes behind all that are due.
    """

    id: str
    lesson_id: str
    lesson_status: str
    upload_id: str
    asset_id: str | None
    tracked_at: str
    leased_until: str
    age_seconds: float
    check_count: int
    missing_seconds: float | None
    missing_count: int
    due_at: str | None = None
    status: Literal["processing", "ready"] = "processing"
    playback_id: str | None = None
    """What the lesson plays by, if the row is ready and is only to be looked at once more."""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of `worker_claim`."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__ if name in row})


@dataclass(frozen=True, slots=True)
class Claimed:
    """Rows leased to this worker, and the Mux environment in which our ids were last found."""

    claims: tuple[Claim, ...]
    environment_id: str | None
    sweep: Literal["none", "ours", "others"] = "none"
    """Whether more rows are due than a few, and then whose they are."""

    events_arrive: bool = False
    """Whether webhooks tell of new uploads, so that they need not be asked for."""

    more_are_due: bool = False
    """Whether rows are left to claim that are due as well."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An observation, and the claimed rows that it is about."""

    observation: Observation
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of one of Mux's lists; `next` is what to ask for the one after it, if there is one."""

    observations: tuple[Observation, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an observation.

    `message` is what the row says: of a failure whole sentences, of the others what is remarkable.
    `missing` tells the row's grace what to do: start or go on (True), end (False), stay (None).
    """

    action: Action
    reason: str
    message: str | None = None
    playback_id: str | None = None
    missing: bool | None = False


@dataclass(frozen=True, slots=True)
class ClaimVerdict:
    """The verdict for one claimed row, and in how many seconds to look again if it waits."""

    claim: Claim
    verdict: Verdict
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class Settlement:
    """An observation with its verdict, ready to be settled.

    `verdict` holds for every row the fact is about; `claims` for the claimed ones among them.
    """

    observation: Observation
    verdict: Verdict
    claims: tuple[ClaimVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """A fact that settles nothing by itself, but after which Mux should be looked at.

    `look`: an upload failed, and why was not said. `deleted`: an asset was deleted, which is final.
    """

    kind: Literal["look", "deleted"]
    observation: Observation

    @property
    def reason(self) -> str:
        """Say in one word what happened."""
        return f"{self.observation.subject}_{self.observation.status}"

    @property
    def message(self) -> str | None:
        """Give the sentence for it, if it ends the playing of a video."""
        return FAILURES.get(self.reason)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What settling did to one row, in the database's own words."""

    name: str
    tracking_id: str | None = None
    lesson_id: str | None = None
    upload_id: str | None = None
    asset_id: str | None = None
    playback_id: str | None = None
    reason: str | None = None
    message: str | None = None
    sqlstate: str | None = None
    raised_by: str | None = None
    age_seconds: float | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read an outcome of `worker_settle`; what a newer database adds is ignored."""
        known = {k: v for k, v in row.items() if k in cls.__dataclass_fields__}
        return cls(name=row["outcome"], **known)
