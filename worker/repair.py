"""What follows for a lesson from what was found of its video. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from worker.decide import Rules, decide
from worker.find import Found
from worker.legacy import Lesson, is_temporary
from worker.model import UPLOAD_UNKNOWN, Observation

Ending = Literal["updated", "skipped", "failed"]
Act = Literal["adopt", "settle", "nothing"]

UPDATED = frozenset({"published", "attached", "given_back"})
SKIPPED = frozenset(
    {"has_video", "no_video", "claimed", "claimed_twice", "followed", "unchanged", "changed"}
)
LISTED_THOUGH_SKIPPED = frozenset({"has_video", "claimed", "claimed_twice"})

WORDS: Mapping[str, str] = {
    "published": "draft whose video is ready: published with the real ids",
    "attached": "no draft, video ready: gets the real ids, keeps its status",
    "given_back": "was ready before: gets its real ids back",
    "followed": "Mux is not done: tracked, the worker publishes it when it is",
    "has_video": "draft with a real playback id (--include-drafts takes it)",
    "no_video": "draft that never had a video",
    "claimed": "an asset carries the lesson's id (--trust-passthrough)",
    "claimed_twice": "several assets carry the lesson's id",
    "unchanged": "somebody else has settled it already",
    "changed": "was changed or deleted meanwhile",
    "busy": "somebody has it locked; start the backfill again",
    "refused": "the database would not",
    "unreadable_id": "what it holds can be no id of Mux",
    "upload_not_found": "Mux knows no such upload or asset",
    "asset_not_found": "Mux knows no such asset",
    "mux_rejected": "Mux refuses the id",
    "mux_fault": "Mux does not answer about this id alone; start the backfill again",
    "lesson_mismatch": "the video is another instructor's, or nobody knows whose",
    "no_playback_id": "the asset has no playback id of an accepted policy",
    "asset_errored": "Mux could not make a video of the file",
    "upload_errored": "the upload failed",
    "upload_cancelled": "the upload was cancelled",
    "upload_timed_out": "no file ever came",
}
"""Each kind, as the plan and the summary put it."""


def ending(kind: str) -> Ending:
    """Give the summary's word for a kind."""
    return "updated" if kind in UPDATED else "skipped" if kind in SKIPPED else "failed"


def is_listed(kind: str) -> bool:
    """Tell whether the lessons of a kind are named one by one."""
    return ending(kind) == "failed" or kind in LISTED_THOUGH_SKIPPED


_FAILING: Mapping[str | None, Act] = {None: "adopt", "processing": "settle"}
_WAITING: Mapping[str | None, Act] = {"processing": "settle", "ready": "nothing"}
"""What carries a verdict out, by the status of the row that is about the same upload."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator wants taken that is left alone otherwise."""

    include_drafts: bool = False
    trust_passthrough: bool = False

    def as_json(self) -> dict[str, bool]:
        """Give the options for the database."""
        return {
            "include_drafts": self.include_drafts,
            "trust_passthrough": self.trust_passthrough,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done for one lesson: its kind, and what carries it out."""

    lesson: Lesson
    kind: str
    act: Act = "nothing"
    message: str | None = None
    observation: Observation | None = None
    anew: bool = False

    def known(self) -> dict[str, Any]:
        """Give what is known of the lesson, for those who look at it by hand."""
        lesson = self.lesson
        row = lesson.row
        told: dict[str, Any] = {
            "lesson_status": lesson.status,
            "asked_for": [target.id for target in lesson.targets()],
            "tracked_upload_id": row.upload_id if row else None,
            "tracked_asset_id": row.asset_id if row else None,
        }
        if self.observation is not None:
            told["upload_id"] = self.observation.upload_id
            told["asset_id"] = self.observation.asset_id
            told["mux_status"] = self.observation.status
        return {name: value for name, value in told.items() if value not in (None, [])}

    def adoption(self) -> dict[str, Any]:
        """Give the step as an item of `worker_adopt`."""
        lesson, row = self.lesson, self.lesson.row
        about = self.observation or row
        upload_id = about.upload_id if about else None
        return {
            "lesson_id": lesson.id,
            "lesson_status": lesson.status,
            "lesson_asset_id": lesson.asset_id,
            "lesson_playback_id": lesson.playback_id,
            "row_id": row.id if row else None,
            "row_upload_id": row.upload_id if row else None,
            "row_tracked_at": row.tracked_at if row else None,
            "row_status": row.status if row else None,
            "temp_asset_id": lesson.asset_id if is_temporary(lesson.asset_id) else None,
            "upload_id": None if upload_id == UPLOAD_UNKNOWN else upload_id,
            "asset_id": about.asset_id if about else None,
            "anew": self.anew,
        }


def finding(one: Step) -> dict[str, Any]:
    """Give a lesson that could not be repaired as the database keeps it."""
    return {
        "lesson_id": one.lesson.id,
        "kind": one.kind,
        "message": one.message,
        "known": one.known(),
    }


def step(
    found: Found, rules: Rules, options: Options, rivals: Mapping[str, Mapping[str, Any]]
) -> Step:
    """Decide for one lesson; the verdict about its video is `decide`'s, as for any other."""
    lesson, seen = found.lesson, found.observation
    if why := _is_of_another(lesson, rivals):
        return Step(lesson, "lesson_mismatch", message=why, observation=seen)
    if seen is not None and seen.status == "fault":
        return Step(
            lesson, "mux_fault", message=decide(seen, None, rules).message, observation=seen
        )
    if (seen is None or not seen.found) and found.claimed_by:
        if len(found.claimed_by) > 1:
            return Step(lesson, "claimed_twice", message=_assets(found.claimed_by))
        if not (options.trust_passthrough and found.is_whole):
            return Step(lesson, "claimed", message=_assets(found.claimed_by))
        seen = found.claimed_by[0]
    if seen is not None and seen.found:
        return _by_verdict(lesson, seen, rules)
    return _by_absence(found)


def _by_absence(found: Found) -> Step:
    lesson, seen = found.lesson, found.observation
    if seen is None and not lesson.may_have_video:
        return Step(lesson, "no_video")
    if seen is None:
        kind = "unreadable_id"
    elif seen.status == "rejected":
        kind = "mux_rejected"
    else:
        is_asset = found.target is not None and found.target.kind == "asset"
        kind = "asset_not_found" if is_asset else "upload_not_found"
    return Step(lesson, kind, message=WORDS[kind], observation=seen)


def _by_verdict(lesson: Lesson, seen: Observation, rules: Rules) -> Step:
    verdict = decide(seen, None, rules)
    row = lesson.row if lesson.row is not None and lesson.row.is_about(seen) else None
    status = row.status if row else None
    anew = lesson.is_draft_with_video
    match verdict.action:
        case "publish" if status == "ready" and not anew:
            return Step(lesson, "given_back", "adopt", observation=seen)
        case "publish":
            kind = "published" if lesson.status == "draft" else "attached"
            act: Act = "settle" if status in ("processing", "error") else "adopt"
            return Step(lesson, kind, act, observation=seen, anew=anew)
        case "fail":
            act = _FAILING.get(status, "nothing")
            return Step(lesson, verdict.reason, act, verdict.message, seen)
        case _ if verdict.missing:
            return Step(lesson, verdict.reason, "nothing", verdict.message, seen)
        case _:
            act = _WAITING.get(status, "adopt")
            return Step(lesson, "followed", act, verdict.message, seen)


def _is_of_another(lesson: Lesson, rivals: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Say why a lesson does not get a video whose id others hold, too; None if it may."""
    for target in lesson.targets():
        rival = rivals.get(target.id)
        if rival is not None and rival.get("is_disputed"):
            return (
                f"the id {target.id} is held by lessons of several instructors: an operator must "
                "clear the wrong lesson's ids"
            )
        if rival is not None and rival["creator_id"] != lesson.creator_id:
            return "the video belongs to another instructor's lesson"
    return None


def _assets(seen: tuple[Observation, ...]) -> str:
    return "asset " + " and ".join(one.asset_id or "?" for one in seen)
