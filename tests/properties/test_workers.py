"""Whatever several workers, the app, Mux and the clock do in whatever order, the rules hold.

Each example is a list of calls, which can be pasted into a test as it is printed.
"""

import sys
from itertools import count

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.properties.workers_story import (
    AT_MUX,
    BY_WORKER,
    UPKEEP,
    AtMux,
    ByWorker,
    Upkeep,
    WorkersStory,
)
from tests.sql.service import Service
from tests.sql.upload_story import Act, Verb

pytestmark = pytest.mark.stack

NUMBERS = count(1)
EMPTY = b"""
    delete from lessons where true; delete from mux_private.upload_history where true;
    update mux_private.worker_state set environment_id = null, events_at = null where true;
    update mux_private.adoption_walk set after = null, rows_after = null, stays = 0 where true"""

LESSONS = st.sampled_from([0, 0, 0, 1, 2, 3])
VIDEOS = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4])
WAYS = st.sampled_from([0, 0, 0, 1, 2])
BRINGS: list[Verb] = ["tracks", "tracks", "tracks", "upserts", "saves", "saves_real"]
DOES: list[Verb] = [
    *("publishes", "publishes", "unpublishes", "script", "drops", "deletes", "makes", "retry"),
    "by_hand",
]


class Workers(RuleBasedStateMachine):
    """Steps of the story of several workers.

    They are few, with a choice in each: of many rules Hypothesis leaves out half in each example.
    """

    def __init__(self, story: WorkersStory) -> None:
        super().__init__()
        self.story = story

    @initialize(uploads=st.lists(st.tuples(LESSONS, VIDEOS, WAYS), min_size=1, max_size=3))
    def uploads_began(self, uploads: list[tuple[int, int, int]]) -> None:
        """Begin where some uploads are tracked, and Mux has got on with them."""
        for lesson, video, way in uploads:
            self.story.act(Act("tracks", lesson, video))
            self.story.at_mux("becomes", video, way)

    @rule(verb=st.sampled_from(BRINGS), lesson=LESSONS, video=VIDEOS, way=WAYS)
    def app_brings(self, verb: Verb, lesson: int, video: int, way: int) -> None:
        """Track an upload, or save a form with its ids."""
        self.story.act(Act(verb, lesson, video, way))

    @rule(verb=st.sampled_from(DOES), lesson=LESSONS, way=WAYS)
    def person_does(self, verb: Verb, lesson: int, way: int) -> None:
        """Publish by hand, delete, retry, and so on."""
        self.story.act(Act(verb, lesson, 0, way))

    @rule(verb=st.sampled_from(AT_MUX), video=VIDEOS, way=WAYS)
    def mux_does(self, verb: AtMux, video: int, way: int) -> None:
        """Go on with an upload, or deliver the latest event or an earlier one, again or late."""
        self.story.at_mux(verb, video, way)

    @rule(seconds=st.sampled_from([5, 60, 700, 4000, 4000, 200_000, 3_000_000]))
    def time_passes(self, seconds: int) -> None:
        """Let leases end, graces end, and audit rows become old."""
        self.story.passes(seconds)

    @rule(size=st.integers(1, 3), worker=st.integers(0, 2))
    def worker_looks(self, worker: int, size: int) -> None:
        """Claim rows and ask Mux about all that it has in hand."""
        self.story.claims(worker, size)
        self.story.looks(worker)

    @rule(verb=st.sampled_from(BY_WORKER), worker=st.integers(0, 2))
    def worker_does(self, verb: ByWorker, worker: int) -> None:
        """Settle what was seen, repeat that, hand rows back, or die."""
        self.story.by_worker(verb, worker)

    @rule(verb=st.sampled_from(UPKEEP))
    def upkeep(self, verb: Upkeep) -> None:
        """Adopt what lessons name, prune, or note that webhooks arrive."""
        self.story.upkeep(verb)

    def teardown(self) -> None:
        """Let all be decided: nothing is lost, and it comes to rest."""
        if sys.exception() is None:
            self.story.ends()


def test_workers_keep_every_rule_in_any_order(
    db: psycopg.Connection,
    service: Service,
    browsers: tuple[psycopg.Connection, psycopg.Connection],
) -> None:
    """Nothing is lost, published twice, settled over a newer upload or held by two workers."""

    def begin() -> Workers:
        db.execute(EMPTY)
        db.execute("delete from mux_asset_events where true")
        return Workers(WorkersStory(db, service, browsers, next(NUMBERS)))

    run_state_machine_as_test(
        begin,  # type: ignore[arg-type]  # anything that returns a machine
        settings=settings(
            max_examples=max(100, settings().max_examples // 3), stateful_step_count=50
        ),
    )
