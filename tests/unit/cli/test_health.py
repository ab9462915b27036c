"""The command `health`: what it prints, and its exit code."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from worker.cli import health
from worker.cli.exit_codes import DONE, FAILED
from worker.cli.main import build_parser

Run = Callable[[], tuple[int, str]]

NOT_STARTED = (
    "There is no worker of this user and project here, or its first scan is under way. Read the "
    "worker's log.\n"
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command without a worker; return its exit code and what it prints."""
    for name in ("SUPABASE_SERVICE_ROLE_KEY", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET"):
        monkeypatch.setenv(name, "sb_secret_x")
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def run() -> tuple[int, str]:
        code = health.run(build_parser().parse_args(["health"]))
        return code, capsys.readouterr().out

    return run


def test_without_a_worker_it_says_so_in_sentences(run: Run) -> None:
    """Where PORT is not set, the file of the worker is missing."""
    assert run() == (FAILED, NOT_STARTED)


def test_where_nothing_answers_it_says_what_to_check(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the address that was asked."""
    with socket.socket() as unused:  # bound, but it does not listen
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        said = (
            f"Nothing answers at 127.0.0.1:{port} (Connection refused). Check that the worker "
            "runs, and that its PORT is the same.\n"
        )
        assert run() == (FAILED, said)


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (200, b"{}", DONE, "The worker works.\n"),
        (503, b'{"reason": "no scan has ended for 9 s"}', FAILED, "No scan has ended for 9 s."),
        (502, b"<html>", FAILED, "/healthz answered with 502."),
        (502, b'{"reason": ""}', FAILED, "/healthz answered with 502."),
    ],
)
def test_what_healthz_answers_is_a_sentence(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    mocker: MockerFixture,
    status: int,
    body: bytes,
    code: int,
    said: str,
) -> None:
    """Also an answer that is not the worker's."""
    monkeypatch.setenv("PORT", "8080")
    connection: Any = mocker.patch("http.client.HTTPConnection").return_value
    connection.getresponse.return_value = mocker.Mock(status=status, read=lambda _: body)
    advice = "" if code == DONE else " Read the worker's log.\n"
    assert run() == (code, said + advice)
