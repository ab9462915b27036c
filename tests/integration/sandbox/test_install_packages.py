import os
import subprocess
from pathlib import Path

import pytest

from sandbox.install_packages import FAILED, install, progress

CHECKOUT = Path(__file__).parents[3]
PRINTED = (
    "Collecting aiohttp==3.14.0 (from -r requirements-dev.txt (line 1))\n",
    "  Using cached aiohttp.whl (1 MB)\n",
    "Requirement already satisfied: attrs==26.1.0\n",
    "Processing /wheels/pip.whl (from -r requirements-dev.txt (line 90))\n",
    "Installing collected packages: pip, aiohttp\n",
    "  Attempting uninstall: pip\n",
)


def test_it_counts_the_packages() -> None:
    """Each counts once, also one that pip finds in a folder; then they are installed."""
    assert list(progress(PRINTED, 131)) == [
        "packages: 1 of 131",
        "packages: 1 of 131",
        "packages: 2 of 131",
        "packages: 3 of 131",
        "packages: installing them",
        "packages: installing them",
    ]


def test_what_pip_refuses_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a terminal nothing is printed but the output of a pip that fails, and what to do."""
    empty, broken = tmp_path / "empty.txt", tmp_path / "broken.txt"
    empty.write_text("# nothing\n")
    assert install(empty) == 0
    assert capfd.readouterr() == ("", "")
    broken.write_text("-r nowhere.txt\n")
    assert install(broken) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "ERROR: Could not open requirements file" in printed.err
    assert printed.err.endswith(FAILED.format(broken))


@pytest.mark.parametrize(
    ("script", "found"), [("echo 6.14.12", "npm 6.14.12"), ("exit 1", "npm")], ids=["6", "broken"]
)
def test_an_npm_that_is_too_old_is_named(tmp_path: Path, script: str, found: str) -> None:
    """It would fail over package-lock.json with a message that says nothing of its age."""
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    result = subprocess.run(
        ["make", "-s", "stack", f"NODE_READY={tmp_path / '.ready'}"],
        cwd=CHECKOUT,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert f"{found} cannot read package-lock.json. Install Node 20 or later" in result.stderr
