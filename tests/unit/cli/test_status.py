"""The command `status` for one lesson: which id it asks Mux about."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pytest_mock import MockerFixture

from tests.unit.backfill.listed_mux import ListedMux, listed, waiting
from worker.cli import status
from worker.cli.exit_codes import DONE, FAILED
from worker.cli.main import build_parser
from worker.lesson import Row
from worker.telemetry import logs

Json = dict[str, Any]

ROW: Json = dict.fromkeys(Row.__slots__) | {
    "status": "ready",
    "upload_id": "u1",
    "asset_id": "a1",
    "is_missing": False,
}
LESSON: Json = {
    "lesson_id": "l1",
    "title": None,
    "owner": None,
    "state": "untracked",
    "since": None,
    "since_seconds": None,
    "status": "draft",
    "is_published": False,
    "asset_id": None,
    "playback_id": None,
    "row": None,
    "events": [],
}


class Store:
    """A store with one lesson, and what adopting it would do."""

    def __init__(self, lesson: Json, adoption: Json) -> None:
        self._answers = {
            "worker_find_lessons": [lesson],
            "worker_lesson": lesson,
            "worker_adopt": [{"lesson_id": "l1", **adoption}],
        }
        self.calls: list[tuple[str, Json]] = []

    async def check_schema(self) -> None:
        """Find the right schema."""

    async def call(self, function: str, params: Json) -> Any:
        """Answer a call."""
        self.calls.append((function, params))
        return self._answers[function]


@pytest.mark.parametrize(
    ("row", "adoption", "sent", "found"),
    [
        (None, {"outcome": "adopted", "upload_id": "new"}, ["asset of new", "upload new"], "new"),
        (ROW, {"outcome": "ask", "upload_id": "new"}, ["asset of new", "upload new"], "new"),
        (ROW, {"outcome": "unchanged", "upload_id": "u1", "asset_id": "a1"}, ["asset a1"], "u1"),
        (ROW, {"outcome": "left_alone", "reason": "older"}, ["asset a1"], "u1"),
        (None, {"outcome": "left_alone", "reason": "names_nothing"}, [], None),
    ],
    ids=["untracked", "a newer id", "its row's", "an older id", "no id"],
)
def test_mux_is_asked_about_what_adopting_would_track_else_about_the_row(
    row: Json | None,
    adoption: Json,
    sent: list[str],
    found: str | None,
    monkeypatch: pytest.MonkeyPatch,
    mocker: MockerFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is adopted. An outage of Mux is printed in the place of its answer."""
    for name in ("SUPABASE_SERVICE_ROLE_KEY", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET"):
        monkeypatch.setenv(name, "sb_secret_x")
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    mux, store = (
        ListedMux(listed(1), uploads=(waiting("new"),)),
        Store(LESSON | {"row": row}, adoption),
    )

    @asynccontextmanager
    async def parts(*_: Any) -> AsyncIterator[tuple[Any, Any, None, None]]:
        yield mux, store, None, None

    mocker.patch("worker.app.parts", parts)
    mocker.patch.object(logs, "configure")
    arguments = build_parser().parse_args(["status", "l1", "--json"])
    assert status.run(arguments) == DONE
    shown = json.loads(capsys.readouterr().out)["mux"]
    assert mux.sent == sent
    assert (shown and shown["upload_id"]) == found
    dry_runs = [params["dry_run"] for name, params in store.calls if name == "worker_adopt"]
    assert dry_runs == [True]

    mux.is_down = True
    assert status.run(arguments) == (FAILED if sent else DONE)
    shown = json.loads(capsys.readouterr().out)["mux"]
    assert ("unavailable" in shown) if sent else shown is None
