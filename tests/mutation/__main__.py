"""`make mutants`: change the code, one place at a time, and see whether the tests find it."""

import os
import sys

from tests.mutation import hand_made, tool


def main() -> int:
    """Run all changes and print the score; return 1 if a change was not found."""
    processes = os.cpu_count() or 1
    mutants = hand_made.read_mutants()
    print(f"Trying {len(mutants)} changes made by hand, over some minutes ...", flush=True)
    lost = list(hand_made.survivors(mutants, processes))
    results, excused = tool.run(processes), tool.read_excused()
    missed, stale = tool.unexcused(results.missed, excused), tool.stale(results.missed, excused)
    _print_score(results, len(results.missed) - len(missed))
    print(f"By hand: {len(mutants) - len(lost)} of {len(mutants)} found.")
    for mutant in lost:
        print(f"Not found, in {mutant.file}: {mutant.breaks}\n    {mutant.becomes!r}")
    for change in missed:
        print(f"Not found, in {change.function}:\n    {change.becomes}")
    for change in stale:
        print(f"Excused without need, in {change.function}:\n    {change.becomes}")
    return 1 if lost or missed or stale else 0


def _print_score(results: tool.Results, excused: int) -> None:
    for module, made in sorted(results.made.items()):
        print(f"{module:32} {made:5} made {results.found[module]:5} found")
    made, found = results.made.total(), results.found.total()
    print(f"By mutmut: {found} of {made} found, {excused} excused: {found / (made - excused):.1%}.")


if __name__ == "__main__":
    sys.exit(main())
