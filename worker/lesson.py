"""Lessons as the commands read them, and what adopting one did. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from worker import wording
from worker.model import UPLOAD_UNKNOWN, Claim, Observation, Outcome, Query
from worker.text import plain_id


@dataclass(frozen=True, slots=True)
class Row:
    """The tracking row of a lesson, as it was read; times are ISO 8601.

    `is_missing` is whether Mux did not know the upload or asset at the last check, `progress` how
    far Mux is with encoding, in percent.
    """

    status: str
    error_type: str | None
    error_message: str | None = None
    upload_id: str | None = None
    asset_id: str | None = None
    playback_id: str | None = None
    tracked_at: str | None = None
    settled_at: str | None = None
    last_checked_at: str | None = None
    next_check_at: str | None = None
    check_count: int | None = None
    is_missing: bool = False
    progress: float | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Return a tracking row as `mux_private.lesson_json` describes it."""
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Publication:
    """When, how and by whom a lesson was published.

    `waited_seconds` is since its upload was tracked; `ready_seconds` how long its video was ready,
    at most.
    """

    event: str
    happened_at: str
    ago_seconds: float
    actor: str
    reason: str | None
    playback_id: str | None
    waited_seconds: float | None
    ready_seconds: float | None

    @classmethod
    def from_json(cls, event: Mapping[str, Any]) -> Self:
        """Return a publication as `mux_private.list_event` describes it."""
        return cls(**{name: event[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson, with its tracking row.

    `state` is one of STATES: what the lesson is listed as, since `since`. Only a list of what was
    published has the publication.
    """

    id: str
    status: str | None
    is_published: bool
    asset_id: str | None
    playback_id: str | None
    row: Row | None
    title: str | None = None
    owner: str | None = None
    state: str = "untracked"
    since: str | None = None
    since_seconds: float | None = None
    publication: Publication | None = None

    @classmethod
    def from_json(cls, lesson: Mapping[str, Any]) -> Self:
        """Return a lesson as `mux_private.lesson_json` describes it, or a list with its event."""
        row, event = lesson["row"], lesson.get("event")
        return cls(
            lesson["lesson_id"],
            lesson["status"],
            lesson["is_published"],
            lesson["asset_id"],
            lesson["playback_id"],
            Row.from_json(row) if row else None,
            lesson["title"],
            lesson["owner"],
            lesson["state"],
            lesson["since"],
            lesson["since_seconds"],
            Publication.from_json(event) if event else None,
        )

    @property
    def name(self) -> str:
        """The title, or what stands in its place."""
        return self.title or "Untitled lesson"

    @property
    def label(self) -> str:
        """The title and the id, printable, as a sentence names the lesson."""
        return plain_id(f'"{self.title}" ({self.id})' if self.title else self.id)

    @property
    def why(self) -> str:
        """Why the lesson is in its state, in a sentence; "" where the state says it."""
        return self._explanation[0]

    @property
    def advice(self) -> str:
        """What to do about it, in a sentence or more; "" where there is nothing to do."""
        return self._explanation[1]

    @property
    def detail(self) -> str:
        """What Mux or the database said besides; "" where they said nothing."""
        if self.row is None or not (self.row.error_type or self.state == "failed"):
            return ""
        return wording.detail_of(self.row.error_type, self.row.error_message)

    @property
    def _explanation(self) -> tuple[str, str]:
        row = self.row
        if row is None or self.state in ("published", "ready"):
            return "", ""
        if self.state in ("failed", "unplayable") or row.error_type:
            return wording.why_and_advice(wording.failure(row.error_type))
        return wording.why_and_advice(wording.WAITS[self._waits_for(row)])

    def _waits_for(self, row: Row) -> str:
        if row.last_checked_at is None:
            return "not_checked"
        if row.is_missing:
            return "missing"
        return "upload_waiting" if row.asset_id is None else "asset_preparing"


@dataclass(frozen=True, slots=True)
class Adoption:
    """What adopting a lesson did, or would do.

    `outcome.name` is `adopted`, `tracked` already, `restored`, `ask` Mux, `unchanged`, `disputed`,
    `left_alone` (for `outcome.reason`), `busy` or `refused`. `restored` is the older video that the
    lesson plays meanwhile. There is a claim where the adopted row was leased.
    """

    outcome: Outcome
    restored: Outcome | None = None
    claim: Claim | None = None
    is_draft: bool = False

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Return an adoption as `worker_adopt` describes it."""
        restored, claim = row.get("restored"), row.get("claim")
        return cls(
            Outcome.from_json(row),
            Outcome.from_json(restored) if restored else None,
            Claim.from_json(claim) if claim else None,
            row.get("is_draft") is True,
        )

    @property
    def lesson_id(self) -> str:
        """The lesson."""
        return self.outcome.lesson_id or ""

    @property
    def mux_id(self) -> str | None:
        """The upload or asset that the lesson names, or that is tracked for it."""
        is_upload = self.outcome.upload_id not in (None, UPLOAD_UNKNOWN)
        return self.outcome.upload_id if is_upload else self.outcome.asset_id

    @property
    def query(self) -> Query | None:
        """How Mux is asked about the id that is to be tracked; None where nothing is."""
        if self.mux_id is None or self.outcome.name not in ("adopted", "tracked", "ask"):
            return None
        outcome = self.outcome
        return Query(self.lesson_id, outcome.upload_id or UPLOAD_UNKNOWN, outcome.asset_id)

    def item(self, observation: Observation) -> dict[str, Any]:
        """Return the item by which `worker_adopt` judges again, knowing what Mux said.

        An id that Mux does not know is tracked all the same where nothing else is known of the
        lesson's video: then it fails with its reason. A fault of the id alone says nothing.
        """
        item: dict[str, Any] = {"lesson_id": self.lesson_id}
        if observation.found:
            ids = {"upload_id": observation.upload_id, "asset_id": observation.asset_id}
            return {**item, "id": self.mux_id, **ids}
        if self.outcome.name != "ask" or observation.status == "fault":
            return item
        return {**item, "id": self.mux_id, "is_missing": True}
