import sys

import pytest

from worker.cli.console import show
from worker.cli.doctor import check_row
from worker.doctor.checks import Check

CHECK = Check("functions", "failed", "f" * 100, "do " * 40 + "now")


@pytest.fixture
def terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> pytest.MonkeyPatch:
    """Let standard output be a terminal of 80 columns."""
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


def test_a_check_wraps_on_a_terminal(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within its columns, whatever the length of a word, and the advice is below."""
    terminal.setenv("NO_COLOR", "1")
    show(check_row(CHECK))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("FAIL  functions         ffff")
    assert "".join(line[24:] for line in lines).count("f") == 100
    assert any(line.startswith(f"{'':24}-> do do") for line in lines)


def test_a_result_is_coloured_on_a_terminal(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless NO_COLOR asks for none."""
    show(check_row(CHECK))
    assert "\x1b[31mFAIL" in capsys.readouterr().out


def test_piped_output_is_whole_and_plain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a row, without colours and trailing blanks, whatever the environment asks for."""
    for name, value in (("COLUMNS", "20"), ("FORCE_COLOR", "1"), ("TTY_COMPATIBLE", "1")):
        monkeypatch.setenv(name, value)
    show(check_row(CHECK), "[b]:bug: 1.5[/b]")
    assert capsys.readouterr().out.splitlines() == [
        f"FAIL  functions         {'f' * 100}",
        f"{'':24}-> {'do ' * 40}now",
        "[b]:bug: 1.5[/b]",
    ]
