"""Whatever goes wrong at whichever request of the worker, each lesson ends as Mux says."""

import ast
import inspect
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import worker
from sandbox.http_server import free_port
from sandbox.mux.clock import ManualClock
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.e2e.conftest import secrets_in
from tests.e2e.crash_sites import CALLS, REQUESTS, SITES
from tests.e2e.crash_world import CRASHES, SETTINGS, Crash, Site, World
from worker.mux.client import MuxClient

pytestmark = pytest.mark.stack


@pytest.fixture
def world(
    environment: dict[str, str],
    supabase: LocalSupabase,
    mux: MuxSimulator,
    course: Course,
    db: psycopg.Connection,
) -> Iterator[World]:
    """Yield a world without lessons; what was started in it is killed at the end."""
    clock = mux.state.clock = ManualClock()
    settings = {**SETTINGS, "HOST": "127.0.0.1", "PORT": str(free_port())}
    world = World(environment | settings, supabase, mux, course, db, clock)
    yield world
    for process in world.processes:
        process.kill()
    mux.faults.clear()
    for process in world.processes:
        assert secrets_in(process.output, process.environment) == []
        assert process.events("worker.crashed") == []


@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: crash.name)
@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_each_lesson_ends_as_mux_says(world: World, site: Site, crash: Crash) -> None:
    """Published once with its own ids, or failed once; nothing is left leased or scheduled."""
    site.arrange(world)
    status = None
    if site.act is None:
        has_happened = site.inject(world, crash)
        site.start(world)
    else:
        site.start(world)
        has_happened = site.inject(world, crash)
        status = site.act(world)
    world.worker.wait_until(has_happened)
    if crash.kills or site.ends:
        site.end(world, crash, status)
    wait_until_settled(world, site)
    world.assert_truth()
    assert set(world.supabase.requests.counts()) <= {each.path for each in CALLS}


def wait_until_settled(world: World, site: Site) -> None:
    """Wait until no row is left to settle."""
    deadline = time.monotonic() + 60
    while not world.is_settled():
        assert time.monotonic() < deadline, world.worker.output
        if site.after is not None:
            site.after(world)
        time.sleep(0.05)


def test_every_function_that_the_worker_calls_is_a_site() -> None:
    """A call that is added to the worker fails here until its crashes are tried."""
    literals = {
        node.value
        for file in Path(worker.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    called = {literal for literal in literals if re.fullmatch("worker_[a-z_]+", literal)}
    assert called == {site.target for site in CALLS}


def test_every_request_to_mux_is_a_site() -> None:
    """A method that is added to Mux's client fails here until its crashes are tried."""
    methods = {
        name
        for name, method in vars(MuxClient).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }
    assert methods == {site.target for site in REQUESTS} | {"environment"}  # which is `check`
