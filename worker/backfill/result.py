"""What a backfill did, or would do, for each lesson. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from worker.decide import Rules, decide
from worker.lesson import Adoption
from worker.model import Observation

Ending = Literal["updated", "skipped", "failed"]

UNANSWERED = "unanswered"
"""The kind of a lesson that is adopted, and that no scan has looked at yet."""

UPDATED = frozenset({"published", "attached", "restored"})
SKIPPED = frozenset(
    {"waiting", "has_video", "names_nothing", "older", "unchanged", "changed", "deleted", "busy"}
)
LISTED_THOUGH_SKIPPED = frozenset({"has_video", "older", "busy"})


def ending(kind: str) -> Ending:
    """Return the total of the summary in which a kind is counted."""
    return "updated" if kind in UPDATED else "skipped" if kind in SKIPPED else "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """One lesson: a kind, which may be an error type, and the ids that it concerns."""

    lesson_id: str
    kind: str
    message: str | None = None
    ids: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, adoption: Adoption) -> Self:
        """Return the result of an adoption that tracks nothing new."""
        outcome = adoption.outcome
        kind = "mux_fault" if outcome.name == "ask" else outcome.name
        if outcome.name in ("left_alone", "unchanged", "disputed"):
            kind = outcome.reason or "unchanged"
        message = outcome.message
        if outcome.raised_by:
            message = f"{message} (raised by {outcome.raised_by})"
        return cls(adoption.lesson_id, kind, message, _ids(outcome))

    @classmethod
    def planned(cls, adoption: Adoption, observation: Observation, rules: Rules) -> Self:
        """Return what a scan would do, once the lesson is adopted, by what Mux says now."""
        verdict = decide(observation, None, rules)
        match verdict.action:
            case "publish":
                kind = "published" if adoption.is_draft else "attached"
            case "wait" if verdict.grace == "ends":
                kind = "waiting"
            case _:
                kind = verdict.reason
        found = observation if observation.found else adoption.outcome
        return cls(adoption.lesson_id, kind, verdict.message, _ids(found))

    @property
    def is_listed(self) -> bool:
        """Whether the lesson is listed in a report, since it failed or was left alone."""
        return ending(self.kind) == "failed" or self.kind in LISTED_THOUGH_SKIPPED


def _ids(source: Any) -> dict[str, str | None]:
    return {"upload_id": source.upload_id, "asset_id": source.asset_id}


@dataclass(slots=True)
class Progress:
    """The progress of a backfill: lessons by kind, and those of the current chunk."""

    left_alone: Counter[str] = field(default_factory=Counter)
    """Lessons that were not adopted; `restored` lessons, too."""

    adopted: Counter[str] = field(default_factory=Counter)
    """Lessons that were adopted, by what has become of them."""

    chunk: int = 0
    chunk_done: int = 0
    walked: int = 0
    is_resumed: bool = False
    is_finished: bool = False

    @property
    def counts(self) -> Counter[str]:
        """How many lessons ended as each kind so far."""
        return self.left_alone + self.adopted

    def by_ending(self) -> dict[str, int]:
        """Return how many lessons were processed, updated, skipped and failed."""
        counts = self.counts
        del counts[UNANSWERED]
        totals = {"processed": counts.total(), "updated": 0, "skipped": 0, "failed": 0}
        for kind, count in counts.items():
            totals[ending(kind)] += count
        return totals
