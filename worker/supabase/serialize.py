"""Convert settlements to JSON, sanitize what is sent, and check what returns. Pure."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from worker.errors import SupabaseUnavailable
from worker.model import ClaimVerdict, Outcome, Settlement

T = TypeVar("T")

MAX_TEXT_BYTES = 2048

_MISSING = {"runs": True, "ends": False, "unchanged": None}
"""The values in SQL of `Verdict.grace`."""

_REFUSED_BY_POSTGRES = re.compile("[\x00\ud800-\udfff]")


def settlement_json(settlement: Settlement) -> dict[str, Any]:
    """Return a settlement as an item of `worker_settle`."""
    observation, verdict = settlement.observation, settlement.verdict
    return {
        "verdict": verdict.action,
        "reason": verdict.reason,
        "message": verdict.message,
        "playback_id": verdict.playback_id,
        "upload_id": observation.upload_id,
        "asset_id": observation.asset_id,
        "lesson_references": list(observation.lesson_references),
        "observation": observation.as_json(),
        "claimed": [_claimed_json(claimed) for claimed in settlement.claims],
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
        "missing": _MISSING[claimed.verdict.grace],
        "pause_seconds": claimed.pause_seconds,
    }


def sanitize(value: Any) -> Any:
    """Replace the characters that Postgres refuses in text, and cut texts that are too long.

    One NUL or lone surrogate in one string makes Postgres refuse the whole call.
    """
    if isinstance(value, str):
        return _sanitize_text(value)
    if isinstance(value, dict):
        return {sanitize(key): sanitize(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sanitize(item) for item in value]
    return value


def _sanitize_text(text: str) -> str:
    if text.isascii() and "\x00" not in text and len(text) <= MAX_TEXT_BYTES:
        return text  # the common case, without a regular expression
    text = _REFUSED_BY_POSTGRES.sub("\ufffd", text)
    if len(text) * 4 <= MAX_TEXT_BYTES:
        return text
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")


def timeout_outcome(item: dict[str, Any]) -> Outcome:
    """Return the outcome of an item that exceeds the statement timeout in a call of its own."""
    return Outcome(
        "refused",
        upload_id=item["upload_id"],
        asset_id=item["asset_id"],
        sqlstate="57014",
        message="Settling this video alone exceeds the database's statement timeout.",
    )


def adoption_timeout(lesson_id: str) -> Outcome:
    """Return the outcome of a lesson whose adoption alone exceeds the statement timeout."""
    message = "Adopting this lesson alone exceeds the database's statement timeout."
    return Outcome("refused", lesson_id=lesson_id, sqlstate="57014", message=message)


def expect(value: Any, kind: type[T]) -> T:
    """Return a response of the expected type; raise SupabaseUnavailable for any other."""
    if not isinstance(value, kind):
        raise _unreadable()
    return value


def parse(parser: Callable[[], T]) -> T:
    """Return what a parser makes of a response; raise SupabaseUnavailable if it lacks a field."""
    try:
        return parser()
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable() from error


def outcomes(response: Any) -> list[Outcome]:
    """Return the outcomes in a response; raise SupabaseUnavailable if they cannot be read."""
    return parse(lambda: [Outcome.from_json(row) for row in expect(response, list)])


def _unreadable() -> SupabaseUnavailable:
    message = "Supabase's response does not have the expected form."
    return SupabaseUnavailable("unreadable", message)
