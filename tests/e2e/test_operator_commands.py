"""publish, retry and status as the one on call types them."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from typing import Any

import psycopg
import pytest

from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.commands import start
from tests.course import Course
from tests.e2e.evidence import picked, tables
from tests.e2e.test_backfill import SLOW, VIDEO, command, untracked, video

pytestmark = pytest.mark.stack

BROKEN = Timeline(file_after_seconds=0, prepare_seconds=0, ending="asset_errored")


@pytest.fixture
def on_terminal(environment: dict[str, str]) -> "Terminal":
    """Give a way to run a command on a terminal of 80 columns."""
    return Terminal(environment)


class Terminal:
    """Runs commands on a pseudo-terminal, and reads what they draw."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = {**environment, "TERM": "xterm-256color", "COLUMNS": "80"}

    def run(
        self, *arguments: str, typed: str = "", stop_at: str | None = None, **settings: str
    ) -> tuple[int, str]:
        """Run to the end, or up to a text and then Ctrl-C; give the status and the output."""
        ours, theirs = pty.openpty()
        process = start(
            *arguments,
            env={**self._environment, **settings},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        drawn = b""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.5)[0]:
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            drawn += piece
            if not piece:
                break
            if stop_at is not None and stop_at in drawn.decode(errors="replace"):
                process.send_signal(signal.SIGINT)
                stop_at = None
        os.close(ours)
        return process.wait(30), drawn.decode().replace("\r\n", "\n")


def plain(drawn: str) -> str:
    """Take out what only steers a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)


def published_by(done: "subprocess.CompletedProcess[str]") -> list[tuple[Any, ...]]:
    """Return what a command has logged, which must be JSON: events, lessons, and who did it."""
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    return [picked(line, "event", "lesson_id", "actor") for line in logged]


def test_publish_asks_mux_and_publishes_with_the_real_ids(
    environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """By lesson, upload or asset id; the log says who did it, the audit also why."""
    uploads = [mux.state.create_upload() for _ in range(3)]
    lessons = [course.tracked_lesson(uploads[0], status="error"), untracked(course, uploads[1])]
    lessons.append(course.lesson(mux_asset_id=video(mux, uploads[2])[0]))
    names = [str(lessons[0]), uploads[1], video(mux, uploads[2])[0]]
    for lesson, upload, name in zip(lessons, uploads, names, strict=True):
        done = command(
            environment, "publish", name, "--reason", "She asked by phone.", OPERATOR="ines"
        )
        assert done.returncode == 0
        assert published_by(done) == [("lesson.published", str(lesson), "operator ines")]
        label = f'"A lesson" ({lesson})'
        assert done.stdout.startswith(f"{label} is published.\n  asset     ")
        assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, upload))
        result = picked(course.events(lesson)[-1], "event", "actor", "message")
        assert result == ("published", "operator ines", "She asked by phone.")
        again = command(environment, "publish", name)
        assert (again.returncode, again.stdout.split(",")[0], again.stderr) == (
            0,
            f"{label} is published already",
            "",
        )


def test_publish_takes_what_somebody_unpublished(
    environment: dict[str, str], course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """A draft with its real ids and a ready row is published when an operator says so."""
    upload = mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    command(environment, "publish", str(lesson))
    db.execute("update lessons set status = 'draft'")
    assert command(environment, "publish", str(lesson)).returncode == 0
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, upload))


def test_publish_follows_a_playback_id_that_was_replaced(
    course: Course, mux: MuxSimulator, environment: dict[str, str]
) -> None:
    """An operator need not wait for the worker: Mux has just been asked."""
    upload = mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    command(environment, "publish", str(lesson))
    asset = mux.state.asset(mux.state.upload(upload).asset_id or "")
    (old,) = asset.playback_ids
    new = mux.state.add_playback_id(asset.id)
    mux.state.remove_playback_id(asset.id, old.id)
    done = command(environment, "publish", str(lesson), OPERATOR="ines")
    assert done.returncode == 0
    assert published_by(done) == [("lesson.attached", str(lesson), "operator ines")]
    assert picked(course.state(lesson), *VIDEO) == ("published", asset.id, new.id)


def test_publish_says_how_to_go_back_to_an_older_video(
    environment: dict[str, str], course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """A stale form saved it over the newer one; tracked again, it is what the lesson plays."""
    old, new = mux.state.create_upload(), mux.state.create_upload()
    lesson = course.tracked_lesson(old)
    command(environment, "publish", str(lesson))
    course.track(lesson, new)
    command(environment, "publish", str(lesson))
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, new))
    db.execute(
        "update lessons set status = 'draft', mux_asset_id = %s, mux_playback_id = %s",
        video(mux, old),
    )
    before = tables(db)
    done = command(environment, "publish", str(lesson))
    why = (
        f'"A lesson" ({lesson}) is not published: it has a newer video than the one it names. '
        "To go back to the older one, delete its row of mux_asset_tracking and track that upload "
        "again."
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", why)
    assert tables(db) == before
    db.execute("delete from mux_asset_tracking")
    course.track(lesson, old)
    assert command(environment, "publish", str(lesson)).returncode == 0
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, old))


def test_publish_adopts_what_the_lesson_names_and_the_history_does_not_know(
    environment: dict[str, str], course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """A placeholder that was saved since is newer than an upload that failed."""
    new = mux.state.create_upload()
    lesson = course.tracked_lesson("Lost", status="error", error_type="upload_not_found")
    db.execute("update lessons set mux_asset_id = %s", [f"temp_{new}"])
    done = command(environment, "publish", str(lesson), OPERATOR="ines")
    assert done.returncode == 0
    assert published_by(done) == [("lesson.published", str(lesson), "operator ines")]
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, new))
    assert course.row(lesson)["upload_id"] == new


def test_publish_refuses_what_cannot_be_played(
    environment: dict[str, str], course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Preparing, broken, signed, unknown, empty, somebody else's: one sentence, nothing written."""
    theirs, disputed = mux.state.create_upload(), mux.state.create_upload()
    course.track(untracked(course, theirs, course.bert), theirs)
    untracked(course, disputed, course.bert, created_at="2020-01-01")
    lessons = {
        "preparing": untracked(course, mux.state.create_upload(SLOW)),
        "asset_errored": untracked(course, mux.state.create_upload(BROKEN)),
        "no_playback_id": untracked(course, mux.state.create_upload(policies=("signed",))),
        "upload_not_found": untracked(course, "Gone"),
        "it names no video": course.lesson(),
        "another instructor": untracked(course, theirs),
        "An operator has to clear": untracked(course, disputed),
    }
    before = tables(db)
    for word, lesson in lessons.items():
        done = command(environment, "publish", str(lesson))
        assert (done.returncode, done.stdout) == (1, "")
        assert word in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert tables(db) == before


def test_publish_does_not_blame_a_lesson_for_the_token_of_another_environment(
    environment: dict[str, str], course: Course, db: psycopg.Connection
) -> None:
    """There every id seems unknown; it says which token is wanted, and writes nothing."""
    lesson = course.tracked_lesson("Elsewhere")
    db.execute("update mux_private.worker_state set environment_id = 'home'")
    before = tables(db)
    done = command(environment, "publish", str(lesson))
    assert (done.returncode, done.stdout) == (1, "")
    assert "the lessons' videos are in home" in done.stderr
    assert "upload" not in done.stderr.replace("the app uploads to", "")
    assert tables(db) == before


def test_an_id_that_is_wrong_or_of_several_is_one_sentence(
    environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """It says what to do, and names the lessons to choose from."""
    upload = mux.state.create_upload()
    two = [course.tracked_lesson(upload) for _ in range(2)]
    for name in ("publish", "status", "retry"):
        done = command(environment, name, upload)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f'"{upload}" belongs to several lessons:\n'
            + "".join(f"  {lesson}  A lesson (waiting)\n" for lesson in sorted(map(str, two)))
            + "Name one by its id.\n"
        )
        empty = command(environment, name, " ")
        said = "A LESSON has no name. Give its id or its title.\n"
        assert (empty.returncode, empty.stdout, empty.stderr) == (2, "", said)
        unknown = command(environment, name, "\x1b[2J../nobody")
        assert unknown.returncode == 1
        said = 'No lesson, upload or asset has the id or the title "\\u{001b}[2J../nobody". '
        assert unknown.stderr.startswith(said)
        assert len(unknown.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["publish", "status", "retry"])
@pytest.mark.parametrize("what", ["mux", "supabase", "key"])
def test_an_outage_is_one_sentence(
    name: str, what: str, environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """Status 1, what to do, and no traceback unless the log level asks for one."""
    lesson = course.tracked_lesson(mux.state.create_upload(), status="error")
    settings = {
        "mux": {"MUX_BASE_URL": "http://127.0.0.1:9"},
        "supabase": {"SUPABASE_URL": "http://127.0.0.1:9"},
        "key": {"SUPABASE_SERVICE_ROLE_KEY": "sb_secret_wrong"},
    }[what]
    done = command(environment, name, str(lesson), **settings)
    if (name, what) == ("retry", "mux"):
        assert done.returncode == 0  # it asks Mux nothing
        return
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    if (name, what) == ("status", "mux"):
        assert "status.mux.com, then try again." in done.stdout
        return
    assert len(done.stderr.strip().splitlines()) == 1
    if what == "key":  # which is not tried again, and so does not take long
        debug = command(environment, name, str(lesson), **settings, LOG_LEVEL="debug")
        assert "Traceback" in debug.stderr


def test_retry_starts_failed_lessons_anew(
    environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """By name, or all of one type: due, with new clocks; others stay as they are."""
    uploads = [mux.state.create_upload() for _ in range(4)]
    types = ("upload_timed_out", "upload_timed_out", "gave_up", "gave_up")
    lessons = [
        course.tracked_lesson(up, status="error", error_type=kind, check_count=9)
        for up, kind in zip(uploads, types, strict=True)
    ]
    for lesson in lessons:
        course.backdate(lesson, 9000)
    done = command(environment, "retry", str(lessons[0]), "--reason", "Mux mended it", USER="olaf")
    label = f'"A lesson" ({lessons[0]})'
    assert (done.returncode, done.stdout) == (0, f"{label} is due again.\n")
    row = course.row(lessons[0])
    assert picked(row, "status", "error_type", "check_count") == ("processing", None, 0)
    assert row["next_check_at"] >= row["tracked_at"] > row["created_at"]
    assert picked(course.events(lessons[0])[-1], "event", "actor", "message") == (
        "tracked",
        "operator olaf",
        "Mux mended it",
    )
    again = command(environment, "retry", str(lessons[0]))
    assert (again.returncode, again.stdout) == (
        1,
        f"{label} has not failed: it is waiting. There is nothing to retry.\n",
    )
    done = command(environment, "retry", "--all-failed", "--type", "gave_up")
    assert (done.returncode, done.stdout) == (
        0,
        (
            "2 lessons have failed:\n      2  gave_up: The video did not become ready in time.\n"
            "2 failed lessons are due again.\n"
        ),
    )
    assert [course.row(x)["status"] for x in lessons[1:]] == ["error", "processing", "processing"]
    done = command(environment, "retry", "--all-failed")
    assert done.stdout.startswith("1 lesson has failed:\n      1  upload_timed_out: Mux waited ")
    assert done.stdout.endswith("\n1 failed lesson is due again.\n")
    assert command(environment, "retry").returncode == 2


def test_retry_says_what_it_would_do_and_refuses_a_type_that_does_not_exist(
    environment: dict[str, str], course: Course, db: psycopg.Connection
) -> None:
    """Nothing is written, and an error names the types that failed lessons have."""
    done = command(environment, "retry", "--all-failed", "--type", "gave_up")
    nothing = "No lesson has failed with gave_up. There is nothing to retry.\n"
    assert (done.returncode, done.stdout) == (0, nothing)
    failed = course.tracked_lesson("up1", status="error", error_type="gave_up")
    waiting = course.tracked_lesson("up2")
    db.execute("update lessons set title = 'Rye' where id = %s", [failed])
    before = tables(db)
    done = command(environment, "retry", "rye", str(waiting), "--dry-run")
    first, *rest = done.stdout.splitlines()
    assert first.startswith(f'"Rye" ({failed}) would be due again. It failed')
    assert first.endswith(": The video did not become ready in time.")
    assert (done.returncode, rest) == (
        1,
        [
            f'"A lesson" ({waiting}) has not failed: it is waiting. There is nothing to retry.',
            "Nothing was changed.",
        ],
    )
    listed = "1 lesson has failed:\n      1  gave_up: The video did not become ready in time.\n"
    done = command(environment, "retry", "--all-failed", "--dry-run")
    said = f"{listed}They would be due again. Nothing was changed.\n"
    assert (done.returncode, done.stdout) == (0, said)
    done = command(environment, "retry", "--all-failed", "--type", "gaveup")
    said = f"There is no error type gaveup. Did you mean gave_up?\n{listed}"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    done = command(environment, "status", "--type", "gaveup")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert tables(db) == before


def test_a_lesson_may_be_named_by_its_title(
    environment: dict[str, str], course: Course, db: psycopg.Connection
) -> None:
    """In any case, tracked or not; where that is no single lesson, those that may be meant."""
    titles = ("Rye bread", "Sourdough", "Dough, part 2", "dough, Part 2")
    lessons = {title: course.lesson(title=title) for title in titles}
    done = command(environment, "status", "rye BREAD", "--json")
    assert json.loads(done.stdout)["lesson_id"] == str(lessons["Rye bread"])
    done = command(environment, "publish", "dough, part 2")
    assert done.returncode == 1
    first, *candidates, last = done.stderr.splitlines()
    assert first == 'Several lessons are called "dough, part 2":'
    assert sorted(candidates) == sorted(
        f"  {lessons[title]}  {title} (not tracked)" for title in titles[2:]
    )
    assert last == "Name one by its id."
    done = command(environment, "status", "dough")
    first, *candidates, _ = done.stderr.splitlines()
    assert first == 'No lesson is called "dough", but titles contain it:'
    assert len(candidates) == 3


def test_retry_says_why_a_failed_lesson_is_left_as_it_is(
    environment: dict[str, str], course: Course, supabase: LocalSupabase
) -> None:
    """Somebody holds it, or it failed with something else."""
    held = course.tracked_lesson("up1", status="error", error_type="gave_up")
    other = course.tracked_lesson("up2", status="error", error_type="upload_timed_out")
    with supabase.connect(autocommit=False) as somebody:
        somebody.execute("select from mux_asset_tracking where lesson_id = %s for update", [held])
        done = command(environment, "retry", str(held), str(other), "--type", "gave_up")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f'"A lesson" ({held}) is locked by another transaction. Try again in a moment.',
        f'"A lesson" ({other}) failed with upload_timed_out, not with gave_up. It is unchanged.',
    ]


def test_status_counts_and_tells_what_failed(
    environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """Through a pipe nothing is shortened or coloured; JSON has the same numbers."""
    for _ in range(3):
        course.tracked_lesson(mux.state.create_upload())
    command(environment, "scan")
    waiting = course.tracked_lesson(mux.state.create_upload(SLOW))
    course.backdate(waiting, 9000)
    failed = course.tracked_lesson(
        "up", status="error", error_type="asset_errored", error_message="no video " * 40
    )
    done = command(environment, "status")
    assert (done.returncode, done.stderr) == (0, "")
    *counts, gap, first, second = done.stdout.splitlines()
    assert [line.split(",")[0].split(";")[0] for line in counts] == [
        "     0  published",
        "     1  failed",
        "     1  stuck",
        "     0  waiting",
        "     3  published in the last day",
    ]
    assert re.search(r"; half of the ready videos within \S+ s, 95 % within \S+ s$", counts[-1])
    assert gap == ""
    state, lesson, title, _, error_type, why = first.split("\t")
    assert (state, lesson, title, error_type) == (
        *("failed", str(failed), "A lesson", "asset_errored"),
    )
    assert "no video " * 39 in why
    assert second.startswith(f"stuck\t{waiting}\t")
    assert command(environment, "status", "--failed").stdout == f"{first}\n"
    result = json.loads(command(environment, "status", "--json").stdout)
    assert picked(result["counts"], "failed", "stuck", "waiting") == (1, 1, 0)
    assert result["day"]["delays_of_day"]["count"] == 3
    assert [one["id"] for one in result["lists"]["failed"]] == [str(failed)]


def test_status_lists_lessons_by_state_title_and_error_type(
    environment: dict[str, str], course: Course, db: psycopg.Connection
) -> None:
    """As many as asked for; JSON says whether there are more."""
    for n, title in enumerate(("Rye", "Sourdough", "Pizza dough")):
        lesson = course.tracked_lesson(f"up{n}", status="error" if n else "processing")
        db.execute("update lessons set title = %s where id = %s", [title, lesson])
    db.execute("update mux_asset_tracking set error_type = 'gave_up' where upload_id = 'up2'")

    def titles(*arguments: str) -> set[str]:
        done = command(environment, "status", *arguments)
        return {line.split("\t")[2] for line in done.stdout.splitlines()}

    assert titles("--failed") == {"Sourdough", "Pizza dough"}
    assert titles("--waiting") == {"Rye"}
    assert titles("--stuck") == titles("--published") == set()
    assert titles("--search", "DOUGH") == {"Sourdough", "Pizza dough"}
    assert titles("--type", "gave_up") == {"Pizza dough"}
    first = command(environment, "status", "--failed", "--limit", "1")
    assert (first.returncode, len(first.stdout.splitlines())) == (0, 1)
    assert first.stderr == "There are more: 1 lesson is listed. Use --limit to list more.\n"
    one = json.loads(command(environment, "status", "--failed", "--limit", "1", "--json").stdout)
    assert (len(one["lessons"]), one["has_more"]) == (1, True)
    rest = json.loads(command(environment, "status", "--failed", "--limit", "2", "--json").stdout)
    assert (len(rest["lessons"]), rest["has_more"]) == (2, False)


def test_status_of_a_lesson_is_its_story(
    environment: dict[str, str], course: Course, mux: MuxSimulator, key_role: str
) -> None:
    """Itself, its row, what Mux says now, and each step with the time since the one before."""
    upload = mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    command(environment, "scan")
    asset, playback = video(mux, upload)
    for name in (str(lesson), upload, asset):
        done = command(environment, "status", name)
        assert done.returncode == 0
        for text in (str(lesson), upload, asset, f"{playback} (public)"):
            assert text in done.stdout
        assert re.search(
            r"\+\d+\.\d s  Published by the worker\n +The video is ready\.", done.stdout
        )
    result = json.loads(command(environment, "status", upload, "--json").stdout)
    assert result["mux"]["status"] == "ready"
    assert [event["event"] for event in result["events"]] == ["tracked", "published"]


def test_on_a_terminal_there_is_colour_unless_it_is_unwanted(
    on_terminal: Terminal, course: Course, mux: MuxSimulator
) -> None:
    """NO_COLOR is respected; watching draws in place, and Ctrl-C ends it with 0."""
    course.tracked_lesson("up", status="error", error_type="gave_up")
    code, drawn = on_terminal.run("status")
    assert (code, "\x1b[31m" in drawn) == (0, True)
    assert max(map(len, plain(drawn).splitlines())) <= 80
    code, drawn = on_terminal.run("status", NO_COLOR="1")
    assert (code, "\x1b" in drawn) == (0, False)
    code, drawn = on_terminal.run("status", "--watch", "0.1", stop_at="gave_up")
    assert (code, "\x1b[?25l" in drawn, "\x1b[?25h" in drawn) == (0, True, True)
    assert "Traceback" not in drawn


def test_on_a_terminal_the_backfill_plans_and_asks(
    on_terminal: Terminal, course: Course, mux: MuxSimulator
) -> None:
    """Alone it plans; applying asks, and anything but yes changes nothing; a bar shows progress."""
    upload = mux.state.create_upload()
    lesson = untracked(course, upload)
    code, drawn = on_terminal.run("backfill")
    assert code == 0
    assert "What would be done; nothing is changed." in drawn
    code, drawn = on_terminal.run("backfill", "--apply", typed="\n")
    assert (code, "Nothing was changed." in drawn) == (1, True)
    assert course.state(lesson)["status"] == "draft"
    code, drawn = on_terminal.run("backfill", "--apply", typed="y\n")
    assert (code, course.state(lesson)["status"]) == (0, "published")
    assert "adopting" in drawn
    assert "lesson.published" not in drawn
    assert max(len(line) for line in plain(drawn).replace("\r", "\n").splitlines()) <= 80
