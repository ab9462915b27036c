import pytest

from worker.cli.console import show
from worker.cli.doctor import check_row, folded
from worker.doctor.checks import Check

CHECK = Check("functions", "failed", "f" * 100, "do " * 40 + "now")


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


def test_checks_that_an_outage_skips_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason once, and the name of each."""
    skipped = [Check(name, "skipped", "Supabase cannot be reached") for name in ("key", "schema")]
    show(check_row(folded(skipped)), check_row(folded(skipped[:1])))
    assert capsys.readouterr().out.splitlines() == [
        "skip  2 checks          Supabase cannot be reached: key, schema",
        "skip  key               Supabase cannot be reached",
    ]
