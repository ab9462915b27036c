import ast
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parents[2] / "worker"
MODULES = sorted(WORKER.glob("*.py"))
WEB = sorted((WORKER / "web").glob("*.py"))
LOCAL = sorted((WORKER / "local").glob("*.py"))


def imports(module: Path) -> set[str]:
    """List the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "worker":
            found |= {f"worker.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def importers(*packages: str) -> set[str]:
    """List the worker's own modules that import one of these packages."""
    return {
        module.name
        for module in [*MODULES, *WEB]
        if any(name.split(".")[0] in packages for name in imports(module))
    }


@pytest.mark.parametrize("name", ["model", "decide", "wording"])
def test_the_heart_is_pure(name: str) -> None:
    """The words and the decisions need nothing but the standard library, and no clock."""
    needs = imports(WORKER / f"{name}.py")
    outside = {n for n in needs if n.split(".")[0] not in sys.stdlib_module_names}
    assert outside <= {"worker.model", "worker.wording"}
    assert not needs & {"time", "datetime", "random", "asyncio", "os", "socket"}


def test_only_one_module_knows_each_service() -> None:
    """mux.py talks to Mux and database.py to Supabase; outbound.py only asks whether a road is."""
    assert importers("mux_python", "urllib3") == {"mux.py", "mux_api.py"}
    assert importers("supabase", "postgrest") == {"database.py"}
    assert importers("httpx") == {"database.py", "outbound.py"}


def test_the_worker_does_not_know_its_rehearsal_stage() -> None:
    """Production code imports nothing of worker.local, but for the command that starts it."""
    assert {m.name for m in [*MODULES, *WEB] if any("worker.local" in n for n in imports(m))} == {
        "cli.py"
    }


@pytest.mark.parametrize("name", ["signature", "events"])
def test_what_an_event_means_is_pure(name: str) -> None:
    """Signatures and events are read without a clock, a socket, or a server."""
    needs = imports(WORKER / "web" / f"{name}.py")
    assert not needs & {"time", "asyncio", "os", "socket", "aiohttp"}
    assert {n for n in needs if n.startswith("worker")} <= {"worker.answers", "worker.model"}


def test_only_the_server_knows_http_and_only_the_numbers_prometheus() -> None:
    """The HTTP library stays inside worker/web, and prometheus_client inside one module."""
    assert importers("aiohttp") <= {module.name for module in WEB}
    assert importers("prometheus_client") == {"metrics.py"}


def test_without_a_port_no_server_is_loaded() -> None:
    """The daemon's own modules import neither worker.web's server nor the numbers."""
    heavy = {"worker.web.server", "worker.web.app", "worker.web.webhook", "worker.metrics"}
    assert {m.name for m in MODULES if imports(m) & heavy} == {"watching.py"}
    source = (WORKER / "watching.py").read_text()
    assert "\nfrom worker.web" not in source
    assert "\nfrom worker.metrics" not in source


def test_only_one_module_puts_the_parts_together() -> None:
    """No other module makes both a Mux and a Store."""
    both = {m.name for m in MODULES if {"worker.mux", "worker.store"} <= imports(m)}
    assert both == {"parts.py"}


@pytest.mark.parametrize("module", [*MODULES, *WEB, *LOCAL], ids=lambda path: path.name)
def test_every_module_says_what_it_is_and_stays_small(module: Path) -> None:
    """A sentence at the top, at most 250 lines, functions below 60, and a name that says it."""
    tree = ast.parse(module.read_text())
    first = (ast.get_docstring(tree) or "").splitlines()[0]
    assert first.endswith(".")
    assert module.read_text().count("\n") <= 250
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
    assert not {"utils", "helpers", "manager", "common", "misc"} & {module.stem}
