"""A worker that never sweeps: `python -m bench.probing run`.

It is the worker itself, but its sweeps may read no page of Mux's lists: so it probes every row, a
claim of rows at a time.
"""

from functools import partial

import worker.scan.scanner
from worker.cli.main import main
from worker.scan.sweep import PageBudget


def never_sweep() -> None:
    """Leave a scan no page to read, and no reason to claim more rows than it probes."""
    setattr(worker.scan.scanner, "PageBudget", partial(PageBudget, pages=0))  # noqa: B010  # mypy forbids an assignment
    worker.scan.scanner.CLAIMS_PER_SWEEP = 1


if __name__ == "__main__":
    never_sweep()
    main()
