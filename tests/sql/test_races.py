"""Two requests meet: every pair of actions, from every state, in both orders."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.sql.race_cast import (
    EVERYBODY,
    FOR_ONE_OF_TWO,
    HELD,
    IN_BULK,
    LESSON,
    LESSONS,
    OTHER_LESSON,
    REQUESTS,
    SETTLES_OF_TWO,
    STATES,
    TWO_TRACKED,
    row_held,
    settles_in_environment,
)
from tests.sql.race_judge import Races
from tests.sql.racing import Action, Stage

pytestmark = pytest.mark.stack

FOR_TWO = [*SETTLES_OF_TWO, *IN_BULK, *FOR_ONE_OF_TWO]


@pytest.fixture(scope="module")
def stage(shared_supabase: LocalSupabase) -> Iterator[Stage]:
    """Give connections that all races share."""
    with Stage(shared_supabase) as stage:
        yield stage


@pytest.fixture(scope="module")
def races(stage: Stage) -> Races:
    """Give races that remember what requests come to in turn."""
    return Races(stage)


def possible(actions: list[Action]) -> list[tuple[str, Action]]:
    """Give every state with every action that makes sense in it."""
    return [(state, action) for state in STATES for action in actions if action.is_possible(state)]


def faults(found: dict[str, str | None]) -> dict[str, str]:
    """Leave out the races that went well."""
    return {name: fault for name, fault in found.items() if fault is not None}


@pytest.mark.parametrize(("state", "first"), possible(EVERYBODY), ids=str)
def test_whoever_meets_a_request_that_is_not_committed_comes_after_it_or_passes_over(
    races: Races, state: str, first: Action
) -> None:
    """World and answers are those of the same two requests in turn, in one order or the other.

    The app's requests may wait for it. The worker's never do: they pass over what is held, which
    leaves the world as if they had not come, except that the row may be due again in five seconds.
    """
    seconds = [action for action in EVERYBODY if action.is_possible(state)]
    found = {str(second): races.find_fault(state, first, second) for second in seconds}
    assert faults(found) == {}


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("state", STATES)
def test_no_two_requests_wait_for_each_other_when_one_is_held_up_in_the_middle(
    races: Races, state: str, held: str
) -> None:
    """Somebody is in the way of a request, which stops there and holds what it has so far.

    Another meets it in the middle. Once the way is free both come through, in turn.
    """
    firsts = [first for first in REQUESTS if races.is_held(state, HELD[held], first)]
    found = {
        f"{first}, {second}": races.find_fault_when_held(state, HELD[held], first, second)
        for first in firsts
        for second in EVERYBODY
        if second.is_possible(state)
    }
    assert faults(found) == {}


@pytest.mark.parametrize("first", FOR_TWO, ids=str)
def test_whoever_meets_a_request_for_two_lessons_comes_after_it_or_passes_over(
    races: Races, first: Action
) -> None:
    """Also where it is about the same two in opposite order; each lesson is judged by itself."""
    found = {str(second): races.find_fault(TWO_TRACKED, first, second) for second in FOR_TWO}
    assert faults(found) == {}


@pytest.mark.parametrize("held", [row_held(LESSON), row_held(OTHER_LESSON)], ids=["one", "other"])
def test_a_bulk_request_that_is_held_up_at_one_lesson_harms_nobody(races: Races, held: str) -> None:
    """The worker passes over what it holds, and a request for one lesson comes through, in turn."""
    found = {
        f"{first}, {second}": races.find_fault_when_held(TWO_TRACKED, held, first, second)
        for first in IN_BULK
        for second in [*SETTLES_OF_TWO, *FOR_ONE_OF_TWO]
    }
    assert faults(found) == {}


@pytest.mark.parametrize("first", [IN_BULK[0], IN_BULK[2]], ids=str)
def test_two_bulk_requests_in_opposite_order_are_the_apps_to_sort(
    races: Races, first: Action
) -> None:
    """What the database cannot prevent: each holds a row that the other comes to next.

    Postgres ends one of them after a second, whole, and the other comes through. Who upserts or
    deletes several rows in one request sorts them by lesson, or repeats what ends with 40P01. An
    upsert may come to the lesson only when it is deleted, and then ends with 23503.
    """
    ends = {"40P01": "ended", "23503": "ended"}
    rivals = [replace(action, errors=ends) for action in (first, IN_BULK[1])]
    run, waited = races.race_when_held(TWO_TRACKED, row_held(LESSON), rivals[0], rivals[1])
    (winner,) = [action for action, told in zip(rivals, run.told, strict=True) if told != "ended"]
    assert waited
    assert run.world == races.in_turn(TWO_TRACKED, winner).world


def test_a_settle_does_not_wait_for_another_that_keeps_the_environment(stage: Stage) -> None:
    """The first to come says which it is; another says so in its next call."""
    scene = stage.sets([LESSONS], LESSON)
    first, second = settles_in_environment("env1"), settles_in_environment("env2")
    assert not stage.one.starts(first, scene)
    assert not stage.other.starts(second, scene, and_commits=True)
    stage.one.connection.commit()
    kept = "select environment_id from mux_private.worker_state"
    assert stage.watcher.execute(kept).fetchone() == ("env1",)
    assert not stage.other.starts(second, scene, and_commits=True)
    assert stage.watcher.execute(kept).fetchone() == ("env2",)
