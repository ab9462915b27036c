"""The command `backfill`: what it prints, what it asks, and its exit code."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from tests.unit.backfill.fake_database import Database, Json, Stored, left_alone, naming
from tests.unit.backfill.listed_mux import ListedMux, listed
from worker.backfill.backfill import Road
from worker.cli import backfill
from worker.cli.exit_codes import DONE, FAILED, WRONG_USE
from worker.cli.main import build_parser
from worker.telemetry import logs
from worker.wording import BACKFILL_RESULTS, FAILURES

Run = Callable[..., int]


class Failing(Database):
    """A database whose rows that failed are listed, two lessons a call.

    `stopping` is the event of the command under way; with `stops_at_once` it is set already.
    """

    stopping = asyncio.Event()
    stops_at_once = False

    def _backfill_failures(self, backfill: str, after: str | None, walk: int) -> Json:
        assert backfill == "run 1"
        ids = sorted(id_ for id_ in self.lessons if after is None or id_ > after)[: min(2, walk)]
        failed = [
            {
                "lesson_id": lesson_id,
                "reason": row.state,
                "message": None,
                "upload_id": row.upload_id,
                "asset_id": None,
            }
            for lesson_id, row in ((id_, self.lessons[id_]) for id_ in ids)
            if row.state in FAILURES
        ]
        return {"failures": failed, "next": ids[-1] if len(ids) == 2 else None}


def database(lessons: dict[str, Stored]) -> Failing:
    """Return a database whose Mux lists ten assets."""
    return Failing(lessons, ListedMux(*(listed(n) for n in range(10))))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture) -> Run:
    """Run the command over a database; `answer` is typed on a terminal."""
    for name in ("SUPABASE_SERVICE_ROLE_KEY", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET"):
        monkeypatch.setenv(name, "sb_secret_x")
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    mocker.patch("worker.backfill.backfill.PAUSE_SECONDS", 0)
    mocker.patch("worker.shutdown.Signals.listen")
    mocker.patch.object(logs, "configure")

    def run(stored: Failing, *options: str, answer: str | None = None) -> int:
        @asynccontextmanager
        async def road(_: Any, stopping: asyncio.Event) -> AsyncIterator[Road]:
            stored.stopping = stopping
            if stored.stops_at_once:
                stopping.set()
            yield stored.road

        mocker.patch("worker.app.backfill_road", road)
        is_terminal = answer is not None
        monkeypatch.setattr("sys.stdin", mocker.Mock(isatty=lambda: is_terminal))
        monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: is_terminal)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr("builtins.input", lambda _: answer)
        arguments: argparse.Namespace = build_parser().parse_args(["backfill", *options])
        return backfill.run(arguments)

    return run


def lessons() -> dict[str, Stored]:
    """Return lessons of which two can be published."""
    return {
        "l1": naming("u1"),
        "l2": naming("u2"),
        "l3": naming("gone"),
        "l4": left_alone("left_alone", "has_video"),
        "l5": left_alone("left_alone", "names_nothing"),
    }


def test_alone_it_prints_a_plan_with_examples(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """By result, those that would be updated first; nothing is changed."""
    stored = database(lessons())
    assert run(stored) == DONE
    assert run(stored, "--plan") == DONE
    assert stored.items(dry_run=False) == []
    printed = capsys.readouterr().out
    plan = printed[: printed.index("2 of 5 lessons")].splitlines()
    assert [line.strip() for line in plan if line.strip()] == [
        "What would be done; nothing is changed.",
        f"2  published: {BACKFILL_RESULTS['published']}",
        "l1 upload u1 asset a1",
        "l2 upload u2 asset a2",
        f"1  has_video: {BACKFILL_RESULTS['has_video']}",
        "l4",
        f"1  names_nothing: {BACKFILL_RESULTS['names_nothing']}",
        "l5",
        f"1  upload_not_found: {FAILURES['upload_not_found']}",
        "l3 upload gone",
    ]
    summary = "2 of 5 lessons would be updated, 2 skipped; 1 would fail.\nRead 5 lessons with "
    assert printed.count(summary) == 2
    assert printed.count(BACKFILL_RESULTS["published"]) == 2  # once a plan


def test_a_plan_shows_three_examples_of_each_result(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many there are."""
    assert run(database({f"l{n}": naming(f"u{n}") for n in range(10)})) == DONE
    examples = [line for line in capsys.readouterr().out.splitlines() if " upload u" in line]
    assert len(examples) == 3


def test_applying_prints_what_failed_and_a_summary(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also what a scan found after the adoption; the exit code says that something failed."""
    stored = database(lessons())
    assert run(stored, "--apply", "--yes") == FAILED
    assert (stored.count("published"), stored.run) == (2, None)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:6] == [
        f"l3 upload_not_found: {FAILURES['upload_not_found']}",
        "and 1 more. --report FILE lists all.",
        "Total lessons processed: 5",
        "Successfully updated: 2",
        "Skipped: 2",
        "Failed: 1",
    ]
    assert [line.split(": ")[0].split() for line in printed[6:-1]] == [
        ["2", "updated", "published"],
        ["1", "skipped", "has_video"],
        ["1", "skipped", "names_nothing"],
        ["1", "failed", "upload_not_found"],
    ]
    assert printed[-1].startswith("Read 5 lessons with ")


def test_nothing_that_failed_is_done(run: Run) -> None:
    """What is skipped is no failure."""
    assert (
        run(database({"l1": naming("u1"), "l2": left_alone("unchanged")}), "--apply", "--yes")
        == DONE
    )


def test_ten_failures_are_printed_and_all_are_in_the_report(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Whether a lesson failed after its adoption, or was left alone."""
    stored = {f"l{n:02}": naming(f"gone{n}") for n in range(12)} | lessons()
    path = tmp_path / "rest.json"
    assert run(database(stored), "--apply", "--yes", "--report", str(path)) == FAILED
    printed = capsys.readouterr().out.splitlines()
    assert sum("upload_not_found: " in line for line in printed[:-1]) == 10 + 1
    assert printed[10] == "and 4 more."
    assert printed[-1] == f"14 lessons are listed in {path}."
    rows = json.loads(path.read_text())
    assert {row["lesson_id"]: row["reason"] for row in rows} == {
        **{f"l{n:02}": "upload_not_found" for n in range(12)},
        "l3": "upload_not_found",
        "l4": "has_video",
    }
    assert rows[-1] == {
        "lesson_id": "l3",
        "result": "failed",
        "reason": "upload_not_found",
        "message": FAILURES["upload_not_found"],
        "upload_id": "gone",
        "asset_id": None,
    }


@pytest.mark.parametrize("answer", ["", "n", "no", "yesterday"])
def test_on_a_terminal_the_plan_comes_before_the_question(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, answer: str
) -> None:
    """Anything but yes changes nothing, and writes no report."""
    stored, path = database(lessons()), tmp_path / "rest.csv"
    assert run(stored, "--apply", "--report", str(path), answer=answer) == FAILED
    printed = capsys.readouterr().out
    plan, question = "What would be done; nothing is changed.", "--apply publishes these lessons"
    assert 0 <= printed.index(plan) < printed.index(question)
    assert printed.endswith("Nothing was changed.\n")
    assert stored.items(dry_run=False) == []
    assert (stored.run, path.exists()) == (None, False)


@pytest.mark.parametrize("answer", ["y", "YES "])
def test_after_a_yes_it_does_what_it_planned(
    run: Run, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    """The counts are those of what was done, not of the plan beside it."""
    stored = database({"l1": naming("u1")})
    assert run(stored, "--apply", answer=answer) == DONE
    assert (stored.count("published"), stored.runs) == (1, 1)
    printed = capsys.readouterr().out
    assert printed.count("1 of 1 lesson would be updated, ") == 1
    assert printed.count("Total lessons processed: 1\n") == 1


def test_without_a_terminal_applying_needs_yes(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no one to ask."""
    stored = database(lessons())
    assert run(stored, "--apply") == WRONG_USE
    assert capsys.readouterr().err == "There is no terminal to confirm --apply. Add --yes.\n"
    assert stored.calls == []


def test_a_backfill_that_is_stopped_says_how_it_goes_on(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows without an answer are no failures; the next run counts what this one did."""
    stored = database({f"l{n}": naming(f"gone{n}") for n in range(4)})
    stored.rows_per_scan = 1

    def stop() -> None:
        stored.stopping.set()

    stored.on_scan = stop
    assert run(stored, "--apply", "--yes") == FAILED
    printed = capsys.readouterr().out.splitlines()
    assert "Total lessons processed: 1" in printed
    assert f"        3  tracked  {BACKFILL_RESULTS['unanswered']}" in printed
    assert printed[-1] == "The backfill was stopped before the end. Run it again to continue."

    stored.on_scan = lambda: None
    assert run(stored, "--apply", "--yes") == FAILED
    printed = capsys.readouterr().out.splitlines()
    assert "This continued an interrupted backfill; the counts include it." in printed
    assert "Failed: 4" in printed


def test_a_plan_that_is_stopped_asks_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """It does not know all lessons."""
    stored = database(lessons())
    stored.stops_at_once = True
    assert run(stored, "--apply", answer="y") == FAILED
    assert "--apply publishes" not in capsys.readouterr().out
    assert run(stored) == FAILED
    assert capsys.readouterr().out.endswith("Run it again for the whole plan.\n")
    assert stored.items(dry_run=False) == []
