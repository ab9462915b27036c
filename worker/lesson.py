"""Lessons that wait for a video without being tracked, as the database describes them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from worker.model import UPLOAD_UNKNOWN, Observation, Query, is_mux_id

Kind = Literal["asset", "either"]


@dataclass(frozen=True, slots=True)
class Target:
    """An id to look up in Mux, and the column that holds it."""

    kind: Kind
    id: str
    found_in: str


@dataclass(frozen=True, slots=True)
class Row:
    """The tracking row of a lesson, as it was read."""

    id: str
    upload_id: str
    temp_asset_id: str | None
    asset_id: str | None
    playback_id: str | None
    status: str
    tracked_at: str
    error_type: str | None = None

    def matches(self, observation: Observation) -> bool:
        """Whether an observation settles this row, by the rule of `mux_private.tracks`."""
        by_asset = observation.asset_id is not None and self.asset_id == observation.asset_id
        if self.upload_id == UPLOAD_UNKNOWN:
            return by_asset
        if observation.upload_id is None:
            return by_asset or self.upload_id == observation.asset_id
        return self.upload_id in (observation.upload_id, observation.asset_id)


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson that is a draft or holds a temporary id, with its tracking row.

    `targets` are the ids to look up in Mux, the one that takes precedence first.
    """

    id: str
    owner: str | None
    status: str | None
    is_draft: bool
    is_published: bool
    asset_id: str | None
    playback_id: str | None
    row: Row | None
    targets: tuple[Target, ...] = ()

    @classmethod
    def from_json(cls, lesson: Mapping[str, Any]) -> Self:
        """Return a lesson as `mux_private.lesson_json` describes it."""
        row = lesson["row"]
        names = ("owner", "status", "is_draft", "is_published", "asset_id", "playback_id")
        return cls(
            id=lesson["lesson_id"],
            row=Row(**{name: row[name] for name in Row.__dataclass_fields__}) if row else None,
            targets=tuple(Target(**target) for target in lesson["targets"]),
            **{name: lesson[name] for name in names},
        )

    @property
    def is_draft_with_video(self) -> bool:
        """Whether the lesson is a draft that could be played, perhaps unpublished on purpose."""
        playback_id = self.playback_id
        return (
            self.is_draft and is_mux_id(playback_id) and not (playback_id or "").startswith("temp_")
        )

    @property
    def may_have_video(self) -> bool:
        """Whether the lesson has an id or a tracking row, so that it may have an upload."""
        return bool(self.asset_id or self.playback_id or self.row)


def queries_for(target: Target, name: str) -> list[Query]:
    """Return the queries by which a sweep or a probe looks up an id."""
    as_asset = Query(f"{name}/a", UPLOAD_UNKNOWN, target.id)
    if target.kind == "asset":
        return [as_asset]
    return [Query(f"{name}/u", target.id, None), as_asset]
