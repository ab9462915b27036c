"""Measure the worker: `python -m bench` writes docs/performance.md and the README's figures."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from bench.answers import Answer
from bench.backfill import backfill
from bench.drain import drain
from bench.idle import idle
from bench.recovery import recovery
from bench.replicas import replicas
from bench.report_file import headlines, write_report
from bench.settle import settle
from bench.sizes import FULL, QUICK, Sizes
from bench.stage import CHECKOUT
from bench.start import start
from bench.steady import steady
from bench.sweep import sweep, write_choices
from bench.unlimited import unlimited
from bench.webhooks import webhooks
from bench.writing import replace_block

MEASURES: dict[str, Callable[[Sizes], Answer]] = {
    "drain": drain,
    "replicas": replicas,
    "steady": steady,
    "webhooks": webhooks,
    "recovery": recovery,
    "unlimited": unlimited,
    "settle": settle,
    "backfill": backfill,
    "idle": idle,
    "start": start,
    "sweep": sweep,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure everything, or what is named, and write it down.

    Only a full run of everything goes into docs/ and the README; the rest goes to build/bench.
    """
    arguments = _parser().parse_args(argv)
    sizes = QUICK if arguments.quick else FULL
    names = arguments.measure or list(MEASURES)
    answers = []
    for name in names:
        began = time.monotonic()
        print(f"{name} ... ", end="", file=sys.stderr, flush=True)
        answers.append(MEASURES[name](sizes))
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    is_whole = sizes is FULL and set(names) == set(MEASURES)
    directory = CHECKOUT / ("docs" if is_whole else "build/bench")
    report = write_report(answers, directory)
    if is_whole:
        write_choices()
        replace_block(directory / "performance.md", "bench", report)
        replace_block(CHECKOUT / "README.md", "bench", headlines(answers))
    else:
        (directory / "performance.md").write_text(report)
    print(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers, to try it out")
    parser.add_argument("measure", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    return parser


if __name__ == "__main__":
    main()
