"""A worker that never sweeps: `python -m bench.probing run`.

It is the worker itself, all but the number of due rows from which walking Mux's lists begins: that
is out of reach, so that it asks for every row by itself, as it would without the sweep.
"""

import worker.scan.scanner
import worker.scan.sweep
from worker.cli.main import main
from worker.scan.sweep import SWEEP_ABOVE

NEVER = 1_000_000


def never_sweep() -> None:
    """Put the threshold out of reach, wherever a module has taken its name."""
    for module in (worker.scan.sweep, worker.scan.scanner):
        assert getattr(module, "SWEEP_ABOVE") == SWEEP_ABOVE  # noqa: B009  # the name still decides there
        setattr(module, "SWEEP_ABOVE", NEVER)  # noqa: B010  # which mypy would not let it be otherwise


if __name__ == "__main__":
    never_sweep()
    main()
