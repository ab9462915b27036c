"""Make the changes of hand_made.toml in a copy, one at a time, and see whether tests find them."""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from sandbox.checkout import CHECKOUT

FILE = Path(__file__).with_name("hand_made.toml")
COPIED = ("bench", "sandbox", "sql", "tests", "worker", "pyproject.toml")
TEST_SECONDS = 60
"""For a test that hangs, which is a change found too."""


class MutantError(Exception):
    """A change cannot be tried."""


@dataclass(frozen=True, slots=True)
class HandMade:
    """A change of one place: what it breaks, and the tests that should find it."""

    file: str
    text: str
    becomes: str
    breaks: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> str:
        """Change the file in a copy of the checkout; return what it was."""
        path = root / self.file
        original = path.read_text()
        if original.count(self.text) != 1:
            raise MutantError(f"{self.file} does not have exactly one {self.text!r}.")
        path.write_text(original.replace(self.text, self.becomes))
        return original


def read_mutants() -> list[HandMade]:
    """Return the changes of the list."""
    items = tomllib.loads(FILE.read_text())["mutant"]
    return [HandMade(**{**item, "tests": tuple(item["tests"])}) for item in items]


def survivors(mutants: Sequence[HandMade], processes: int) -> Iterator[HandMade]:
    """Yield the changes that no test finds.

    Raises MutantError if the tests fail without a change, or cannot be run with one.
    """
    with copies(processes) as roots, ThreadPoolExecutor(processes) as threads:
        _check_tests(mutants, roots)
        for mutant, found in zip(
            mutants, threads.map(lambda m: _try(m, roots), mutants), strict=True
        ):
            if not found:
                yield mutant


@contextmanager
def copies(count: int) -> Iterator[SimpleQueue[Path]]:
    """Yield copies of the checkout, which share its node_modules."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        # On Linux, tests that run as root start Postgres as another user, who reads what they copy.
        Path(directory).chmod(0o755)
        roots: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            root = Path(directory) / str(number)
            root.mkdir()
            for name in COPIED:
                _copy(CHECKOUT / name, root / name)
            (root / "node_modules").symlink_to((CHECKOUT / "node_modules").resolve())
            roots.put(root)
        yield roots


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _check_tests(mutants: Sequence[HandMade], roots: SimpleQueue[Path]) -> None:
    """Raise MutantError if a test fails without a change: it would seem to find each one."""
    root = roots.get()
    result = _run({test for mutant in mutants for test in mutant.tests}, root)
    roots.put(root)
    if result.returncode != 0:
        raise MutantError(f"Without a change a test fails:\n{result.stdout}{result.stderr}")


def _try(mutant: HandMade, roots: SimpleQueue[Path]) -> bool:
    """Whether a test fails with the change."""
    root = roots.get()
    original = mutant.apply(root)
    try:
        result = _run(mutant.tests, root)
    finally:
        (root / mutant.file).write_text(original)
        roots.put(root)
    output = result.stdout + result.stderr
    if result.returncode == 0:
        return False
    if result.returncode == 1 and (" failed" in output or "Timeout" in output):
        return True
    raise MutantError(f"With {mutant.becomes!r} in {mutant.file} no test runs:\n{output}")


def _run(tests: Iterable[str], root: Path) -> subprocess.CompletedProcess[str]:
    """Run tests in a copy, to the first that fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
    command += [f"--timeout={TEST_SECONDS}", *sorted(f"tests/{test}" for test in tests)]
    return subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
