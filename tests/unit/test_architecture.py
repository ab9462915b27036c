"""Which module may import which: one table of layers, and what holds beside it."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

LAYERS = (
    {"__main__"},
    {"cli"},
    {"app", "doctor"},
    {"web"},
    {"backfill"},
    {"mux", "supabase"},
    {"scan", "daemon", "shutdown", "retry"},
    {"telemetry"},
    {"adapter"},
    {"decide", "backoff", "lesson", "overview", "settings"},
    {"env_file", "network", "project_key", "project_url", "sql_files"},
    {"model", "wording", "text", "errors", "__init__"},
)
"""From the top down. A package or module imports from its own layer and from those below."""

APART = {"mux", "supabase"}
"""Neither of these imports the other, though they are on one layer."""

PURE = {"model", "decide", "backoff", "wording", "text", "lesson", "overview"}
"""These import the standard library and each other only, and no clock and no I/O of it."""

EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Imports that run upwards still, each with its way out."""

LONG: dict[str, str] = {}
"""Modules over 250 lines still, each with its way out."""

ONLY = {
    "mux_python": {"mux.client", "mux.api"},
    "urllib3": {"mux.client", "mux.api"},
    "supabase": {"supabase.client"},
    "postgrest": {"supabase.client"},
    "httpx": {"supabase.client", "network"},
    "tenacity": {"retry"},
    "prometheus_client": {"telemetry.metrics"},
    "psycopg": {"adapter.catalog"},
}
"""The only modules that import these libraries."""

SERVER = {"web.app", "web.webhooks.handler", "telemetry.metrics"}
"""What only a worker with PORT loads."""


def module_name(file: Path, package: str) -> str:
    """Return a file's module name, as its package's other modules refer to it."""
    return ".".join(file.relative_to(CHECKOUT / package).with_suffix("").parts)


def sources(package: str) -> dict[str, Path]:
    """Return the files of a package by their modules' names."""
    return {module_name(file, package): file for file in sorted((CHECKOUT / package).rglob("*.py"))}


WORKER = sources("worker")
SANDBOX = sources("sandbox")
TREES = {name: ast.parse(file.read_text()) for name, file in WORKER.items()}


def imported(node: ast.AST) -> set[str]:
    """Return the full names of the modules that one statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if not isinstance(node, ast.ImportFrom) or not node.module:
        return set()
    names = {f"{node.module}.{alias.name}" for alias in node.names}
    modules = {name for name in names if name.removeprefix("worker.") in WORKER}
    return modules | ({node.module} if names - modules else set())


def ours(names: set[str]) -> set[str]:
    """Return the worker's own modules among the names, without the package's name."""
    inner = {name.removeprefix("worker.") for name in names if name.startswith("worker.")}
    return inner | ({"__init__"} if "worker" in names else set())


IMPORTS = {
    name: {found for node in ast.walk(tree) for found in imported(node)}
    for name, tree in TREES.items()
}
"""All that a module imports, wherever in it: in functions and for types alone, too."""


def part(module: str) -> str:
    """Return the package, or the module, that the table of layers knows."""
    return module.split(".", maxsplit=1)[0]


def layer(module: str) -> int:
    """Return the number of a module's layer, from the top."""
    return next(number for number, parts in enumerate(LAYERS) if part(module) in parts)


def test_every_import_runs_downwards() -> None:
    """A module imports from its own layer and below, but for the exceptions."""
    upwards = {
        (module, other)
        for module, names in IMPORTS.items()
        for other in ours(names)
        if layer(other) < layer(module)
        or ({part(module), part(other)} == APART and part(module) != part(other))
    }
    assert upwards == set(EXCEPTIONS)


def test_no_modules_import_each_other() -> None:
    """The imports make no circle, neither lazy ones nor those for types alone."""
    pairs = {(module, other) for module, names in IMPORTS.items() for other in ours(names)}
    graph: dict[str, set[str]] = {module: set() for module in IMPORTS}
    for module, other in pairs - set(EXCEPTIONS):
        graph[module].add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" > ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_core_is_pure(name: str) -> None:
    """The terms and the decisions need no clock and no I/O."""
    assert ours(IMPORTS[name]) <= PURE
    outside = {found for found in IMPORTS[name] if not found.startswith("worker")}
    assert {found.split(".")[0] for found in outside} <= sys.stdlib_module_names
    assert not outside & {"time", "datetime", "random", "asyncio", "os", "socket", "pathlib"}


@pytest.mark.parametrize("name", ["web.webhooks.signature", "web.webhooks.event"])
def test_what_an_event_means_is_pure(name: str) -> None:
    """Signatures and events are read without a clock, a socket, or a server."""
    assert not IMPORTS[name] & {"time", "asyncio", "os", "socket", "aiohttp"}
    assert ours(IMPORTS[name]) <= {"mux.parse", "model"}


@pytest.mark.parametrize("library", sorted(ONLY))
def test_a_library_is_imported_where_it_belongs(library: str) -> None:
    """One package talks to each service, and one module counts."""
    found = {
        module
        for module, names in IMPORTS.items()
        if any(name.split(".")[0] == library for name in names)
    }
    assert found == ONLY[library]


def test_only_the_server_knows_http() -> None:
    """No module outside worker/web imports aiohttp."""
    found = {m for m, names in IMPORTS.items() if any(n.split(".")[0] == "aiohttp" for n in names)}
    assert {part(module) for module in found} == {"web"}


def test_the_worker_knows_neither_sandbox_nor_bench() -> None:
    """What runs in production imports nothing of what tests and measures it."""
    outside = {name.split(".")[0] for names in IMPORTS.values() for name in names}
    assert not outside & {"sandbox", "bench", "tests"}


def test_without_a_port_no_server_is_loaded() -> None:
    """Outside worker/web one module imports the server and the metrics, and only when it runs."""
    others = {m: names for m, names in IMPORTS.items() if part(m) != "web"}
    assert {m for m, names in others.items() if ours(names) & SERVER} == {"app"}
    at_once = {found for node in TREES["app"].body for found in imported(node)}
    assert not ours(at_once) & SERVER


def test_only_one_module_puts_the_parts_together() -> None:
    """No other module imports both Mux's client and the store."""
    both = {m for m, names in IMPORTS.items() if {"mux.client", "supabase.scan"} <= ours(names)}
    assert both == {"app"}


@pytest.mark.parametrize(
    "file",
    [file for files in (WORKER, SANDBOX) for file in files.values() if file.stem == "__init__"],
    ids=lambda file: file.parent.name,
)
def test_a_package_is_a_docstring(file: Path) -> None:
    """Importing a package imports nothing else, so that commands start fast."""
    first, *rest = ast.parse(file.read_text()).body
    assert isinstance(first, ast.Expr)
    is_root = file.parent == CHECKOUT / "worker"
    assert [ast.unparse(node).split(" =")[0] for node in rest] == ["__version__"] * is_root


@pytest.mark.parametrize(
    "file",
    [*WORKER.values(), *SANDBOX.values()],
    ids=lambda file: str(file.relative_to(CHECKOUT).with_suffix("")),
)
def test_every_module_says_what_it_is_and_stays_small(file: Path) -> None:
    """A sentence at the top, at most 250 lines, functions below 60, and a name that says it."""
    tree = ast.parse(file.read_text())
    first = (ast.get_docstring(tree) or "").splitlines()[0]
    assert first.endswith(".")
    is_long = str(file.relative_to(CHECKOUT).with_suffix("")) in LONG
    assert (file.read_text().count("\n") > 250) == is_long
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
    assert not {"utils", "helpers", "manager", "common", "misc"} & {file.stem}
