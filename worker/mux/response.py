"""Turn an HTTP response of Mux into observations, or raise the error that it is. Pure."""

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
class Response:
    """A response: status, headers in lower case, and the body if it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str] | None, body: bytes | str | None) -> Self:
        """Return a response with its body parsed, or None for a body that is not JSON."""
        lowered = {name.lower(): value for name, value in (headers or {}).items()}
        try:
            return cls(status, lowered, json.loads(body or ""))
        except (ValueError, RecursionError):
            return cls(status, lowered, None)

    @property
    def retry_after_seconds(self) -> float | None:
        """The seconds of `Retry-After`; None without the header, or if it is a date."""
        try:
            seconds = float(self.headers["retry-after"])
        except (KeyError, ValueError):
            return None
        return max(0.0, seconds) if math.isfinite(seconds) else None  # float() takes "inf"

    @property
    def asks_for_less(self) -> bool:
        """Whether Mux limits the rate (429), or asks for a pause after an error."""
        return self.status == 429 or (self.status >= 500 and self.retry_after_seconds is not None)

    @property
    def rate_limit(self) -> tuple[str | None, str | None]:
        """The rate limit and what remains of it, where the response has the headers."""
        return self.headers.get("x-ratelimit-limit"), self.headers.get("x-ratelimit-remaining")

    def is_limit_used_by_others(self, per_second: float) -> bool:
        """Whether nothing remains of a limit that is higher than our own rate."""
        limit, remaining = self.rate_limit
        try:
            return remaining == "0" and float(limit or 0) > per_second
        except ValueError:
            return False


def check(response: Response) -> Response:
    """Return a response that is about the requested id: a 200, or a 4xx in Mux's own format.

    Raises MuxUnauthorized for 401 and 403, and MuxUnavailable for everything else.
    """
    status = response.status
    if status in (401, 403):
        _, message = parse.read_error(response.body) or (None, None)
        raise MuxUnauthorized(
            f"http_{status}",
            f"Mux refuses the access token ({message or status}): check MUX_TOKEN_ID and "
            "MUX_TOKEN_SECRET, and that the token may read video.",
        )
    if status == 429:
        raise MuxUnavailable(
            "rate_limited", "Mux asks for fewer requests.", response.retry_after_seconds
        )
    if status == 408 or not (status == 200 or 400 <= status < 500):
        raise MuxUnavailable(
            f"http_{status}", f"Mux answered with {status}.", response.retry_after_seconds
        )
    if not _is_in_mux_format(response):
        raise MuxUnavailable(
            "unreadable", f"Mux answered with a {status} that is not in its format."
        )
    return response


def _is_in_mux_format(response: Response) -> bool:
    """Whether a body is in Mux's format, and neither from a proxy nor cut off."""
    body = response.body
    if response.status != 200:
        return parse.read_error(body) is not None
    return isinstance(body, Mapping) and isinstance(body.get("data"), Mapping | list)


def read_data(response: Response, reader: Callable[[Any], T]) -> T:
    """Return what `reader` makes of the `data` of a 200.

    Raises MuxUnavailable if it cannot be read.
    """
    body = response.body
    try:
        return reader(body.get("data") if isinstance(body, Mapping) else None)
    except parse.UnreadableResponse as error:
        raise MuxUnavailable("unreadable", f"Mux's answer is {error}.") from error


def read_assets(response: Response) -> Page:
    """Return a page of the list of assets. A cursor that cannot be sent back ends the list."""
    cursor = response.body.get("next_cursor")
    is_usable = isinstance(cursor, str) and cursor and cursor.isascii()
    return Page(_read_list(response, parse.read_asset, "sweep"), cursor if is_usable else None)


def read_uploads(number: int, page_size: int, response: Response) -> Page:
    """Return a page of the list of uploads. After a full page comes the next number."""
    is_full = response.status == 200 and len(response.body["data"]) == page_size
    observations = _read_list(response, parse.read_upload, "sweep")
    return Page(observations, str(number + 1) if is_full else None)


def read_asset_of(upload_id: str, response: Response) -> Observation | None:
    """Return the only asset of an upload from a list, or None if there is none, or several."""
    assets = [
        asset
        for asset in _read_list(response, parse.read_asset, "probe")
        if asset.upload_id == upload_id
    ]
    return assets[0] if len(assets) == 1 else None


def read_control(response: Response) -> None:
    """Raise MuxUnavailable if the response is not a list of assets."""
    if response.status != 200:
        raise MuxUnavailable(f"http_{response.status}", "Mux refuses to list its assets.")
    _read_list(response, parse.read_asset, "probe")


def read_whoami(response: Response) -> Environment:
    """Return the environment of the token. Raises MuxUnavailable if the response has none."""
    if response.status != 200:
        raise MuxUnavailable(
            f"http_{response.status}", "Mux returned no environment for the token."
        )
    return read_data(response, parse.read_environment)


def _read_list(
    response: Response, reader: Callable[[Any, Source], Observation], source: Source
) -> tuple[Observation, ...]:
    """Return the items of a list. A 4xx is an empty list: its rows are probed instead."""
    if response.status != 200:
        return ()
    return read_data(response, lambda data: parse.read_list(data, reader, source))


def read_object(
    response: Response, subject: Subject, requested_id: str, reader: Callable[[Any], Observation]
) -> Observation:
    """Return the observation of the requested id: the object itself, `missing` or `rejected`.

    Raises MuxUnavailable if a 200 cannot be read, or is about another id.
    """
    if response.status != 200:
        return _missing_or_rejected(response, subject, requested_id)
    observation = read_data(response, reader)
    returned_id = observation.upload_id if subject == "upload" else observation.asset_id
    if returned_id != requested_id:
        raise MuxUnavailable("unreadable", "Mux answered for another id than the requested one.")
    return observation


def _missing_or_rejected(response: Response, subject: Subject, requested_id: str) -> Observation:
    error_type, message = parse.read_error(response.body) or (None, None)
    return Observation(
        subject=subject,
        status="missing" if response.status == 404 else "rejected",
        source="probe",
        upload_id=requested_id if subject == "upload" else None,
        asset_id=requested_id if subject == "asset" else None,
        error_type=error_type,
        error_message=message,
    )
