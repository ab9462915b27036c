"""The error types that a command may be given, and how many lessons have failed with each."""

from collections.abc import Mapping

from worker.cli.parser import QUOTES, did_you_mean
from worker.errors import UsageError
from worker.text import plain_id
from worker.wording import FAILURES, count, failure, why_and_advice

UNKNOWN = "unknown"
"""The error type of a failure that has none."""


def check_error_type(error_type: str, failed: Mapping[str, int]) -> None:
    """Raise UsageError for an error type that does not exist, with those of failed lessons."""
    known = {*FAILURES, UNKNOWN, *failed}
    if error_type in known:
        return
    given, meant = plain_id(error_type) or QUOTES, did_you_mean(error_type, sorted(known))
    raise UsageError(f"There is no error type {given}.{meant}\n{listed_types(failed)}")


def listed_types(failed: Mapping[str, int]) -> str:
    """Return how many lessons have failed with each error type, and why, in lines."""
    lines = [f"{count(sum(failed.values()), 'lesson has', 'lessons have')} failed:"]
    for name, number in sorted(failed.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"  {number:>5,}  {plain_id(name)}: {why_and_advice(failure(name))[0]}")
    return "\n".join(lines) if failed else "No lesson has failed."
