"""What travels to the database and back: settlements, notes, and how answers are read. Pure."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from worker.errors import SupabaseUnavailable
from worker.model import ClaimVerdict, Note, Outcome, Settlement

T = TypeVar("T")

LONGEST_TEXT_BYTES = 2048

_UNSENDABLE = re.compile("[\x00\ud800-\udfff]")


def settlement_json(settlement: Settlement) -> dict[str, Any]:
    """Give a settlement as an item of `worker_settle`."""
    seen, verdict = settlement.observation, settlement.verdict
    return {
        "verdict": verdict.action,
        "reason": verdict.reason,
        "message": verdict.message,
        "playback_id": verdict.playback_id,
        "upload_id": seen.upload_id,
        "asset_id": seen.asset_id,
        "lesson_references": list(seen.lesson_references),
        "observation": seen.as_json(),
        "claimed": [_claimed_json(claimed) for claimed in settlement.claims],
    }


def note_json(note: Note) -> dict[str, Any]:
    """Give a note as an item of `worker_take_note`."""
    return {
        "note": note.kind,
        "verdict": "wait",
        "reason": note.reason,
        "message": note.message,
        "upload_id": note.observation.upload_id,
        "asset_id": note.observation.asset_id,
        "observation": note.observation.as_json(),
    }


def _claimed_json(claimed: ClaimVerdict) -> dict[str, Any]:
    return {
        "id": claimed.claim.id,
        "tracked_at": claimed.claim.tracked_at,
        "leased_until": claimed.claim.leased_until,
        "verdict": claimed.verdict.action,
        "reason": claimed.verdict.reason,
        "message": claimed.verdict.message,
        "playback_id": claimed.verdict.playback_id,
        "missing": claimed.verdict.missing,
        "pause_seconds": claimed.pause_seconds,
    }


def sendable(value: Any) -> Any:
    """Replace what Postgres takes in no text, and cut what is too long, wherever it stands.

    One NUL or lone surrogate in one string makes Postgres refuse the whole call.
    """
    if isinstance(value, str):
        if value.isascii() and "\x00" not in value and len(value) <= LONGEST_TEXT_BYTES:
            return value  # nearly all are like this
        text = _UNSENDABLE.sub("\ufffd", value)
        if len(text) * 4 <= LONGEST_TEXT_BYTES:
            return text
        return text.encode()[:LONGEST_TEXT_BYTES].decode(errors="ignore")
    if isinstance(value, dict):
        return {sendable(key): sendable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sendable(item) for item in value]
    return value


def timed_out(item: dict[str, Any]) -> Outcome:
    """Give the outcome of an item for which even a call of its own takes too long."""
    return Outcome(
        "refused",
        upload_id=item["upload_id"],
        asset_id=item["asset_id"],
        sqlstate="57014",
        message="Settling this one alone exceeds the database's statement timeout.",
    )


def expect(value: Any, kind: type[T]) -> T:
    """Give an answer if it is of this kind; raises SupabaseUnavailable if not."""
    if not isinstance(value, kind):
        raise SupabaseUnavailable("unreadable", "Supabase's answer is not what it should be.")
    return value


def read(reader: Callable[[], T]) -> T:
    """Take an answer apart; raises SupabaseUnavailable if it lacks what it should have."""
    try:
        return reader()
    except (KeyError, TypeError, AttributeError) as error:
        raise SupabaseUnavailable(
            "unreadable", "Supabase's answer is not what it should be."
        ) from error
