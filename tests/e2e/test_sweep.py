"""Many rows are due: what the running worker asks of Mux's lists, and what it makes of them."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from aiohttp import web

from sandbox.fault_injection import Fault
from sandbox.mux.ids import SeededUpload
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.request_log import LoggedRequest, peak_per_second
from sandbox.mux.responses import asset_json
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from tests.course import Course, let_pass
from tests.e2e.evidence import lines, picked, refuse_lists
from tests.strict_rate_limit import StrictRateLimit
from tests.worker_process import WorkerProcess
from worker.scan.sweep import INITIAL_PAGE_BUDGET, MAX_PAGE_BUDGET

pytestmark = pytest.mark.stack

NO_FILE = Timeline(file_after_seconds=None)
OLD_SECONDS = 300
"""The age of an upload whose missing file is looked for again after half a minute."""

ONE_SCAN = {"SCAN_INTERVAL_SECONDS": "30"}
"""For a scan in which there is time to probe many rows, also on a busy machine."""

KINDS = {
    "/system/v1/whoami": "whoami",
    "/video/v1/assets": "assets",
    "/video/v1/uploads": "uploads",
    "/video/v1/assets/{asset_id}": "asset",
    "/video/v1/uploads/{upload_id}": "upload",
}


def kind_of(seen: LoggedRequest) -> str:
    """Name what was asked: a page of a list in the plural, one thing alone in the singular."""
    kind = KINDS[seen.route.removeprefix("GET ")]
    return "asset of upload" if "upload_id=" in seen.query else kind


def asked(mux: MuxSimulator) -> Counter[str]:
    """Count what Mux was asked."""
    return Counter(map(kind_of, mux.requests.all()))


def track(
    db: psycopg.Connection, uploads: Iterable[str], assets: Sequence[str] = ()
) -> dict[UUID, str]:
    """Track uploads, each for a lesson of its own, all due at once; give them by lesson."""
    names = list(uploads)
    with db.transaction():
        made = db.execute(
            "insert into lessons (creator_id, title) "
            "select 'aaaaaaaa-0000-4000-8000-000000000001', n::text from generate_series(1, %s) n "
            "returning id",
            [len(names)],
        ).fetchall()
        lessons = {row[0]: name for row, name in zip(made, names, strict=True)}
        db.execute(
            "insert into mux_asset_tracking (lesson_id, upload_id, mux_asset_id) "
            "select * from unnest(%s::uuid[], %s::text[], %s::text[])",
            [list(lessons), names, list(assets) or cast("list[str | None]", [None]) * len(names)],
        )
    return lessons


def uploads_of(seeded: Iterable[SeededUpload]) -> list[str]:
    """Name the uploads."""
    return [one.upload_id for one in seeded]


def assert_all_published(
    mux: MuxSimulator, db: psycopg.Connection, lessons: dict[UUID, str], *workers: WorkerProcess
) -> None:
    """Wait until all is settled; each lesson has its own video, and was told of by one worker."""

    def count(status: str) -> int:
        row = db.execute("select count(*) from lessons where status = %s", [status]).fetchone()
        assert row is not None
        found: int = row[0]
        return found

    workers[0].wait_until(lambda: count("draft") == 0, timeout=120)
    found = db.execute("select id, mux_asset_id from lessons where status = 'published'").fetchall()
    assert dict(found) == {one: mux.state.upload(name).asset_id for one, name in lessons.items()}
    for worker in workers:
        if worker.is_running:
            assert worker.stop() == 0
    result = [line["lesson_id"] for worker in workers for line in worker.events("lesson.published")]
    assert Counter(result) == Counter(map(str, lessons))


def test_three_among_ten_cost_one_page(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """As often as not all that is due is on the first page."""
    seeded = mux.state.seed(10)
    lessons = track(db, uploads_of(seeded[n] for n in (0, 4, 9)))
    worker.start()
    assert_all_published(mux, db, lessons, worker)
    assert asked(mux) == {"whoami": 1, "assets": 1}


def test_two_cost_one_page(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """One request answers for both, since they are among the newest hundred."""
    lessons = track(db, uploads_of(mux.state.seed(10)[:2]))
    worker.start()
    assert_all_published(mux, db, lessons, worker)
    assert asked(mux) == {"whoami": 1, "assets": 1}


def test_two_old_ones_cost_one_page_in_vain(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Then they are asked for one by one, each by one question."""
    lessons = track(db, uploads_of(mux.state.seed(2)))
    mux.state.seed(200)
    worker.start()
    assert_all_published(mux, db, lessons, worker)
    assert asked(mux) == {"whoami": 1, "assets": 1, "asset of upload": 2}


def test_the_newest_hundred_of_many_cost_one_page(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """However many there were before them."""
    mux.state.seed(2000)
    lessons = track(db, uploads_of(mux.state.seed(100)))
    worker.start()
    assert_all_published(mux, db, lessons, worker)
    assert asked(mux) == {"whoami": 1, "assets": 1}


def test_old_ones_behind_many_others_cost_few_pages_in_vain(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """The first credit for each list, then each is asked for by the one question that it takes."""
    lessons = track(db, uploads_of(mux.state.seed(50)))
    mux.state.seed(3000)
    worker.start(**ONE_SCAN)
    assert_all_published(mux, db, lessons, worker)
    assert asked(mux) == {
        "whoami": 1,
        "assets": INITIAL_PAGE_BUDGET,
        "uploads": INITIAL_PAGE_BUDGET,
        "asset of upload": 50,
    }


def test_five_hundred_cost_a_page_for_each_hundred(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """More than a scan may claim; what a page says of others is settled too. All credit may go."""
    mux.state.seed(3000)
    lessons = track(db, uploads_of(mux.state.seed(500)))
    worker.start()
    assert_all_published(mux, db, lessons, worker)
    assert set(asked(mux)) == {"whoami", "assets"}
    assert 5 <= asked(mux)["assets"] <= 5 + MAX_PAGE_BUDGET


def test_an_environment_that_is_shared_makes_no_noise(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Assets of other apps have words of their own; only those of ours are worth a line."""
    strangers = [mux.state.create_asset(policies=("members",)) for _ in range(20)]
    mine = [mux.state.create_upload(policies=("fans", "public")) for _ in range(4)]
    listed = [asset_json(asset, mux.state.clock.now()) for asset in mux.state.assets()]
    for asset in listed:
        if asset["id"] in strangers[:10]:
            asset["status"] = "percolating"
    body = json.dumps({"data": listed, "next_cursor": None})
    mux.faults.add(Fault("answer", status=200, body=body), path="/video/v1/assets")
    lessons = track(db, mine)
    worker.start()
    assert_all_published(mux, db, lessons, worker)
    finished = lines(worker, "scan.finished", claimed=4)
    assert [picked(line, "published", "mux_requests") for line in finished] == [(4, 2)]
    assert not {"unmatched", "unchanged", "waiting"} & set(finished[0])
    assert lines(worker, "mux.unknown_value") == [
        {"level": "warning", "event": "mux.unknown_value", "kind": "policy", "value": "fans"}
    ]


def between_pages(mux: MuxSimulator, kind: str, act: Callable[[], object]) -> None:
    """Do something each time before a further page of a list is answered."""

    def match(request: web.Request) -> bool:
        if "cursor" in request.query or int(request.query.get("page", 1)) > 1:
            act()
        return False

    mux.faults.add(Fault("answer"), path=f"/video/v1/{kind}", match=match)


def test_pages_that_shift_while_one_walks_lose_nobody(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """New uploads push the others back, some to the next page: each row is looked at once."""
    waiting = track(db, [mux.state.create_upload(NO_FILE) for _ in range(350)])
    let_pass(db, OLD_SECONDS)
    between_pages(mux, "uploads", lambda: [mux.state.create_upload(NO_FILE) for _ in range(30)])
    worker.start(MUX_REQUESTS_PER_SECOND="50", SCAN_BATCH_SIZE="500", LEASE_SECONDS="600")
    finished = worker.wait_for("scan.finished", claimed=350)
    assert worker.stop() == 0
    assert (finished["waiting"], finished["released"]) == (350, 0)
    looks = db.execute(
        "select check_count, count(*) from mux_private.schedule group by 1"
    ).fetchall()
    assert looks == [(1, len(waiting))]
    # Three times a page was pushed back by thirty, so the last of them reach into a fifth.
    assert asked(mux) == {"whoami": 1, "assets": 1, "uploads": 5}


def test_assets_that_come_and_go_while_one_walks_lose_nobody(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Also where the one that a page ended with is deleted before the next page is asked for."""
    seeded = mux.state.seed(300)
    lessons = track(db, uploads_of(seeded))

    def shift() -> None:
        mux.state.seed(40)
        for gone in (200, 100):  # the last of the first page, then of the second
            if seeded[gone].asset_id not in deleted:
                deleted.append(seeded[gone].asset_id)
                mux.state.delete_asset(seeded[gone].asset_id)
                break

    deleted: list[str] = []
    between_pages(mux, "assets", shift)
    worker.start()
    assert_all_published(mux, db, lessons, worker)
    assert deleted == [seeded[200].asset_id, seeded[100].asset_id]
    assert asked(mux) == {"whoami": 1, "assets": 3}


def test_uploads_without_an_asset_are_told_by_their_own_list(
    worker: WorkerProcess, db: psycopg.Connection, course: Course, mux: MuxSimulator
) -> None:
    """Waiting, abandoned, cancelled, broken: one page for all, and none is asked for alone."""
    state = mux.state
    ends = {
        state.create_upload(NO_FILE): None,
        state.create_upload(NO_FILE, timeout_seconds=0): "upload_timed_out",
        state.create_upload(NO_FILE): "upload_cancelled",
        state.create_upload(Timeline(0, 0, "upload_errored")): "upload_errored",
    }
    state.cancel_upload(list(ends)[2])
    lessons = track(db, ends)
    let_pass(db, OLD_SECONDS)
    worker.start()
    worker.wait_for("scan.finished", claimed=4)
    assert worker.stop() == 0
    assert {name: course.row(one)["error_type"] for one, name in lessons.items()} == ends
    assert asked(mux) == {"whoami": 1, "assets": 1, "uploads": 1}


def test_an_upload_that_has_got_its_file_meanwhile_is_published_in_the_same_scan(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Its asset was not yet in the one list, and the other tells of it: one question more."""
    names = [mux.state.create_upload(NO_FILE) for _ in range(4)]
    token = mux.state.upload(names[0]).url_token
    received: list[object] = []

    def match(_request: web.Request) -> bool:
        if not received:
            received.append(mux.state.receive_file(token))
        return False

    mux.faults.add(Fault("answer"), path="/video/v1/uploads", match=match)
    mux.state.upload(names[0]).timeline = Timeline(0, 0)
    track(db, names)
    let_pass(db, OLD_SECONDS)
    worker.start()
    finished = worker.wait_for("scan.finished", claimed=4)
    assert worker.stop() == 0
    assert picked(finished, "published", "waiting", "mux_requests") == (1, 3, 4)
    assert asked(mux) == {"whoami": 1, "assets": 1, "uploads": 1, "asset": 1}


def test_where_lists_are_refused_each_row_is_asked_for(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """A refusal says nothing about any row, and is no outage."""
    refuse_lists(mux)
    lessons = track(db, uploads_of(mux.state.seed(10)))
    worker.start(**ONE_SCAN)
    assert_all_published(mux, db, lessons, worker)
    assert asked(mux) == {
        "whoami": 1,
        "assets": 1,
        "uploads": 1,
        "asset of upload": 10,
        "upload": 10,
        "asset": 10,
    }
    assert lines(worker, "mux.retry", "mux.unavailable", "mux.unknown_value") == []


def test_where_a_list_fails_nothing_is_touched_until_it_is_back(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """A 500 is an outage like any other; the rows are handed back, and told of afterwards."""
    mux.faults.add(Fault("answer", status=500), path="/video/v1/assets")
    lessons = track(db, uploads_of(mux.state.seed(10)))
    worker.start()
    worker.wait_for("mux.unavailable")
    # While the worker looks whether the list is back, they are leased.
    due = (
        "select count(*) from mux_private.schedule where check_count = 0 and next_check_at <= now()"
    )
    worker.wait_until(lambda: db.execute(due.encode()).fetchone() == (10,))
    mux.faults.clear()
    assert worker.wait_for("mux.recovered")["rows_waiting"] == 10
    assert_all_published(mux, db, lessons, worker)


def test_an_item_that_nobody_can_read_costs_the_others_nothing(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """The rest of the page is taken, and only what was lost is asked for alone."""
    seeded = mux.state.seed(10)
    listed: list[Any] = [asset_json(asset, mux.state.clock.now()) for asset in mux.state.assets()]
    at = next(n for n, asset in enumerate(listed) if asset["id"] == seeded[4].asset_id)
    del listed[at]["status"]
    listed += [None, "nonsense", {"id": 7, "status": "ready"}]
    body = json.dumps({"data": listed, "next_cursor": None})
    mux.faults.add(Fault("answer", status=200, body=body), path="/video/v1/assets", times=1)
    lessons = track(db, uploads_of(seeded))
    worker.start()
    assert_all_published(mux, db, lessons, worker)
    assert asked(mux) == {"whoami": 1, "assets": 1, "asset of upload": 1}


def test_the_lists_of_another_environment_are_no_home(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """They are full of assets, none of them ours: the rows wait, and what was home stays home."""
    home = mux.state.environment_id
    lessons = track(db, uploads_of(mux.state.seed(5)))
    db.execute("update mux_private.worker_state set environment_id = %s", [home])
    mux.state.environment_id = "elsewhere"
    mux.state.seed(50)
    worker.start(LEASE_SECONDS="600")
    worker.wait_for("scan.finished", claimed=5)
    assert worker.stop() == 0
    result = lines(worker, "mux.wrong_environment", "lesson.failed")
    assert [picked(line, "environment", "last_found_in") for line in result] == [
        ("elsewhere", home)
    ]
    waits = "select is_recheck, missing_count, count(*) from mux_private.schedule group by 1, 2"
    assert db.execute(waits.encode()).fetchall() == [(False, 0, 5)]
    known = db.execute("select environment_id from mux_private.worker_state").fetchone()
    assert known == (home,)

    mux.state.environment_id = home
    db.execute("update mux_private.schedule set next_check_at = now()")
    told_before = len(worker.lines)
    worker.start()
    assert_all_published(mux, db, lessons, worker)
    assert [line["event"] for line in worker.lines[told_before:] if line["level"] != "info"] == []


def test_a_stop_in_the_middle_of_a_sweep_loses_nothing(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """What was seen is published, the rest is as long due as it was, and another may sweep."""
    lessons = track(db, uploads_of(mux.state.seed(300)))
    mux.faults.add(
        Fault("hang"), path="/video/v1/assets", match=lambda request: "cursor" in request.query
    )
    worker.start(LEASE_SECONDS="600", MUX_TIMEOUT_SECONDS="60", SHUTDOWN_SECONDS="6")
    worker.wait_for("lesson.published", times=100)
    mux.faults.wait_for_hits(1)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    left = db.execute(
        "select count(*), max(check_count), max(next_check_at - tracked_at) "
        "from mux_private.schedule"
    ).fetchone()
    assert left == (200, 0, timedelta())
    assert "Traceback" not in worker.output

    mux.faults.clear()
    worker.start()
    assert_all_published(mux, db, lessons, worker)


@pytest.fixture
def three(environment: dict[str, str]) -> Iterator[list[WorkerProcess]]:
    """Give three workers with the same settings, not yet started."""
    with ExitStack() as stack:
        workers = [WorkerProcess(environment) for _ in range(3)]
        for one in workers:
            stack.callback(one.kill)
        yield workers


def test_three_workers_work_off_a_backlog_as_one(
    three: list[WorkerProcess], db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """A page for a hundred new rows, a question for each old one, no faster than one may be."""
    rate, new, old = 20, 1400, 100
    uploads = uploads_of(mux.state.seed(old))
    mux.state.seed(1500)
    uploads += uploads_of(mux.state.seed(new))
    lessons = track(db, uploads)
    mux.limits = RateLimits(StrictRateLimit(rate), StrictRateLimit(None))
    for one in three:
        one.start(MUX_REQUESTS_PER_SECOND=str(rate))
    assert_all_published(mux, db, lessons, *three)

    seen = mux.requests.all()
    assert {one.status for one in seen} == {200}
    questions = asked(mux)
    assert questions["asset of upload"] == old
    # Pages without a match: the budget at the end of the new ones, and the first budget of either
    # list in each scan for which old ones were claimed.
    scans = [line for one in three for line in one.events("scan.finished") if line["claimed"]]
    in_vain = 2 * INITIAL_PAGE_BUDGET * sum(line["scans"] for line in scans)
    pages = new // 100 + MAX_PAGE_BUDGET + in_vain
    assert questions["assets"] + questions["uploads"] <= pages
    assert questions["whoami"] <= 3
    assert set(questions) == {"whoami", "assets", "uploads", "asset of upload"}
    # In one second at least they used more than one worker's third of it: 18 or 19 of twenty where
    # nothing else runs on the machine.
    assert peak_per_second(seen) >= 0.5 * rate


def test_a_burst_of_refusals_slows_the_work_down_until_it_is_over(
    worker: WorkerProcess, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Too many requests: half the pace for a while; each row is asked about all the same."""
    refuse_lists(mux)
    seeded = mux.state.seed(100)
    lessons = track(db, uploads_of(seeded), [one.asset_id for one in seeded])
    worker.start(MUX_REQUESTS_PER_SECOND="40")
    mux.requests.wait_for(20)
    mux.faults.add(Fault("answer", status=429), path="/video/v1/assets/*", times=2)
    mux.faults.wait_for_hits(1 + 2)  # the list, and the burst
    slowed_at = when_slowed_down(worker, db)
    worker.wait_until(lambda: len(requests_since(slowed_at, mux)) >= 20)
    slow = requests_since(slowed_at, mux)
    slowed = db.execute(
        "update mux_private.rate_limit set slowed_at = slowed_at - interval '1 minute' "
        "returning slowed_to <= 0.5"
    ).fetchone()
    assert slowed == (True,)
    assert_all_published(mux, db, lessons, worker)
    # Half of forty a second, a little more as it comes back, and what was on its way.
    assert len(slow) <= 40 * 0.6 * (slow[-1].at - slowed_at) + 4
    assert lines(worker, "mux.unavailable", "lesson.failed") == []


def when_slowed_down(worker: WorkerProcess, db: psycopg.Connection) -> float:
    """Wait until the workers' rate is reduced; return when it was, by this process's clock."""
    ago = (
        "select extract(epoch from clock_timestamp() - slowed_at)::float8 "
        "from mux_private.rate_limit where isfinite(slowed_at)"
    )
    worker.wait_until(lambda: db.execute(ago.encode()).fetchone() is not None)
    row = db.execute(ago.encode()).fetchone()
    assert row is not None
    seconds: float = row[0]
    return time.monotonic() - seconds


def requests_since(at: float, mux: MuxSimulator) -> list[LoggedRequest]:
    """Return the requests that Mux received after a moment."""
    return [one for one in mux.requests.all() if one.at > at]
