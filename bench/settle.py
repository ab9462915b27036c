"""Measure what a page of verdicts costs on each Postgres: the CPU time of its backend."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from bench.answers import Answer, Row, middle
from bench.scale import Database, looked_at
from bench.sizes import Sizes
from bench.volume import fill
from sandbox.supabase.installation import VERSION_VARIABLE
from sandbox.supabase.stack import LocalSupabase

VERSIONS = ("15", "17", "18")
PAGE = 100
PAGES_A_ROUND = 8
ROWS = 5_000

HOW = """\
`worker_settle` with a page of {page} verdicts on claimed rows, over one connection, with the
worker's role: the CPU time that the backend uses, the median of {rounds} rounds of {pages} pages.
Supabase runs 15 and 17."""


def settle(sizes: Sizes) -> Answer:
    """Measure on each version in turn."""
    publish, wait = {}, {}
    for version in VERSIONS:
        with _postgres(version), LocalSupabase() as supabase:
            here = Database(supabase)
            fill(here.admin, ROWS)
            publish[version], wait[version] = _cpu(here, sizes.rounds)
    rows = tuple(
        Row(
            f"A page of {PAGE} verdicts, {what}: ms of CPU on Postgres {version}",
            middle(times[version], ".0f"),
            "; ".join(f"{v}: {middle(times[v], '.0f')}" for v in VERSIONS if v != version),
        )
        for what, times in (("published", publish), ("waiting", wait))
        for version in ("17",)
    )
    how = HOW.format(page=PAGE, rounds=sizes.rounds, pages=PAGES_A_ROUND)
    return Answer("Settling on Postgres 15, 17 and 18", how, rows)


def _cpu(here: Database, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of CPU of a published page and of a waiting one, by round."""
    backend = psutil.Process(here.call("select pg_backend_pid()"))
    publish, wait = [], []
    for _ in range(rounds + 1):
        publish.append(_page(here, backend, "publish", "published"))
        here.unpublish()
        wait.append(_page(here, backend, "wait", "waiting"))
    return publish[1:], wait[1:]  # the first round fills the caches


def _page(here: Database, backend: psutil.Process, verdict: str, outcome: str) -> float:
    spent = 0.0
    for _ in range(PAGES_A_ROUND):
        items = [looked_at(row, verdict) for row in here.claimed(PAGE)]
        before = backend.cpu_times()
        here.settle(items, outcome)
        after = backend.cpu_times()
        spent += after.user + after.system - before.user - before.system
    return 1000 * spent / PAGES_A_ROUND


@contextmanager
def _postgres(version: str) -> Iterator[None]:
    before = os.environ.get(VERSION_VARIABLE)
    os.environ[VERSION_VARIABLE] = version
    try:
        yield
    finally:
        if before is None:
            del os.environ[VERSION_VARIABLE]
        else:
            os.environ[VERSION_VARIABLE] = before
