"""Whatever happens in whatever order, a lesson ends with its newest upload.

Stories are made up from what the app, two instructors, Mux, the worker and an operator do; an
oracle that knows nothing of the tables judges each step and the end. What goes wrong is printed as
a list of acts, to be added below as an example. `UPLOAD_STORIES` sets how many are told; with more
than the default they differ from run to run.
"""

import os
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings

from sandbox.supabase.stack import LocalSupabase
from tests.sql.service import Service
from tests.sql.upload_story import Act, Story, stories

pytestmark = pytest.mark.stack

STORIES = int(os.environ.get("UPLOAD_STORIES", "0"))
NUMBERS = count(1)

SAVED_AND_TRACKED_TWICE = [
    *(Act("saves"), Act("tracks"), Act("tracks", 0, 1)),
    *(Act("becomes"), Act("becomes", 0, 1, 1)),
]
ASSET_BEFORE_UNKNOWN_UPLOAD = [
    *(Act("becomes"), Act("saves_real", 0, 0, 2), Act("tracks", 0, 3), Act("scan")),
]
FAILED_THEN_ANOTHER = [
    *(Act("tracks", 0, 3), Act("scan"), Act("patience"), Act("patience")),
    *(Act("becomes"), Act("saves_real")),
]
PLAYED = [Act("tracks"), Act("becomes"), Act("scan")]
STOOD_IN_HERS = [Act("saves", 0, 1), Act("tracks", 0, 2)]
SAVED_OVER_IT = [*PLAYED, Act("becomes", 0, 2, 1), Act("saves_real", 0, 2), Act("tracks", 0, 3)]
COPIED_OVER_IT = [
    *(Act("tracks", 2, 2), *PLAYED, Act("becomes", 0, 2), Act("saves_real", 0, 2)),
    *(Act("becomes", 0, 1), Act("tracks", 0, 1), Act("saves"), Act("becomes", 0, 1)),
]
FAILED = [Act("becomes", 0, 1, 2), Act("tracks", 0, 1), Act("scan")]


@pytest.fixture
def browsers(supabase: LocalSupabase) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    """Open Anna's and Bert's connections."""
    with supabase.connect("authenticated") as hers, supabase.connect("authenticated") as his:
        yield hers, his


# The lesson 0 is Anna's, its upload u1 video 0, u2 video 1 or, where Mux does not know it, 3.
@example([*SAVED_AND_TRACKED_TWICE, Act("walk")])
@example([*SAVED_AND_TRACKED_TWICE, Act("backfill")])
@example([*SAVED_AND_TRACKED_TWICE, Act("by_hand")])
@example([*ASSET_BEFORE_UNKNOWN_UPLOAD, Act("walk"), Act("scan"), Act("becomes", 0, 3)])
@example([*ASSET_BEFORE_UNKNOWN_UPLOAD, Act("backfill"), Act("scan"), Act("becomes", 0, 3)])
@example([*ASSET_BEFORE_UNKNOWN_UPLOAD, Act("by_hand"), Act("scan"), Act("becomes", 0, 3)])
@example([*FAILED_THEN_ANOTHER, Act("publishes"), Act("becomes", 0, 3), Act("event", 0, 3)])
@example([*FAILED_THEN_ANOTHER, Act("by_hand"), Act("becomes", 0, 3), Act("event", 0, 3)])
@example([Act("becomes"), Act("tracks"), Act("tracks", 0, 1), Act("tracks"), Act("scan")])
@example([Act("saves", 0, 1), Act("becomes"), Act("tracks"), Act("upserts", 0, 1)])
@example([Act("tracks"), Act("tracks", 0, 1), Act("becomes"), Act("saves_real"), Act("walk")])
@example([*PLAYED, *FAILED, Act("saves", 0, 1), Act("walk")])
@example([*PLAYED, Act("becomes", 0, 1), Act("tracks", 0, 1), Act("drops"), Act("saves")])
@example([*PLAYED, Act("tracks", 0, 1), Act("deletes"), Act("makes"), Act("saves")])
@example([*PLAYED, Act("tracks", 0, 1), Act("deletes"), Act("makes", 0, 0, 1), Act("tracks")])
@example([*PLAYED, Act("saves", 0, 0, 1), Act("walk"), Act("saves", 0, 0, 1), Act("walk")])
@example([Act("tracks", 0, 1), Act("saves", 3, 1), Act("becomes", 0, 1), Act("scan")])
@example([Act("saves", 3, 1), Act("tracks", 0, 1), Act("tracks", 3, 1), Act("becomes", 0, 1)])
@example([*PLAYED, Act("tracks", 0, 1), Act("saves_real", 2, 0, 2), Act("publishes", 2)])
@example([*PLAYED, Act("deletes"), Act("saves_real", 2, 0, 2), Act("publishes", 2)])
@example([*PLAYED, Act("tracks", 0, 1), Act("saves_real", 0, 0, 1), Act("script")])
@example([*STOOD_IN_HERS, Act("saves", 3, 1), Act("becomes"), Act("tracks"), Act("walk")])
@example([*STOOD_IN_HERS, Act("saves", 2, 1), Act("deletes"), Act("walk")])
@example([*PLAYED, Act("saves", 0, 4), Act("tracks", 2, 4)])
@example([*PLAYED, Act("saves", 0, 4), Act("saves", 2, 4)])
@example([Act("tracks"), Act("tracks", 2, 4), Act("saves", 0, 4), Act("becomes"), Act("scan")])
@example(SAVED_OVER_IT)
@example(COPIED_OVER_IT)
@settings(
    max_examples=STORIES or 200,
    derandomize=not STORIES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(acts=stories())
def test_a_lesson_ends_with_its_newest_upload(
    db: psycopg.Connection,
    service: Service,
    browsers: tuple[psycopg.Connection, psycopg.Connection],
    acts: list[Act],
) -> None:
    """It plays it once it is ready, else what it can, and nothing older comes back over it."""
    db.execute("delete from lessons")
    Story(db, service, browsers, next(NUMBERS)).tell(acts)
