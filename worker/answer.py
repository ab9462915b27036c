"""Sort out one HTTP answer of Mux: a fact about the id that was asked for, or a fault. Pure."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from worker import answers
from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Observation, Subject

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came: status, headers in lower case, and the body if it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str] | None, body: bytes | str | None) -> Self:
        """Take an answer apart; a body that is no JSON is None."""
        lowered = {name.lower(): value for name, value in (headers or {}).items()}
        try:
            return cls(status, lowered, json.loads(body or ""))
        except (ValueError, RecursionError):
            return cls(status, lowered, None)

    @property
    def retry_after_seconds(self) -> float | None:
        """Seconds that Mux asks us to wait; None if it does not, or names a date."""
        try:
            seconds = float(self.headers["retry-after"])
        except (KeyError, ValueError):
            return None
        return max(0.0, seconds) if math.isfinite(seconds) else None  # float() takes "inf"

    @property
    def rate_limit(self) -> tuple[str | None, str | None]:
        """The limit and what is left of it, where Mux says so."""
        return self.headers.get("x-ratelimit-limit"), self.headers.get("x-ratelimit-remaining")


def check(answer: Answer) -> Answer:
    """Let pass what says something about the id asked for: a 200, or a 4xx in Mux's own form.

    Raises MuxUnauthorized for 401 and 403 and MuxUnavailable for all else.
    """
    status = answer.status
    if status in (401, 403):
        said = answers.read_error(answer.body) or (None, None)
        raise MuxUnauthorized(
            f"http_{status}",
            f"Mux refuses the access token ({said[1] or status}): check MUX_TOKEN_ID and "
            "MUX_TOKEN_SECRET, and that the token may read video.",
        )
    if status == 429:
        raise MuxUnavailable(
            "rate_limited", "Mux asks for fewer requests.", answer.retry_after_seconds
        )
    if status == 408 or not (status == 200 or 400 <= status < 500):
        raise MuxUnavailable(
            f"http_{status}", f"Mux answered with {status}.", answer.retry_after_seconds
        )
    if not _is_of_mux(answer):
        raise MuxUnavailable("unreadable", f"Mux answered with a {status} that is not its own.")
    return answer


def _is_of_mux(answer: Answer) -> bool:
    """Tell a body in Mux's form from what a proxy says, or from a part of one."""
    if answer.status != 200:
        return answers.read_error(answer.body) is not None
    return isinstance(answer.body, Mapping) and isinstance(answer.body.get("data"), Mapping | list)


def read_data(answer: Answer, reader: Callable[[Any], T]) -> T:
    """Read the `data` of a 200.

    Raises MuxUnavailable if it is not what it should be.
    """
    try:
        return reader(answer.body.get("data") if isinstance(answer.body, Mapping) else None)
    except answers.UnreadableAnswer as error:
        raise MuxUnavailable("unreadable", f"Mux's answer is {error}.") from error


def read_about(
    answer: Answer, subject: Subject, asked: str, reader: Callable[[Any], Observation]
) -> Observation:
    """Read what Mux said about the id asked for: the thing itself, `missing` or `rejected`.

    Raises MuxUnavailable if a 200 is not what it should be, or is about another id.
    """
    if answer.status != 200:
        return _refusal(answer, subject, asked)
    seen = read_data(answer, reader)
    if asked != (seen.upload_id if subject == "upload" else seen.asset_id):
        raise MuxUnavailable("unreadable", "Mux answered about another id than was asked for.")
    return seen


def _refusal(answer: Answer, subject: Subject, asked: str) -> Observation:
    error_type, message = answers.read_error(answer.body) or (None, None)
    return Observation(
        subject=subject,
        status="missing" if answer.status == 404 else "rejected",
        source="probe",
        upload_id=asked if subject == "upload" else None,
        asset_id=asked if subject == "asset" else None,
        error_type=error_type,
        error_message=message,
    )
