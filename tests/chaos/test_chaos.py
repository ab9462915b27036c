"""About a minute of `make chaos`, with one seed; a seed that fails becomes another case here."""

import pytest

from tests.chaos.plan import make_plan
from tests.chaos.report import text
from tests.chaos.run import run

pytestmark = pytest.mark.stack

SECONDS = 40.0
LESSONS = 250


@pytest.mark.parametrize("seed", [18])
def test_every_promise_is_kept_through_faults(seed: int) -> None:
    """Nothing is lost, duplicated, wrong or torn; Mux's limit is kept; no secret is printed."""
    result = run(make_plan(seed, SECONDS, LESSONS))
    assert result.violations == [], text(result)
