"""Which Postgres the sandbox runs, and where it is found."""

import json
import subprocess
from pathlib import Path

import pytest

from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.installation import (
    VERSION_VARIABLE,
    Installation,
    find_installation,
    python_installation,
)
from sandbox.supabase.service_user import ServiceUser, service_user

pytestmark = pytest.mark.stack

LIBRARY = "native/lib/libpq.so.5"


@pytest.fixture(autouse=True)
def _nothing_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VERSION_VARIABLE, raising=False)


def checkout_with(directory: Path, *versions: str) -> Path:
    """Return a checkout with npm's packages of some versions, whose scripts did not run."""
    for version in versions:
        package = directory / "node_modules" / f"postgres-{version}-linux-x64"
        (package / "native" / "bin").mkdir(parents=True)
        (package / "native" / "bin" / "postgres").write_text(version)
        (package / "native" / "lib").mkdir()
        (package / f"{LIBRARY}.{version}").write_text(f"library {version}")
        links = [{"source": f"{LIBRARY}.{version}", "target": LIBRARY}]
        (package / "native" / "pg-symlinks.json").write_text(json.dumps(links))
    return directory


def version_of(installation: Installation) -> str:
    """Return the major version that the server says."""
    command = [str(installation.programs / "postgres"), "--version"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return output.removeprefix("postgres (PostgreSQL) ").partition(".")[0]


def test_it_is_17_unless_another_is_selected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An argument selects another version, and so does the environment."""
    checkout = checkout_with(tmp_path, "15", "17", "18")
    found = [find_installation(checkout=checkout), find_installation("18", checkout)]
    monkeypatch.setenv(VERSION_VARIABLE, "15")
    found.append(find_installation(checkout=checkout))
    versions = [(one.version, (one.programs / "postgres").read_text()) for one in found]
    assert versions == [("17", "17"), ("18", "18"), ("15", "15")]


def test_missing_links_are_created(tmp_path: Path) -> None:
    """A package of npm has none, and its script may not have run. Twice is as good as once."""
    checkout = checkout_with(tmp_path, "17")
    for _ in range(2):
        root = find_installation(checkout=checkout).root
        assert (root / LIBRARY).is_symlink()
        assert (root / LIBRARY).read_text() == "library 17"


def test_without_npms_it_is_the_python_packages(tmp_path: Path) -> None:
    """On systems for which npm has no Postgres, the sandbox runs that of the Python package."""
    found = find_installation(checkout=tmp_path)
    assert found == python_installation()
    assert version_of(found) == found.version


def test_a_selected_version_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """No other version is run instead; the error has the command that installs it."""
    checkout = checkout_with(tmp_path, "17")
    with pytest.raises(LocalStackError, match=r"Postgres 15 is not installed\. Run `npm ci`"):
        find_installation("15", checkout)


@pytest.mark.parametrize("installation", ["npm", "python"])
def test_programs_out_of_the_servers_reach_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installation: str
) -> None:
    """The copy runs: it keeps the layout, by which programs find their libraries."""
    monkeypatch.setattr(ServiceUser, "can_run", lambda *_: False)
    found = find_installation() if installation == "npm" else python_installation()
    copy = found.executable_for(service_user(), tmp_path)
    assert copy == Installation(found.version, tmp_path, found.directories)
    assert version_of(copy) == found.version
