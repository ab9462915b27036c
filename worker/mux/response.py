"""Sort out one HTTP answer of Mux: a fact about the id that was asked for, or a fault. Pure."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Environment, Observation, Page, Source, Subject
from worker.mux import parse

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

    def is_used_up_beyond(self, per_second: float) -> bool:
        """Tell whether nothing is left of the limit although we alone keep below it."""
        limit, remaining = self.rate_limit
        try:
            return remaining == "0" and float(limit or 0) > per_second
        except ValueError:
            return False


def check(answer: Answer) -> Answer:
    """Let pass what says something about the id asked for: a 200, or a 4xx in Mux's own form.

    Raises MuxUnauthorized for 401 and 403 and MuxUnavailable for all else.
    """
    status = answer.status
    if status in (401, 403):
        said = parse.read_error(answer.body) or (None, None)
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
        return parse.read_error(answer.body) is not None
    return isinstance(answer.body, Mapping) and isinstance(answer.body.get("data"), Mapping | list)


def read_data(answer: Answer, reader: Callable[[Any], T]) -> T:
    """Read the `data` of a 200.

    Raises MuxUnavailable if it is not what it should be.
    """
    try:
        return reader(answer.body.get("data") if isinstance(answer.body, Mapping) else None)
    except parse.UnreadableAnswer as error:
        raise MuxUnavailable("unreadable", f"Mux's answer is {error}.") from error


def read_assets(answer: Answer) -> Page:
    """Read a page of the list of assets; what could not be sent back as a cursor ends it."""
    told = answer.body.get("next_cursor")
    leads_on = isinstance(told, str) and told and told.isascii()
    return Page(_listed(answer, parse.read_asset, "sweep"), told if leads_on else None)


def read_uploads(number: int, page_size: int, answer: Answer) -> Page:
    """Read a page of the list of uploads; a full one is followed by the next number."""
    is_full = answer.status == 200 and len(answer.body["data"]) == page_size
    following = str(number + 1) if is_full else None
    return Page(_listed(answer, parse.read_upload, "sweep"), following)


def read_asset_of(upload_id: str, answer: Answer) -> Observation | None:
    """Read the one asset of an upload in a list; None if there is none, or several."""
    listed = _listed(answer, parse.read_asset, "probe")
    found = [seen for seen in listed if seen.upload_id == upload_id]
    return found[0] if len(found) == 1 else None


def read_control(answer: Answer) -> None:
    """Read a list of which only counts that it is one; raises MuxUnavailable if it is not."""
    if answer.status != 200:
        raise MuxUnavailable(f"http_{answer.status}", "Mux refuses to list its assets.")
    _listed(answer, parse.read_asset, "probe")


def read_whoami(answer: Answer) -> Environment:
    """Read which environment the token belongs to; raises MuxUnavailable if Mux does not say."""
    if answer.status != 200:
        raise MuxUnavailable(f"http_{answer.status}", "Mux does not say who we are.")
    return read_data(answer, parse.read_environment)


def _listed(
    answer: Answer, reader: Callable[[Any, Source], Observation], source: Source
) -> tuple[Observation, ...]:
    """Read a list; one that Mux refuses lists nothing, and what it would have told is asked for."""
    if answer.status != 200:
        return ()
    return read_data(answer, lambda data: parse.read_list(data, reader, source))


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
    error_type, message = parse.read_error(answer.body) or (None, None)
    return Observation(
        subject=subject,
        status="missing" if answer.status == 404 else "rejected",
        source="probe",
        upload_id=asked if subject == "upload" else None,
        asset_id=asked if subject == "asset" else None,
        error_type=error_type,
        error_message=message,
    )
