"""Plan what a backfill does for a lesson, given what was found of its video. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from worker import wording
from worker.backfill.search import Found
from worker.decide import Rules, decide
from worker.lesson import Lesson
from worker.model import Observation

Ending = Literal["updated", "skipped", "failed"]
Act = Literal["adopt", "settle", "nothing"]

UPDATED = frozenset({"published", "attached", "restored"})
SKIPPED = frozenset(
    {
        "has_video",
        "no_video",
        "claimed",
        "claimed_twice",
        "followed",
        "unchanged",
        "changed",
        "busy",
    }
)
LEFT_TO_OPERATORS = frozenset({"has_video", "claimed", "claimed_twice", "mux_fault"})
LISTED_THOUGH_SKIPPED = frozenset({"has_video", "claimed", "claimed_twice", "busy"})


def ending(kind: str) -> Ending:
    """Return the total of the summary in which a kind is counted."""
    return "updated" if kind in UPDATED else "skipped" if kind in SKIPPED else "failed"


def is_listed(kind: str) -> bool:
    """Whether the lessons of a kind are listed individually."""
    return ending(kind) == "failed" or kind in LISTED_THOUGH_SKIPPED


_FAILING: Mapping[str | None, Act] = {None: "adopt", "processing": "settle"}
_WAITING: Mapping[str | None, Act] = {"processing": "settle", "ready": "nothing"}
"""How a verdict is applied, by the status of the row that tracks the same upload."""


@dataclass(frozen=True, slots=True)
class Options:
    """The lessons and assets that a backfill includes only if the operator says so."""

    include_drafts: bool = False
    trust_passthrough: bool = False

    def as_json(self) -> dict[str, bool]:
        """Return the options as the database stores them."""
        return {
            "include_drafts": self.include_drafts,
            "trust_passthrough": self.trust_passthrough,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """What is done for one lesson: its kind, and the act that does it."""

    lesson: Lesson
    kind: str
    act: Act = "nothing"
    message: str | None = None
    observation: Observation | None = None
    target_id: str | None = None
    """The id that was found in Mux; None for an asset that names the lesson."""

    missing: tuple[str, ...] = ()
    """The ids of the lesson that Mux does not know."""

    by_hand: bool = False

    def known(self) -> dict[str, Any]:
        """Return what is known of the lesson, for the report."""
        lesson = self.lesson
        row = lesson.row
        known: dict[str, Any] = {
            "lesson_status": lesson.status,
            "asked_for": [target.id for target in lesson.targets],
            "tracked_upload_id": row.upload_id if row else None,
            "tracked_asset_id": row.asset_id if row else None,
        }
        if self.observation is not None:
            known["upload_id"] = self.observation.upload_id
            known["asset_id"] = self.observation.asset_id
            known["mux_status"] = self.observation.status
        return {name: value for name, value in known.items() if value not in (None, [])}

    @property
    def may_restore(self) -> bool:
        """Whether the lesson may hold a placeholder over a video that it could play."""
        return self.lesson.row is not None and self.kind not in LEFT_TO_OPERATORS

    def adoption(self) -> dict[str, Any]:
        """Return the step as an item of `worker_adopt`, which judges it."""
        seen = self.observation
        return {
            "lesson_id": self.lesson.id,
            "compared": True,
            "disputed": self.kind == "lesson_mismatch",
            "id": self.target_id,
            "upload_id": seen.upload_id if seen else None,
            "asset_id": seen.asset_id if seen else None,
            "missing": list(self.missing),
            "trusted": seen is not None and seen.found and self.target_id is None,
            "by_hand": self.by_hand,
        }


def finding(listed: Step) -> dict[str, Any]:
    """Return a lesson that could not be repaired, as the database stores it."""
    return {
        "lesson_id": listed.lesson.id,
        "kind": listed.kind,
        "message": listed.message,
        "known": listed.known(),
    }


def step(
    found: Found, rules: Rules, options: Options, rivals: Mapping[str, Mapping[str, Any]]
) -> Step:
    """Return the step for one lesson. The verdict about its video is that of `decide`."""
    lesson, seen = found.lesson, found.observation
    if why := _is_of_another(lesson, rivals):
        return Step(lesson, "lesson_mismatch", message=why, observation=seen)
    if seen is not None and seen.status == "fault":
        return Step(
            lesson, "mux_fault", message=decide(seen, None, rules).message, observation=seen
        )
    if (seen is None or not seen.found) and found.claimed_by:
        if len(found.claimed_by) > 1:
            return Step(lesson, "claimed_twice", message=_claimed("claimed_twice", found))
        if not (options.trust_passthrough and found.is_whole):
            return Step(lesson, "claimed", message=_claimed("claimed", found))
        seen = found.claimed_by[0]
    if seen is None or not seen.found:
        return _by_absence(found)
    target_id = found.target.id if found.target is not None and seen is found.observation else None
    planned = _by_verdict(lesson, seen, rules)
    return replace(planned, target_id=target_id, missing=found.missing)


def _by_absence(found: Found) -> Step:
    lesson, seen = found.lesson, found.observation
    if seen is None and not lesson.may_have_video:
        return Step(lesson, "no_video")
    missing = tuple(target.id for target in lesson.targets) if seen is not None else ()
    if seen is None:
        kind = "unreadable_id"
    elif seen.status == "rejected":
        kind = "mux_rejected"
    else:
        is_asset = found.target is not None and found.target.kind == "asset"
        kind = "asset_not_found" if is_asset else "upload_not_found"
    return Step(
        lesson, kind, message=wording.backfill_result(kind), observation=seen, missing=missing
    )


def _by_verdict(lesson: Lesson, seen: Observation, rules: Rules) -> Step:
    verdict = decide(seen, None, rules)
    row = lesson.row if lesson.row is not None and lesson.row.matches(seen) else None
    status = row.status if row else None
    by_hand = lesson.is_draft_with_video
    match verdict.action:
        case "publish" if status == "ready" and not by_hand:
            return Step(lesson, "restored", "adopt", observation=seen)
        case "publish":
            kind = "published" if lesson.is_draft else "attached"
            act: Act = "settle" if status in ("processing", "error") else "adopt"
            return Step(lesson, kind, act, observation=seen, by_hand=by_hand)
        case "fail":
            act = _FAILING.get(status, "nothing")
            return Step(lesson, verdict.reason, act, verdict.message, seen)
        case _ if verdict.grace == "runs":
            why = wording.failure(verdict.reason, verdict.message)
            return Step(lesson, verdict.reason, "nothing", why, seen)
        case _:
            act = _WAITING.get(status, "adopt")
            return Step(lesson, "followed", act, verdict.message, seen)


def _is_of_another(lesson: Lesson, rivals: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return why a lesson does not get a video whose id other lessons hold; None if it does."""
    for target in lesson.targets:
        rival = rivals.get(target.id)
        if rival is not None and rival.get("is_disputed"):
            return wording.failure(
                "lesson_mismatch",
                f"Lessons of several instructors hold the id {target.id}. An operator has to clear "
                "the ids of the wrong lesson.",
            )
        if rival is not None and rival["owner"] != lesson.owner:
            return wording.failure("lesson_mismatch")
    return None


def _claimed(kind: str, found: Found) -> str:
    ids = " and ".join(asset.asset_id or "?" for asset in found.claimed_by)
    return wording.backfill_result(kind, f"Asset {ids}.")
