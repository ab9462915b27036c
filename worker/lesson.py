"""Lessons as the commands read them, and what adopting one did. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from worker.model import UPLOAD_UNKNOWN, Claim, Observation, Outcome, Query


@dataclass(frozen=True, slots=True)
class Row:
    """The tracking row of a lesson, as it was read."""

    status: str
    error_type: str | None


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson, with its tracking row."""

    id: str
    status: str | None
    is_published: bool
    asset_id: str | None
    playback_id: str | None
    row: Row | None

    @classmethod
    def from_json(cls, lesson: Mapping[str, Any]) -> Self:
        """Return a lesson as `mux_private.lesson_json` describes it."""
        row = lesson["row"]
        return cls(
            lesson["lesson_id"],
            lesson["status"],
            lesson["is_published"],
            lesson["asset_id"],
            lesson["playback_id"],
            Row(row["status"], row["error_type"]) if row else None,
        )


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
