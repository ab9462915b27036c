"""Lessons that wait for a video without being tracked: what is known of each. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from worker.model import UPLOAD_UNKNOWN, Claim, Observation, is_mux_id

Kind = Literal["upload", "asset", "either"]

_PREFIX = re.compile(r"(temp_(playback_)?)+")
_NO_ID = frozenset({"", "undefined", "null", "NaN", "playback", "none", UPLOAD_UNKNOWN})
"""What JavaScript writes into a text where it has no id."""


def is_temporary(text: str | None) -> bool:
    """Tell whether an id is one of the app's placeholders."""
    return text is not None and text.startswith("temp_")


def named_in(placeholder: str) -> str | None:
    """Give the id inside `temp_<id>` or `temp_playback_<id>`; None if there cannot be one."""
    rest = _PREFIX.sub("", placeholder, count=1)
    return rest if rest not in _NO_ID and is_mux_id(rest) else None


def real(text: str | None) -> str | None:
    """Give an id that can be one of Mux's; None for placeholders and what is no id."""
    if text in _NO_ID or is_temporary(text) or not is_mux_id(text):
        return None
    return text


@dataclass(frozen=True, slots=True)
class Target:
    """An id to look for in Mux, and where it stands."""

    kind: Kind
    id: str
    found_in: str

    def is_of(self, seen: Observation) -> bool:
        """Tell whether what Mux said is about this id."""
        by_upload = self.kind != "asset" and seen.upload_id == self.id
        by_asset = self.kind != "upload" and seen.subject == "asset" and seen.asset_id == self.id
        return by_upload or by_asset


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
        """Tell whether a fact settles this row, by the rule of `mux_private.tracks`."""
        by_asset = self.asset_id is not None and self.asset_id == seen.asset_id
        if self.upload_id == UPLOAD_UNKNOWN or seen.upload_id is None:
            return by_asset
        return self.upload_id == seen.upload_id


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson that is a draft or holds a temporary id, with its tracking row."""

    id: str
    creator_id: str
    created_at: str | None
    status: str
    asset_id: str | None
    playback_id: str | None
    row: Row | None

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read a lesson of `worker_legacy_lessons` and its like."""
        row = told["row"]
        names = ("creator_id", "created_at", "status", "asset_id", "playback_id")
        return cls(
            id=told["lesson_id"],
            row=Row(**{name: row[name] for name in Row.__dataclass_fields__}) if row else None,
            **{name: told[name] for name in names},
        )

    @property
    def holds_temporary(self) -> bool:
        """Whether one of its ids is a placeholder."""
        return is_temporary(self.asset_id) or is_temporary(self.playback_id)

    @property
    def is_draft_with_video(self) -> bool:
        """Whether it could be played and was not published: somebody may have meant that."""
        return self.status == "draft" and real(self.playback_id) is not None

    @property
    def may_have_video(self) -> bool:
        """Whether anything at all tells of an upload."""
        return bool(self.asset_id or self.playback_id or self.row)

    def targets(self) -> tuple[Target, ...]:
        """List the ids to look for, the one that counts first.

        A placeholder is written last of all, when the form is saved, so what it names is newer
        than what is tracked, and nothing older takes its place; a real asset beside it was saved
        with it. After `temp_playback_` may stand an asset's id. The upload of the row comes before
        the lesson's own asset, which an older upload may have left.
        """
        found = [
            Target("either", named, "temporary id")
            for text in (self.asset_id, self.playback_id)
            if text and is_temporary(text) and (named := named_in(text))
        ]
        if not found:
            found = [*_of_row(self.row)]
        if asset := real(self.asset_id):
            found.append(Target("asset", asset, "lesson"))
        first: dict[str, Target] = {}
        for target in found:
            first.setdefault(target.id, target)
        return tuple(first.values())

    @property
    def holds_newer(self) -> bool:
        """Whether its placeholders name none of what its row tracks."""
        row = self.row
        if row is None:
            return True
        known = {_cleaned(text) for text in (row.upload_id, row.asset_id) if text}
        return not any(_cleaned(target.id) in known for target in self.targets())


def _of_row(row: Row | None) -> list[Target]:
    if row is None:
        return []
    if upload := real(row.upload_id):
        return [Target("upload", upload, "tracking row")]
    found = [
        Target("either", named, "tracking row")
        for text in (row.upload_id, row.temp_asset_id)
        if text and is_temporary(text) and (named := named_in(text))
    ]
    if asset := real(row.asset_id):
        found.append(Target("asset", asset, "tracking row"))
    return found


def _cleaned(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]", "_", text)


def looks_for(target: Target, name: str, *, looked: int = 0) -> list[Claim]:
    """Give what a sweep or a probe takes to look for an id: as an upload's, an asset's, or both.

    `looked` other than 0 has an upload asked for before the list of assets is.
    """
    looks = []
    if target.kind != "asset":
        looks.append(_look(f"{name}/u", target.id, None, looked))
    if target.kind != "upload":
        looks.append(_look(f"{name}/a", UPLOAD_UNKNOWN, target.id, looked))
    return looks


def _look(name: str, upload_id: str, asset_id: str | None, looked: int) -> Claim:
    return Claim(name, "", "", upload_id, asset_id, "", "", 0.0, looked, None, 0)
