"""What a lesson's page shows besides the lesson: its actions, and its addresses at Mux. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from worker.lesson import Lesson
from worker.model import Environment

MUX_DASHBOARD = "https://dashboard.mux.com"
MUX_IMAGES = "https://image.mux.com"
THUMBNAIL_WIDTH = 480

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LessonView:
    """A lesson, with its audit events, oldest first.

    `placeholder` is the id that the app stored before the asset was known. `asset_url` leads to
    the asset in Mux's dashboard; without an environment there is none. `public_playback_id` is the
    one that the lesson plays, if Mux said that it is public.
    """

    lesson: Lesson
    now: str
    age_seconds: float | None
    placeholder: str | None
    events: Sequence[Event]
    asset_url: str | None
    public_playback_id: str | None

    @classmethod
    def from_json(cls, details: Mapping[str, Any], environment: Environment | None) -> Self:
        """Return a lesson as `worker_lesson` describes it; `environment` is the Mux token's."""
        lesson, row = Lesson.from_json(details), details["row"] or {}
        return cls(
            lesson,
            details["now"],
            row.get("age_seconds"),
            row.get("temp_asset_id"),
            details["events"],
            _asset_url(details["environment_id"], row.get("asset_id"), environment),
            _public_playback_id(lesson, details["events"]),
        )

    @property
    def actions(self) -> tuple[str, ...]:
        """Return the actions that make sense, the most likely first."""
        match self.lesson.state:
            case "waiting" | "stuck":
                return ("check", "publish")
            case "failed":
                return ("retry", "publish")
            case "published" | "ready" if self.has_its_video:
                return ()
            case "untracked" if not self.lesson.asset_id:
                return ()
        return ("publish",)

    @property
    def has_its_video(self) -> bool:
        """Whether the lesson plays what its tracking row says."""
        row = self.lesson.row
        return row is not None and self.lesson.playback_id == row.playback_id is not None

    @property
    def thumbnail_url(self) -> str | None:
        """Return the address of a picture of the video, if it may be loaded by everybody."""
        if self.public_playback_id is None:
            return None
        id_ = quote(self.public_playback_id, safe="")
        return f"{MUX_IMAGES}/{id_}/thumbnail.webp?width={THUMBNAIL_WIDTH}"


def _asset_url(
    environment_id: str | None, asset_id: str | None, token: Environment | None
) -> str | None:
    """Return the address of an asset in Mux's dashboard.

    Mux documents none. Its dashboard's own addresses name the organization too; those without it
    are in use as well.
    """
    if not environment_id or not asset_id:
        return None
    parts = ["environments", environment_id, "video", "assets", asset_id]
    if token is not None and token.organization_id and token.id == environment_id:
        parts = ["organizations", token.organization_id, *parts]
    return "/".join([MUX_DASHBOARD, *(quote(part, safe="") for part in parts)])


def _public_playback_id(lesson: Lesson, events: Sequence[Event]) -> str | None:
    if lesson.state not in ("published", "ready") or lesson.playback_id is None:
        return None
    policies = {id_: policy for event in events for id_, policy in _policies(event)}
    return lesson.playback_id if policies.get(lesson.playback_id) == "public" else None


def _policies(event: Event) -> Iterator[tuple[str, str]]:
    """Yield the playback ids that an event's observation names, with their policies."""
    observation = event.get("observation")
    playback_ids = observation.get("playback_ids") if isinstance(observation, dict) else None
    for playback in playback_ids if isinstance(playback_ids, list) else ():
        if isinstance(playback, dict):
            yield str(playback.get("id")), str(playback.get("policy"))
