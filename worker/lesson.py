"""Lessons that wait for a video without being tracked, as the database describes them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from worker.model import UPLOAD_UNKNOWN, Claim, Observation, is_mux_id

Kind = Literal["asset", "either"]


@dataclass(frozen=True, slots=True)
class Target:
    """An id to look for in Mux, and where it stands."""

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

    def is_about(self, seen: Observation) -> bool:
        """Whether a fact settles this row, by the rule of `mux_private.tracks`."""
        by_asset = seen.asset_id is not None and self.asset_id == seen.asset_id
        if self.upload_id == UPLOAD_UNKNOWN:
            return by_asset
        if seen.upload_id is None:
            return by_asset or self.upload_id == seen.asset_id
        return self.upload_id in (seen.upload_id, seen.asset_id)


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson that is a draft or holds a temporary id, with its tracking row.

    `targets` are the ids to ask Mux for, the one that counts first.
    """

    id: str
    creator_id: str
    created_at: str | None
    status: str
    asset_id: str | None
    playback_id: str | None
    row: Row | None
    targets: tuple[Target, ...] = ()

    @classmethod
    def from_json(cls, lesson: Mapping[str, Any]) -> Self:
        """Read a lesson of `worker_legacy_lessons` and its like."""
        row = lesson["row"]
        names = ("creator_id", "created_at", "status", "asset_id", "playback_id")
        return cls(
            id=lesson["lesson_id"],
            row=Row(**{name: row[name] for name in Row.__dataclass_fields__}) if row else None,
            targets=tuple(Target(**target) for target in lesson["targets"]),
            **{name: lesson[name] for name in names},
        )

    @property
    def is_draft_with_video(self) -> bool:
        """Whether it could be played and was not published: its instructor may have meant that."""
        playback_id = self.playback_id
        return (
            self.status == "draft"
            and is_mux_id(playback_id)
            and not (playback_id or "").startswith("temp_")
        )

    @property
    def may_have_video(self) -> bool:
        """Whether anything at all tells of an upload."""
        return bool(self.asset_id or self.playback_id or self.row)


def looks_for(target: Target, name: str) -> list[Claim]:
    """Return what a sweep or a probe takes to look for an id: as an upload's and an asset's."""
    as_asset = _look(f"{name}/a", UPLOAD_UNKNOWN, target.id)
    if target.kind == "asset":
        return [as_asset]
    return [_look(f"{name}/u", target.id, None), as_asset]


def _look(name: str, upload_id: str, asset_id: str | None) -> Claim:
    return Claim(name, "", "", upload_id, asset_id, "", "", 0.0, 0, None, 0)
