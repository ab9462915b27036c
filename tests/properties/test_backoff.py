from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.observations import claims, counts, rechecks, rules, scanned, seconds
from worker.backoff import JITTER, MAX_LATE_SECONDS, WAITING_SECONDS, next_check_seconds
from worker.decide import Rules, settlement
from worker.model import Claim, Observation

jitters = st.floats(0, 1, exclude_max=True)


def pause(
    observation: Observation, claim: Claim, rules: Rules, faults: int, jitter: float = 0.5
) -> float:
    """Return the pause of a row, as a scan computes it."""
    (claimed,) = settlement(observation, ((claim, jitter),), rules, {claim.id: faults}).claims
    return claimed.pause_seconds


@given(scanned, claims | rechecks, rules, counts, jitters)
def test_every_pause_is_within_its_bounds(
    observation: Observation, claim: Claim, rules: Rules, faults: int, jitter: float
) -> None:
    """At least half a second or half the interval, at most five minutes, each with its jitter."""
    seconds = pause(observation, claim, rules, faults, jitter)
    least = min(WAITING_SECONDS, rules.interval_seconds / 2)
    assert least * (1 - JITTER) <= seconds <= MAX_LATE_SECONDS * (1 + JITTER)


@given(scanned, claims | rechecks, rules, counts, jitters)
def test_jitter_moves_a_pause_by_a_tenth_at_most(
    observation: Observation, claim: Claim, rules: Rules, faults: int, jitter: float
) -> None:
    """Half of it moves nothing, and it is linear between the two ends."""
    middle = pause(observation, claim, rules, faults)
    moved = pause(observation, claim, rules, faults, jitter)
    assert moved == pytest.approx(middle * (1 + JITTER * (2 * jitter - 1)))


@given(scanned, claims | rechecks, rules, counts, seconds, counts)
def test_no_pause_becomes_shorter_with_time(
    observation: Observation, claim: Claim, rules: Rules, faults: int, passed: float, more: int
) -> None:
    """With the same answer of Mux, for an older row, after more checks and more faults."""
    older = replace(
        claim,
        age_seconds=claim.age_seconds + passed,
        check_count=claim.check_count + more,
        missing_count=claim.missing_count + more,
    )
    before = pause(observation, claim, rules, faults)
    assert pause(observation, older, rules, faults + more) >= before * (1 - 1e-9)


@given(scanned, claims | rechecks, rules, jitters)
def test_while_webhooks_arrive_no_row_is_checked_sooner(
    observation: Observation, claim: Claim, rules: Rules, jitter: float
) -> None:
    """While events arrive, a row that has just begun is left to them."""
    pauses = [
        next_check_seconds(observation, replace(claim, age_seconds=0), jitter, events_arrive=arrive)
        for arrive in (False, True)
    ]
    assert pauses[0] <= pauses[1]
