import json
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sandbox.http_server import HOST, Server, free_port
from worker import __version__

CHECKOUT = Path(__file__).parents[2]
FLAW = {
    "id": "GHSA-test",
    "summary": "A flaw",
    "aliases": ["CVE-2026-1"],
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
        }
    ],
}


def make(target: str, build: Path, **variables: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a target of the Makefile in environments that are taken as prepared."""
    variables = {"VENV": sys.prefix, "BUILD": build, **variables}
    settings = [f"{name}={value}" for name, value in variables.items()]
    prepared = [f"--assume-old={folder}/.ready" for folder in (sys.prefix, build / "sbom")]
    command = ["make", "-s", *prepared, target, *settings]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def locked() -> dict[str, str]:
    """Return the versions of requirements.txt that belong on this machine."""
    text = (CHECKOUT / "requirements.txt").read_text()
    lines = re.findall(r"^([a-z0-9][^\\\n]*)", text, re.MULTILINE)
    pins = [Requirement(line) for line in lines]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """Make an environment that has what requirements.txt names, by its metadata."""
    folder = tmp_path / "sbom"
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in locked():
        (metadata,) = [
            Path(str(file.locate())).parent
            for file in distribution(name).files or []
            if file.name == "METADATA" and file.parent.suffix == ".dist-info"
        ]
        (packages / metadata.name).symlink_to(metadata)
    return folder


@pytest.fixture
def sbom(runtime: Path) -> dict[str, Any]:
    """Write the list as `make sbom` does."""
    file = runtime.parent / "dist" / "sbom.json"
    result = make("sbom", runtime.parent, SBOM=file)
    assert result.returncode == 0, result.stderr
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def test_the_list_is_what_requirements_txt_installs(sbom: dict[str, Any]) -> None:
    """Each package once, at the locked version, with a licence, and why it is there."""
    components, root = sbom["components"], sbom["metadata"]["component"]
    assert sbom["bomFormat"] == "CycloneDX"
    assert (root["name"], root["version"]) == ("mux-worker", __version__)
    assert {canonicalize_name(c["name"]): c["version"] for c in components} == locked()
    assert [c["name"] for c in components if not c.get("licenses")] == []
    uses = {entry["ref"]: entry.get("dependsOn", []) for entry in sbom["dependencies"]}
    reached: set[str] = set()
    found = list(uses[root["bom-ref"]])
    while found:
        if (ref := found.pop()) not in reached:
            reached.add(ref)
            found += uses[ref]
    assert reached == {c["bom-ref"] for c in components}


@pytest.fixture(params=[False, True], ids=["no flaw", "a flaw"])
def advisories(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """Serve a database of advisories that knows of no flaw, or of one in Jinja."""

    async def answer(query: web.Request) -> web.Response:
        name = (await query.json())["package"]["name"]
        return web.json_response({"vulns": [FLAW]} if request.param and name == "jinja2" else {})

    def app() -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/query", answer)
        return app

    with Server(app) as server:
        yield f"{server.url}/v1/query", request.param


def test_a_known_vulnerability_fails_the_audit(
    advisories: tuple[str, bool], tmp_path: Path
) -> None:
    """It is named with its version; without one the audit says so and passes."""
    address, is_flawed = advisories
    result = make("audit", tmp_path, ADVISORIES=address)
    if is_flawed:
        assert result.returncode != 0
        assert re.search(rf"jinja2 +{locked()['jinja2']} +CVE-2026-1 +99", result.stderr)
    else:
        assert (result.returncode, result.stdout) == (0, "No known vulnerabilities found\n")


def test_an_audit_without_an_answer_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """Nothing listens: that is no vulnerability, and no proof that there is none."""
    address = f"http://{HOST}:{free_port()}/v1/query"
    result = make("audit", tmp_path, ADVISORIES=address)
    assert result.returncode == 0
    assert result.stdout.startswith(f"Skipped: {address} does not answer. ")
    assert "ConnectionError" in result.stdout


def test_an_audit_that_breaks_is_not_skipped(tmp_path: Path) -> None:
    """A fault of the tool itself fails, with what it said."""
    result = make("audit", tmp_path, AUDIT="sh -c 'echo a fault >&2; exit 2'")
    assert result.returncode != 0
    assert result.stderr.startswith("a fault\n")


def test_the_project_has_the_version_of_its_changelog() -> None:
    """The newest released section of CHANGELOG.md is the version of the package."""
    changelog = (CHECKOUT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    assert released[0] == __version__
    assert project["tool"]["hatch"]["version"]["path"] == "worker/__init__.py"
