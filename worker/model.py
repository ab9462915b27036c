"""The terms of the worker as frozen types: claims, observations, verdicts, outcomes. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

Subject = Literal["upload", "asset", "row"]
Source = Literal["probe", "sweep", "webhook"]
Action = Literal["publish", "fail", "wait", "recheck", "mark_deleted"]
Grace = Literal["runs", "ends", "unchanged"]

OnSent = Callable[[], None]  # called when a request has passed the rate limiter and is sent

UPLOAD_UNKNOWN = "migrated"  # as the app's migration script writes where it knows only the asset

_MUX_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")


def is_mux_id(text: str | None) -> bool:
    """Whether a text can be an id in Mux. Nothing else is ever sent to Mux."""
    return text is not None and _MUX_ID.fullmatch(text) is not None


def ignore() -> None:
    """Do nothing: the default where a caller passes no `OnSent`."""


class RequestSlots(NamedTuple):
    """Reserved times for requests to Mux: the first in `first_in_seconds`, then one every gap.

    `paused_seconds` are left of a pause that Mux asked for; the first time is not before its end.
    """

    first_in_seconds: float
    gap_seconds: float
    paused_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PlaybackId:
    """A playback id of an asset, with its policy, such as `public` or `signed`."""

    id: str
    policy: str


@dataclass(frozen=True, slots=True)
class Environment:
    """The Mux environment that a token belongs to. Only `id` counts; the others are for display."""

    id: str
    name: str
    type: str
    organization_id: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What Mux returned for one upload or asset.

    It carries only ids that Mux returned or that were requested, never other ids of the row that
    is probed. `status` is Mux's own, or `missing` (404), `rejected` (another 4xx for this id alone)
    or `fault` (no usable response for this id alone). A `row` without an id that could be sent to
    Mux has the status `invalid_id`. `lesson_references` are the asset's `passthrough` and
    `meta.external_id`, which may be the id of a lesson.
    """

    subject: Subject
    status: str
    source: Source
    upload_id: str | None = None
    asset_id: str | None = None
    playback_ids: tuple[PlaybackId, ...] = ()
    error_type: str | None = None
    error_message: str | None = None
    lesson_references: tuple[str, ...] = ()
    is_test: bool = False  # Mux deletes it after 24 hours
    progress: float | None = None  # of encoding, in per cent
    duration_seconds: float | None = None
    aspect_ratio: str | None = None
    max_resolution: str | None = None

    @property
    def found(self) -> bool:
        """Whether Mux knows the id, which proves that the token's environment is the right one."""
        return self.subject != "row" and self.status not in ("missing", "rejected", "fault")

    def as_json(self) -> dict[str, Any]:
        """Return the observation as the audit stores it, without empty fields."""
        fields = asdict(self).items()  # a progress of 0 is kept
        return {n: value for n, value in fields if value not in (None, ()) and value is not False}


@dataclass(frozen=True, slots=True)
class Query:
    """An upload or asset to look up in Mux; `key` names what it is looked up for.

    `upload_id` is `UPLOAD_UNKNOWN` where only the asset is known. `is_recheck`: only the asset
    counts, and a list may be out of date. `was_asked`, `was_missing`: whether an earlier look asked
    Mux about these ids, and whether it did not know them. `is_backlog`: no list is read for it.
    """

    key: str
    upload_id: str
    asset_id: str | None
    is_recheck: bool = False
    was_asked: bool = False
    was_missing: bool = False
    is_backlog: bool = False

    @property
    def has_upload(self) -> bool:
        """Whether it names an upload that can be requested."""
        return self.upload_id != UPLOAD_UNKNOWN and is_mux_id(self.upload_id)

    @property
    def listed_id(self) -> str | None:
        """Return the id by which Mux's lists may have it; None where it can be no id in Mux."""
        mux_id = self.asset_id if self.upload_id == UPLOAD_UNKNOWN else self.upload_id
        return mux_id if is_mux_id(mux_id) else None


@dataclass(frozen=True, slots=True)
class Claim:
    """A due row that this worker has leased, as it was when it was claimed.

    Ages are seconds by the database's clock. `tracked_at`, `leased_until` and `due_at` are its
    texts, sent back unchanged so that no precision is lost. A released row is due at `due_at`, or
    else behind all other due rows. A `ready` row is only rechecked; its lesson plays `playback_id`.
    A backfill entered the rows of the backlog; live rows come first.
    """

    id: str
    lesson_id: str
    lesson_status: str | None
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
    is_backlog: bool = False

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Return a claim from a row that `worker_claim` returned."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__ if name in row})

    @property
    def query(self) -> Query:
        """Return what to look up in Mux for this row."""
        return Query(
            self.id,
            self.upload_id,
            self.asset_id,
            is_recheck=self.status == "ready",
            was_asked=self.check_count > 0,
            was_missing=self.missing_count > 0,
            is_backlog=self.is_backlog,
        )


@dataclass(frozen=True, slots=True)
class MatchedObservation:
    """An observation, and the queries that it answers."""

    observation: Observation
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of one of Mux's lists. `next` is the cursor of the page after it, if there is one."""

    observations: tuple[Observation, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an observation.

    `recheck` and `mark_deleted` follow only from what an event reports, never for a claimed row.
    `message` is stored with the row. `grace` is the time that the row has while its video is
    missing: it starts or `runs` on, `ends`, or is `unchanged`.
    """

    action: Action
    reason: str
    message: str | None = None
    playback_id: str | None = None
    grace: Grace = "ends"


@dataclass(frozen=True, slots=True)
class ClaimVerdict:
    """The verdict for one claimed row, and the seconds until its next check if it waits."""

    claim: Claim
    verdict: Verdict
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class Settlement:
    """An observation with its verdict for every row that it matches, and for the claimed ones."""

    observation: Observation
    verdict: Verdict
    claims: tuple[ClaimVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What settling did to a row. `busy`: it is locked; `refused`: the database would not write."""

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
        """Return an outcome of `worker_settle`, ignoring fields that a newer database adds."""
        known = {k: v for k, v in row.items() if k in cls.__dataclass_fields__}
        return cls(name=row["outcome"], **known)
