"""`make chaos`: run, judge and report; exit with 1 if a promise was broken."""

import argparse
import os
import secrets
import sys
from collections.abc import Sequence

from tests.chaos import promises
from tests.chaos.plan import make_plan
from tests.chaos.report import text
from tests.chaos.run import Setup, run
from worker.project_key import WORKER_ROLE

LESSONS_PER_SECOND = 7
DEFAULT_MINUTES = "5"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, help="run the plan of this seed again")
    parser.add_argument("--seconds", type=float, help="how long faults happen")
    parser.add_argument("--lessons", type=int, help="how many lessons there are")
    parser.add_argument(
        "--worker-role", action="store_true", help="give the workers a key of the role mux_worker"
    )
    parser.add_argument("--write", action="store_true", help="write docs/promises.md")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    minutes = os.environ.get("CHAOS_MINUTES") or DEFAULT_MINUTES
    seconds = options.seconds or 60 * float(minutes)
    lessons = options.lessons or int(LESSONS_PER_SECOND * seconds)
    print(f"Seed {seed}: {lessons} lessons in {seconds:g} s", flush=True)
    role = WORKER_ROLE if options.worker_role else "service_role"
    result = run(make_plan(seed, seconds, lessons), Setup(role=role))
    print(text(result))
    if result.violations:
        return 1
    if options.write:
        promises.write(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
