"""Help, suggestions, and the options that every command has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.cli.main import COMMANDS, build_parser, main
from worker.cli.parser import did_you_mean

NAMES = build_parser().names


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command line; return its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


HELP = """\
usage: mux-worker publish [-h] [--reason TEXT] [--env-file FILE] LESSON

Ask Mux about one lesson's video, and publish the lesson if the video can be
played. Nothing is written otherwise.

arguments:
  LESSON           its id or title, or the id of its upload or asset

options:
  -h, --help       show this help message and exit
  --reason TEXT    the reason, for the audit
  --env-file FILE  read settings from FILE instead of .env

examples:
  # by the lesson's title
  mux-worker publish "Sourdough"
  # with the reason
  mux-worker publish LESSON --reason "She asked by phone."

exit codes:
  0  published, now or before
  1  not published, for the reason that is printed
  2  wrong use or wrong settings
  3  the database lacks files of sql/ that this version needs
"""


def test_help_follows_the_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 columns, and at most 100: longer lines are hard to read."""
    monkeypatch.setenv("COLUMNS", "80")
    assert call(capsys, "publish", "--help") == (0, HELP, "")
    monkeypatch.setenv("COLUMNS", "140")
    wide = HELP.replace("be\nplayed. Nothing is", "be played. Nothing is\n")
    assert call(capsys, "publish", "--help")[1] == wide.replace("is\n written", "is\nwritten")


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_description_examples_and_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    """No line is wider than the terminal, and each example is one that the parser accepts."""
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = call(capsys, name, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= columns
    description = out.split("\n\n")[1]
    assert description.endswith(".")
    assert "\nexit codes:\n  0  " in out
    assert "None" not in out
    examples = out.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) >= 2
    assert all(line.startswith("  # ") for line in examples[::2])
    assert all(f"mux-worker {name}" in line for line in examples[1::2])


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, and the exit code is that of wrong use."""
    code, out, err = call(capsys)
    assert (code, out) == (2, "")
    names = err.partition("commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in names if line[2] != " "] == NAMES
    assert len(NAMES) == len(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "There is no command statsu. Did you mean status?\nSee mux-worker --help.\n"),
        (["frobnicate"], "There is no command frobnicate.\nSee mux-worker --help.\n"),
        (
            ["status", "--faild"],
            "There is no option --faild. Did you mean --failed?\nSee mux-worker status --help.\n",
        ),
        (
            ["--env-fil=x", "run"],
            "There is no option --env-fil. Did you mean --env-file?\nSee mux-worker --help.\n",
        ),
        (["retry", "--all"], "There is no option --all. Did you mean --all-failed?\n"),
        (["publish"], "LESSON is missing.\n"),
        (["publish", "a", "b"], "The argument b is one too many.\n"),
        (
            ["status", "a", "--failed"],
            "A LESSON is shown alone, without --watch and a list.\n",
        ),
        (["status", "--limit", "0"], "--limit must be a whole number from 1 to 100000.\n"),
        (["status", "--limit", "ten"], "--limit must be a whole number from 1 to 100000.\n"),
        (["status", "--limit"], "--limit needs a value.\n"),
        (["status", "--watch", "soon"], "--watch must be a number from 0.1 to 3600.\n"),
        (["status", "--watch", "nan"], "--watch must be a number from 0.1 to 3600.\n"),
        (["status", "--failed", "--stuck"], "--stuck and --failed do not go together.\n"),
        (["status", "--json=1"], "--json takes no value.\n"),
        (["retry"], "Name a LESSON, or use --all-failed.\n"),
        (["retry", "a", "--all-failed"], "A LESSON and --all-failed do not go together.\n"),
        (["backfill", "--yes"], "--yes needs --apply.\n"),
        (["backfill", "--report", "x.txt"], "--report must end in .csv or .json.\n"),
        (["completion", "zhs"], "There is no shell zhs. Did you mean zsh?\n"),
        (["--nothing"], "There is no option --nothing.\nSee mux-worker --help.\n"),
        ([""], 'There is no command "".\n'),
        (["statu\x1bs"], "There is no command statu\\x1bs. Did you mean status?\n"),
    ],
)
def test_wrong_use_is_a_sentence_that_says_what_may_be_meant(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """Exit code 2, and where the help is."""
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(said)
    assert err.rstrip().endswith("--help.")


def test_nothing_is_suggested_for_what_is_like_nothing() -> None:
    """A wrong suggestion is worse than none."""
    assert did_you_mean("xyzzy", ["status"]) == ""


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_file_of_settings_may_be_named_before_and_after_the_command(
    capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """It has to exist."""
    option = ["--env-file", "/nowhere/x.env"]
    arguments = [*option, "status"] if place == "before" else ["status", *option]
    said = "/nowhere/x.env does not exist. Name another file with --env-file.\n"
    assert call(capsys, *arguments) == (2, "", said)


def test_headings_are_bold_on_a_terminal(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless NO_COLOR asks for none."""
    assert "\x1b[1mexit codes:\x1b[0m\n" in call(capsys, "scan", "--help")[1]
    terminal.setenv("NO_COLOR", "1")
    assert "\x1b" not in call(capsys, "scan", "--help")[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(capfd: pytest.CaptureFixture[str], shell: str) -> None:
    """Which asks the command itself."""
    with pytest.raises(SystemExit) as ended:
        main(["completion", shell])
    assert ended.value.code == 0
    script = capfd.readouterr().out
    assert "mux-worker" in script
    assert "_ARGCOMPLETE" in script


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("mux-worker sta", ["status"]),
        ("mux-worker status --f", ["--failed"]),
        ("mux-worker retry --type upload_t", ["upload_timed_out"]),
        ("mux-worker completion ", ["bash", "zsh", "fish"]),
        ("mux-worker publish ", []),
    ],
)
def test_a_line_is_completed(tmp_path: Path, line: str, completions: list[str]) -> None:
    """With commands, options and error types; never with a file's name for a lesson."""
    (tmp_path / "file").touch()
    found = tmp_path / "completions"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(found),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    command = [sys.executable, "-c", "from worker.__main__ import main; main()"]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=60)
    offered = {text.strip() for text in found.read_text().split("\v")}
    assert offered - {""} == {*completions}
