"""The harness itself is tested: what breaks a promise is found, and called by its name."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import mutants
from tests.chaos.mutants import Mutant
from tests.chaos.plan import Plan
from tests.chaos.run import BOUNDS, Setup, run

pytestmark = pytest.mark.stack

SHORT = replace(BOUNDS, tracked_seconds=5.0, adopted_seconds=5.0)
"""For runs without a fault that concerns all; a mutant is not waited for."""


@pytest.mark.parametrize(
    ("mutant", "plan", "kind"),
    [
        (mutants.HISTORY_IGNORED, mutants.REPEATED, "wrong"),
        (mutants.SETTLED_IN_TWO_STATEMENTS, mutants.SIMPLE, "torn"),
        (mutants.LEASE_IGNORED, mutants.ENCODING, "duplicated"),
        (mutants.WAITS_FOR_LOCKS, mutants.LOCKED, "lost"),
        (mutants.MATCHED_BY_LESSON, mutants.REPLACED, "wrong"),
    ],
    ids=["history ignored", "two statements", "lease ignored", "waits for locks", "by lesson"],
)
def test_a_mutant_of_the_sql_is_found(
    mutant: Mutant, plan: Plan, kind: str, shared_postgres: Path, tmp_path: Path
) -> None:
    """The verdict says what the change has broken."""
    setup = Setup(mutant.write(tmp_path), shared_postgres=shared_postgres, bounds=SHORT)
    assert kind in run(plan, setup).kinds


def test_a_naive_loop_is_found(shared_postgres: Path) -> None:
    """It asks more often than Mux allows, and tears lessons from their rows."""
    setup = Setup(module="tests.chaos.naive_worker", shared_postgres=shared_postgres, bounds=SHORT)
    assert run(mutants.NAIVE, setup).kinds >= {"budget", "torn"}


def test_the_product_passes_what_finds_the_mutants(shared_postgres: Path) -> None:
    """So it is the mutants that are found, and not the harness that is strict."""
    assert run(mutants.ALL, Setup(shared_postgres=shared_postgres)).violations == []
