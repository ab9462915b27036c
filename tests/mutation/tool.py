"""Have mutmut change the modules that pyproject.toml names, and read what the unit tests found."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.checkout import CHECKOUT

EXCUSED = Path(__file__).with_name("excused.toml")
MISSED = frozenset({"survived", "no tests", "not checked", "skipped"})
"""The results of a change that no test found. A test run that fails, hangs or dies has found it."""

_NAME = re.compile(r"(?P<module>[\w.]+)\.x(?:ǁ(?P<owner>\w+)ǁ|_)(?P<function>\w+)__mutmut_\d+")


class ToolFailed(Exception):
    """Mutmut could not run the tests."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change that mutmut made: the function, and its lines as they are then."""

    function: str
    becomes: str


@dataclass(frozen=True, slots=True)
class Results:
    """How many changes were made and found in each module, and those that were not."""

    made: Counter[str]
    found: Counter[str]
    missed: tuple[Change, ...]


def run(processes: int) -> Results:
    """Make all changes, which takes some minutes, and return the results.

    Raises ToolFailed if the tests fail without a change.
    """
    shutil.rmtree(CHECKOUT / "mutants", ignore_errors=True)
    if _mutmut("run", "--max-children", str(processes)).returncode != 0:
        raise ToolFailed("mutmut could not run the tests: see what it printed above.")
    made, found = Counter[str](), Counter[str]()
    missed: list[Change] = []
    for line in _output("results", "--all", "true").splitlines():
        name, _, status = line.strip().rpartition(": ")
        if (match := _NAME.fullmatch(name)) is None:
            continue
        made[match["module"]] += 1
        if status in MISSED:
            missed.append(Change(_function(match), _lines_of(name)))
        else:
            found[match["module"]] += 1
    return Results(made, found, tuple(missed))


def read_excused(file: Path = EXCUSED) -> dict[Change, str]:
    """Return the changes that change nothing that matters, each with the reason."""
    return {
        Change(item["function"], becomes): item["reason"]
        for item in tomllib.loads(file.read_text())["excused"]
        for becomes in item["becomes"]
    }


def unexcused(missed: Sequence[Change], excused: Iterable[Change]) -> list[Change]:
    """Return the changes that no test found and that are not excused."""
    known = set(excused)
    return [change for change in missed if change not in known]


def stale(missed: Sequence[Change], excused: Iterable[Change]) -> list[Change]:
    """Return the excuses for what a test finds, or for code that has changed."""
    return [change for change in excused if change not in missed]


def _function(match: re.Match[str]) -> str:
    return ".".join(filter(None, (match["module"], match["owner"], match["function"])))


def _lines_of(name: str) -> str:
    """Return the lines of a change as one, without their indentation; or those it removes."""
    lines = _output("show", name).splitlines()
    added = [line[1:].strip() for line in lines if re.match(r"\+(?!\+\+ )", line)]
    removed = [line[1:].strip() for line in lines if re.match(r"-(?!-- )", line)]
    return " ".join(added) if added else f"without {' '.join(removed)}"


def _output(*arguments: str) -> str:
    return _mutmut(*arguments, stdout=subprocess.PIPE).stdout


def _mutmut(*arguments: str, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, stdout=stdout, text=True, check=False)
