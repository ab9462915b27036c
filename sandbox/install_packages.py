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
COUNTED = ("Collecting ", "Requirement already satisfied: ")


def install(requirements: Path) -> int:
    """Install the packages; return pip's exit status."""
    total = len(PACKAGE.findall(requirements.read_text()))
    command = [*PIP, "--require-hashes", "-r", str(requirements)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        printed = list(_show(pip.stdout or (), total))
    if pip.returncode:
        sys.stderr.writelines(printed)
    return pip.returncode


def _show(lines: Iterable[str], total: int) -> Iterator[str]:
    """Yield the lines that pip prints, and say on a terminal what it does."""
    count = 0
    for line in lines:
        yield line
        count += line.startswith(COUNTED)
        if not sys.stdout.isatty():
            continue
        state = "installing them" if line.startswith("Installing") else f"{count} of {total}"
        print(f"\r  packages: {state:20}", end="", flush=True)  # noqa: T201 - it is its purpose
    if sys.stdout.isatty():
        print("\r" + " " * 40 + "\r", end="", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1])))
