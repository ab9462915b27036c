from collections import Counter

from tests.chaos.plan import BEGINNINGS, FAULTS, make_plan


def test_a_seed_is_a_plan() -> None:
    """The same seed gives the same lessons and faults, another seed gives others."""
    assert make_plan(1, 60, 50) == make_plan(1, 60, 50)
    assert make_plan(1, 60, 50) != make_plan(2, 60, 50)


def test_every_kind_of_fault_comes_before_one_comes_twice() -> None:
    """So that a run of a minute has most of them, and a longer one has all."""
    kinds = [fault.kind for fault in make_plan(3, 600, 1).faults]
    assert set(kinds[: len(FAULTS)]) == set(FAULTS)
    assert max(Counter(kinds).values()) - min(Counter(kinds).values()) <= 1


def test_a_story_is_told_in_order() -> None:
    """A lesson is created first, and its uploads begin one after the other."""
    for story in make_plan(4, 60, 300).stories:
        assert story.steps[0].action == "create"
        assert [step.at for step in story.steps] == sorted(step.at for step in story.steps)
        begun = [step.upload for step in story.steps if step.action in BEGINNINGS]
        assert begun == list(range(len(story.uploads)))


def test_a_plan_has_every_step() -> None:
    """No action of the app is so rare that a run does without it."""
    actions = {step.action for story in make_plan(5, 60, 400).stories for step in story.steps}
    assert actions >= {
        "create", "track", "upsert", "place", "send", "track again", "save form", "save draft",
        "publish", "archive", "delete",
    }  # fmt: skip
