"""Compute when to check a row that waits again. Pure: no clock, no I/O."""

from worker.model import Claim, Observation

STUCK_SECONDS = 1800.0
"""A row that has been processing for longer is reported as stuck, and checked less often."""

GROWTH = 1.5
FIRST_SECONDS = 5.0
MAX_SECONDS = 30.0
MAX_LATE_SECONDS = 300.0
"""From `STUCK_SECONDS` on, for faults of one id, and while webhooks arrive."""

MISSING_SECONDS = (5.0, 30.0, 200.0, 300.0)
"""For an id that Mux does not know: most of these are garbage, and the grace takes three checks."""

SWEPT_SECONDS = 4.0
"""For a row that a list covered: less than the usual time between two scans."""

FIRST_SECONDS_WITH_EVENTS = 60.0
JITTER = 0.1


def next_check_seconds(
    observation: Observation,
    claim: Claim,
    jitter: float,
    *,
    fault_count: int = 0,
    events_arrive: bool = False,
    environment_matches: bool = True,
) -> float:
    """Return the seconds until the next check of a row that waits.

    `fault_count` is how many checks in a row ended with a fault of this id before. `jitter` in
    [0, 1) spreads the result by a tenth either way.
    """
    if observation.status == "fault":
        seconds = min(FIRST_SECONDS * GROWTH ** min(fault_count, 20), MAX_LATE_SECONDS)
    elif observation.status in ("missing", "rejected") and environment_matches:
        seconds = MISSING_SECONDS[min(claim.missing_count, len(MISSING_SECONDS) - 1)]
    else:
        is_swept = observation.source == "sweep"
        seconds = waiting_seconds(claim, is_swept=is_swept, events_arrive=events_arrive)
    return seconds * (1 + JITTER * (2 * jitter - 1))


def waiting_seconds(claim: Claim, *, is_swept: bool = False, events_arrive: bool = False) -> float:
    """Return the seconds until the next check of a row whose id Mux knows, without jitter.

    5 s, times 1.5 at each check, to 30 s; always 4 s where a list covered the row, since a page
    costs the same for any number of rows. From the first half hour on a sixtieth of the row's age,
    to 5 minutes. While webhooks arrive 60 s, times 1.5 at each check, to 5 minutes.
    """
    growth = GROWTH ** min(claim.check_count, 10)
    if events_arrive:
        return min(FIRST_SECONDS_WITH_EVENTS * growth, MAX_LATE_SECONDS)
    if claim.age_seconds >= STUCK_SECONDS:
        return min(claim.age_seconds / 60, MAX_LATE_SECONDS)
    return SWEPT_SECONDS if is_swept else min(FIRST_SECONDS * growth, MAX_SECONDS)


def is_stuck(claim: Claim) -> bool:
    """Whether a row has been processing for longer than half an hour."""
    return claim.status == "processing" and claim.age_seconds >= STUCK_SECONDS
