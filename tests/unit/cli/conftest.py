import sys
from collections.abc import Callable

import pytest
from rich.console import RenderableType

from worker.cli.console import show


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


@pytest.fixture
def drawn(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[RenderableType, int], str]:
    """Return what draws on a terminal of some columns, without colours, and gives the text."""
    terminal.setenv("NO_COLOR", "1")

    def draw(view: RenderableType, columns: int) -> str:
        terminal.setenv("COLUMNS", str(columns))
        show(view)
        return capsys.readouterr().out

    return draw
