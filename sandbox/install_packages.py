"""Install the packages of a requirements file with pip, and show how far it is, for the Makefile.

It runs before any package is installed, and is no part of the sandbox that it prepares. On a
terminal one line counts the packages; elsewhere, as in CI, nothing is printed unless pip fails.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
PACKAGE = re.compile(r"^[\w.\[\]-]+==", re.MULTILINE)
COUNTED = ("Collecting ", "Processing ", "Requirement already satisfied: ")
"""How pip begins the line of a package, which it finds at an index, in a folder, or installed."""

FAILED = (
    "The packages of {} were not installed. If pip found no version or no connection, check the "
    "network, then try again.\n"
)


def install(requirements: Path) -> int:
    """Install the packages; return pip's exit status."""
    total = len(PACKAGE.findall(requirements.read_text()))
    command = [*PIP, "--require-hashes", "-r", str(requirements)]
    printed: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        for state in progress(_kept(pip.stdout or (), printed), total):
            _show(state)
    _show("")
    if pip.returncode:
        sys.stderr.writelines([*printed, FAILED.format(requirements)])
    return pip.returncode


def progress(lines: Iterable[str], total: int) -> Iterator[str]:
    """Yield what pip does, after each line that it prints."""
    count, is_installing = 0, False
    for line in lines:
        count += line.startswith(COUNTED)
        is_installing |= line.startswith("Installing collected packages")
        yield f"packages: {'installing them' if is_installing else f'{count} of {total}'}"


def _kept(lines: Iterable[str], kept: list[str]) -> Iterator[str]:
    for line in lines:
        kept.append(line)
        yield line


def _show(state: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(f"\r  {state:30}" if state else f"\r{'':32}\r")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1])))
