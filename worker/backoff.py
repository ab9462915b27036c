"""Compute when to check a row that waits again. Pure: no clock, no I/O."""

from worker.model import Claim, Observation

STUCK_SECONDS = 1800.0
"""A row that has been processing for longer is reported as stuck, and checked less often."""

WAITING_SECONDS = 0.5
"""Less than the time between two scans, so that each scan checks every row that Mux encodes."""

FILE_AGE_SHARE, MIN_FILE_SECONDS, MAX_FILE_SECONDS = 0.1, 1.0, 30.0
"""For an upload that waits for its file: this share of its age, within these bounds."""

LATE_AGE_SHARE, MAX_LATE_SECONDS = 1 / 60, 300.0
"""From `STUCK_SECONDS` on: this share of the row's age, to five minutes."""

MISSING_SECONDS = (5.0, 30.0, 200.0, 300.0)
"""For an id that Mux does not know: most of these are garbage, and the grace takes three checks."""

GROWTH = 1.5
FIRST_FAULT_SECONDS = 5.0
FIRST_SECONDS_WITH_EVENTS = 60.0
JITTER = 0.1


def next_check_seconds(  # noqa: PLR0913  # what a pause depends on, most of it by name
    observation: Observation,
    claim: Claim,
    jitter: float,
    *,
    interval_seconds: float = 5.0,
    fault_count: int = 0,
    events_arrive: bool = False,
    environment_matches: bool = True,
) -> float:
    """Return the seconds until the next check of a row that waits.

    `interval_seconds` is the longest time between two scans, and `fault_count` how many checks in a
    row ended with a fault of this id before. `jitter` in [0, 1) spreads the result by a tenth
    either way.
    """
    if observation.status == "fault":
        seconds = _growing(FIRST_FAULT_SECONDS, fault_count)
    elif observation.status in ("missing", "rejected") and environment_matches:
        seconds = MISSING_SECONDS[min(claim.missing_count, len(MISSING_SECONDS) - 1)]
    elif events_arrive:
        seconds = _growing(FIRST_SECONDS_WITH_EVENTS, claim.check_count)
    else:
        seconds = _waiting_seconds(observation, claim.age_seconds, interval_seconds)
    return seconds * (1 + JITTER * (2 * jitter - 1))


def _growing(first_seconds: float, count: int) -> float:
    """Return a pause that grows by half each time, to five minutes."""
    return min(first_seconds * GROWTH ** min(count, 20), MAX_LATE_SECONDS)


def _waiting_seconds(observation: Observation, age_seconds: float, interval: float) -> float:
    """Return the pause of a row while no webhooks arrive, without jitter.

    In another Mux environment an id that is not found waits as an upload without a file does.
    """
    if age_seconds >= STUCK_SECONDS:
        return min(age_seconds * LATE_AGE_SHARE, MAX_LATE_SECONDS)
    waits_for_file = (observation.subject, observation.status) == ("upload", "waiting")
    if waits_for_file or not observation.found:
        return min(max(age_seconds * FILE_AGE_SHARE, MIN_FILE_SECONDS), MAX_FILE_SECONDS)
    return min(WAITING_SECONDS, interval / 2)


def is_stuck(claim: Claim) -> bool:
    """Whether a row has been processing for longer than half an hour."""
    return claim.status == "processing" and claim.age_seconds >= STUCK_SECONDS
