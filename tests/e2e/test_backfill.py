"""The backfill as an operator runs it: through a pipe, against the real stack."""

import json
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from tests.commands import run
from tests.course import Course
from tests.e2e.evidence import picked, tables
from tests.worker_process import WorkerProcess
from tests.worker_role import WITH_BOTH_KEYS

pytestmark = pytest.mark.stack

VIDEO = ("status", "mux_asset_id", "mux_playback_id")
SLOW = Timeline(file_after_seconds=0, prepare_seconds=3600)


def command(
    environment: dict[str, str], *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, through pipes."""
    return run(*arguments, env={**environment, **settings}, stdin=subprocess.DEVNULL)


def counts(output: str) -> dict[str, int]:
    """Read the kinds of a summary, or of a plan, with their counts."""
    found = re.findall(
        r"^ *([\d,]+) +(?:(?:updated|skipped|failed) +)?(\w+):", output, re.MULTILINE
    )
    return {kind: int(count.replace(",", "")) for count, kind in found}


def video(mux: MuxSimulator, upload_id: str) -> tuple[str, str]:
    """Give the asset of an upload and its playback id."""
    asset = mux.state.asset(mux.state.upload(upload_id).asset_id or "")
    return asset.id, asset.playback_ids[0].id


def untracked(course: Course, upload_id: str, creator: UUID | None = None, **columns: Any) -> UUID:
    """Make a lesson as the app saves it when nothing is tracked."""
    ids = {"mux_asset_id": f"temp_{upload_id}", "mux_playback_id": f"temp_playback_{upload_id}"}
    return course.lesson(creator, **{**ids, **columns})


@WITH_BOTH_KEYS
def test_every_shape_that_the_report_names_is_repaired(
    environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """Untracked, tracked, `migrated`, with an asset's id, archived: each gets its own video."""
    up = [mux.state.create_upload() for _ in range(9)]
    assets = [video(mux, upload)[0] for upload in up]
    lessons = {
        "temporary ids": untracked(course, up[0]),
        "only the playback id": course.lesson(mux_playback_id=f"temp_playback_{up[1]}"),
        "an asset after temp_playback_": course.lesson(
            mux_playback_id=f"temp_playback_{assets[2]}"
        ),
        "a real asset": course.lesson(mux_asset_id=assets[3]),
        "tracked": course.tracked_lesson(up[4]),
        "migrated": course.lesson(mux_asset_id=assets[5]),
        "failed before": course.tracked_lesson(up[6], status="error"),
        "published already": untracked(course, up[7], status="published"),
        "archived": untracked(course, up[8], status="archived"),
    }
    course.track(lessons["migrated"], "migrated", mux_asset_id=assets[5], temp_asset_id=None)
    done = command(environment, "backfill", "--apply", "--yes")
    assert done.returncode == 0
    logged = Counter(json.loads(line)["event"] for line in done.stderr.splitlines())
    assert logged == {"lesson.adopted": 7, "lesson.published": 7, "lesson.attached": 2}
    for number, (shape, lesson) in enumerate(lessons.items()):
        status = "archived" if shape == "archived" else "published"
        assert picked(course.state(lesson), *VIDEO) == (status, *video(mux, up[number])), shape
        assert picked(course.row(lesson), *VIDEO) == ("ready", *video(mux, up[number])), shape
        assert course.events(lesson)[-1]["event"] in ("published", "attached")
    assert counts(done.stdout) == {"published": 7, "attached": 2}
    assert "Total lessons processed: 9\nSuccessfully updated: 9\n" in done.stdout


def test_what_cannot_be_repaired_is_named_with_what_is_known(
    environment: dict[str, str], course: Course, mux: MuxSimulator, tmp_path: Path
) -> None:
    """Half-written ids, uploads that Mux lost, broken files: listed, with a reason for each."""
    broken = mux.state.create_upload(
        Timeline(file_after_seconds=0, prepare_seconds=0, ending="asset_errored")
    )
    signed = mux.state.create_upload(policies=("signed",))
    lessons = {
        "unreadable_id": course.lesson(mux_asset_id="temp_", mux_playback_id="temp_playback_"),
        "upload_not_found": untracked(course, "Gone"),
        "asset_errored": untracked(course, broken),
        "no_playback_id": untracked(course, signed),
        "has_video": course.lesson(mux_asset_id="real", mux_playback_id="real"),
    }
    undefined = course.lesson(mux_playback_id="temp_playback_undefined")
    empty = course.lesson()
    path = tmp_path / "rest.json"
    done = command(environment, "backfill", "--apply", "--yes", "--report", str(path))
    assert done.returncode == 1
    listed = {row["lesson_id"]: row["reason"] for row in json.loads(path.read_text())}
    assert listed == {str(x): kind for kind, x in lessons.items()} | {
        str(undefined): "unreadable_id"
    }
    assert all(row["message"] for row in json.loads(path.read_text()))
    assert counts(done.stdout)["names_nothing"] == 1
    assert course.state(empty)["status"] == "draft"
    assert course.row(lessons["asset_errored"])["error_type"] == "asset_errored"
    again = command(environment, "backfill", "--apply", "--yes", "--report", str(path))
    assert again.returncode == 1
    assert {row["lesson_id"]: row["reason"] for row in json.loads(path.read_text())} == listed


def test_the_plan_changes_nothing_and_is_stable(
    environment: dict[str, str], course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Run twice it says the same; the tables stay as they are."""
    for number in range(5):
        untracked(course, mux.state.create_upload())
        untracked(course, f"Gone{number}")
        untracked(course, mux.state.create_upload(SLOW))
    before = tables(db)
    plans = [command(environment, "backfill", "--plan") for _ in range(2)]
    result = [re.sub(r"in \S+ \w+\.$", "", plan.stdout) for plan in plans]
    assert result[0] == result[1]
    assert [plan.returncode for plan in plans] == [0, 0]
    assert counts(result[0]) == {"published": 5, "waiting": 5, "upload_not_found": 5}
    assert "\x1b" not in result[0]
    assert tables(db) == before


def test_passthrough_is_shown_and_taken_only_when_it_is_trusted(
    environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """One asset that names the lesson may be taken; of two, neither is."""
    lesson, twice = course.lesson(), course.lesson()
    upload = mux.state.create_upload(passthrough=str(lesson))
    mux.state.create_upload(external_id=str(twice))
    mux.state.create_upload(passthrough=str(twice))
    trusting = ("backfill", "--apply", "--yes", "--trust-passthrough")
    untrusting = command(environment, "backfill", "--apply", "--yes")
    assert counts(untrusting.stdout) == {"names_nothing": 2}
    done = command(environment, *trusting)
    assert counts(done.stdout) == {"published": 1, "names_nothing": 1}
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, upload))
    assert course.state(twice)["status"] == "draft"


def test_of_two_instructors_with_one_id_none_has_it(
    environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """Until the wrong one's is cleared; then all lessons of the other have it."""
    upload = mux.state.create_upload()
    theirs = untracked(course, upload, course.bert, created_at="2024-01-01")
    mine = [untracked(course, upload, created_at=f"2024-0{n}-02") for n in (2, 3)]
    done = command(environment, "backfill", "--apply", "--yes")
    assert counts(done.stdout) == {"several_instructors": 3}
    refused = command(environment, "publish", str(theirs), OPERATOR="olga")
    assert "Lessons of several instructors name this video" in refused.stderr
    course.delete(theirs)
    done = command(environment, "backfill", "--apply", "--yes")
    assert counts(done.stdout) == {"published": 2}
    assert [course.state(x)["status"] for x in mine] == ["published", "published"]


def test_the_newer_temporary_id_wins(
    environment: dict[str, str], course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Saved after the row; where Mux does not know it, or it is older, what is tracked counts."""
    old, new = mux.state.create_upload(), mux.state.create_upload()
    cases = {"newer": (new, new), "unknown": ("Gone", old), "older": (new, old)}
    lessons = {name: course.lesson() for name in cases}
    course.track(lessons["older"], new)
    for name, lesson in lessons.items():
        course.track(lesson, old)
        named = cases[name][0]
        db.execute("update lessons set mux_asset_id = %s where id = %s", [f"temp_{named}", lesson])
    done = command(environment, "backfill", "--apply", "--yes")
    for name, lesson in lessons.items():
        expected = cases[name][1]
        assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, expected)), name
        assert course.row(lesson)["upload_id"] == expected, name
    assert (done.returncode, counts(done.stdout)) == (0, {"published": 3})


def test_a_thousand_migrated_rows_and_an_observation_with_that_word(
    environment: dict[str, str], course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Each is matched by its asset; an id that is spelled like the word is nobody's."""
    seeded = mux.state.seed(1000)
    with db.cursor() as cursor:
        cursor.executemany(
            "with l as (insert into lessons (creator_id, title, mux_asset_id) "
            "values (%s, 'x', %s) returning id) insert into mux_asset_tracking "
            "(lesson_id, upload_id, mux_asset_id) select id, 'migrated', %s from l",
            [(course.anna, one.asset_id, one.asset_id) for one in seeded],
        )
    word = course.lesson(mux_asset_id="temp_migrated")
    done = command(environment, "backfill", "--apply", "--yes")
    assert counts(done.stdout) == {"published": 1000, "unreadable_id": 1}
    assert course.state(word)["status"] == "draft"
    wrong = db.execute(
        "select count(*) from lessons l join mux_asset_tracking t on t.lesson_id = l.id "
        "where l.mux_asset_id <> t.mux_asset_id or l.status <> 'published'"
    ).fetchone()
    assert wrong == (0,)
    assert len(mux.requests.all()) <= 20


def test_killed_in_the_middle_it_goes_on_when_started_again(
    worker: WorkerProcess, environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """Each lesson is published once, and what was found hopeless is not asked for again."""
    uploads = [mux.state.create_upload() for _ in range(400)]
    lessons = [untracked(course, upload) for upload in uploads]
    worker.start("backfill", "--apply", "--yes", MUX_REQUESTS_PER_SECOND="4")
    worker.wait_until(lambda: course.state(lessons[-1])["status"] == "published")
    worker.kill()
    left = sum(course.state(x)["status"] == "draft" for x in lessons)
    assert left > 0
    done = command(environment, "backfill", "--apply", "--yes")
    assert done.returncode == 0
    assert "This continued an interrupted backfill" in done.stdout
    for lesson, upload in zip(lessons, uploads, strict=True):
        assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, upload))
        assert [e["event"] for e in course.events(lesson)] == ["tracked", "published"]


def test_ctrl_c_stops_it_cleanly(worker: WorkerProcess, course: Course, mux: MuxSimulator) -> None:
    """It ends with its summary and says that it is not done."""
    for number in range(200):
        untracked(course, f"Gone{number}")
    worker.start("backfill", "--apply", "--yes", MUX_REQUESTS_PER_SECOND="20")
    worker.wait_until(lambda: len(mux.requests.all()) > 5)
    worker.signal(signal.SIGINT)
    assert worker.wait() == 1
    assert "The backfill was stopped before the end. Run it again to continue." in worker.output
    assert "Traceback" not in worker.output


def test_two_at_once_beside_the_worker_do_no_harm(
    worker: WorkerProcess,
    environment: dict[str, str],
    course: Course,
    db: psycopg.Connection,
    mux: MuxSimulator,
) -> None:
    """Every lesson is published once, whoever came first."""
    uploads = [mux.state.create_upload() for _ in range(150)]
    lessons = [untracked(course, upload) for upload in uploads]
    worker.start()
    others = [WorkerProcess(environment).start("backfill", "--apply", "--yes") for _ in range(2)]
    assert [other.wait() for other in others] == [0, 0], [other.output for other in others]
    drafts = "select count(*) from lessons where status = 'draft'"
    worker.wait_until(lambda: db.execute(drafts).fetchone() == (0,))
    for lesson, upload in zip(lessons, uploads, strict=True):
        assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, upload))
        assert [e["event"] for e in course.events(lesson)].count("published") == 1
    assert worker.stop() == 0


@pytest.mark.parametrize("what", ["token", "mux", "supabase", "environment", "no question"])
def test_trouble_is_one_sentence(
    what: str,
    environment: dict[str, str],
    course: Course,
    db: psycopg.Connection,
    mux: MuxSimulator,
) -> None:
    """No traceback, status 1, and what to do."""
    untracked(course, "Gone")
    arguments = ["backfill", "--plan"]
    settings = {
        "token": {"MUX_TOKEN_SECRET": "wrong"},
        "mux": {"MUX_BASE_URL": "http://127.0.0.1:9"},
        "supabase": {"SUPABASE_URL": "http://127.0.0.1:9"},
    }.get(what, {})
    if what == "environment":
        db.execute("update mux_private.worker_state set environment_id = 'another'")
    if what == "no question":
        arguments = ["backfill", "--apply"]
    done = command(environment, *arguments, **settings)
    assert done.returncode == (2 if what == "no question" else 1)
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(said) == 1, done.stderr


def test_two_thousand_lessons_cost_about_twenty_requests(
    environment: dict[str, str], course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """At Mux's own limit of 5 requests a second, with not one refused, all are published."""
    mux.limits = RateLimits.per_second(get=5, post=1)
    seeded = mux.state.seed(2000)
    rows = [(course.anna, f"temp_{one.upload_id}") for one in seeded]
    with (
        db.cursor() as cursor,
        cursor.copy("copy lessons (creator_id, title, mux_asset_id) from stdin") as copy,
    ):
        for creator, asset in rows:
            copy.write_row((creator, "x", asset))
    done = command(
        environment,
        "backfill",
        "--apply",
        "--yes",
        MUX_REQUESTS_PER_SECOND="5",
        SUPABASE_TIMEOUT_SECONDS="20",
    )
    assert (done.returncode, counts(done.stdout)) == (0, {"published": 2000}), done.stderr
    assert len(mux.requests.all()) <= 26
    assert {seen.status for seen in mux.requests.all()} == {200}
