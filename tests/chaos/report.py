"""Write what a run came to: for the terminal, and for the page of the promises."""

import math
from collections import Counter
from collections.abc import Sequence

from tests.chaos.run import BOUNDS, Result
from tests.chaos.verdict import KINDS
from worker.project_key import WORKER_ROLE

SHOWN = 10
"""Violations of each kind that are printed."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def replay_command(result: Result) -> str:
    """Return the command that runs the same plan again."""
    plan = result.plan
    options = " --worker-role" if result.role == WORKER_ROLE else ""
    return (
        f"python -m tests.chaos --seed {plan.seed} --seconds {plan.seconds:g}"
        f" --lessons {len(plan.stories)}{options}"
    )


def text(result: Result) -> str:
    """Return the report for the terminal."""
    counts = Counter(violation.kind for violation in result.violations)
    lines = ["Faults:"]
    lines += [f"  {fault}" for fault in result.plan.faults]
    for kind in KINDS:
        shown = [v.text for v in result.violations if v.kind == kind][:SHOWN]
        lines += [f"{kind} {counts[kind]}", *(f"  {line}" for line in shown)]
    lines += ["", *_recovery_lines(result)]
    faults, lessons = len(result.happened), len(result.plan.stories)
    did = f"{lessons} lessons, {result.published} publications, {faults} faults"
    heard = f"{result.requests} requests to Mux, {result.webhooks} webhooks"
    lines += [f"{did}, {heard}, {result.seconds:.0f} s", f"Replay: {replay_command(result)}"]
    return "\n".join(lines)


def _recovery_lines(result: Result) -> list[str]:
    lines = []
    for name, is_adopted, bound in (
        ("tracked", False, BOUNDS.tracked_seconds),
        ("adopted", True, BOUNDS.adopted_seconds),
    ):
        seconds = [r.seconds for r in result.recoveries if r.is_adopted == is_adopted]
        if seconds:
            values = f"{percentile(seconds, 0.5):.1f}, {percentile(seconds, 0.99):.1f}"
            lines.append(
                f"{len(seconds)} lessons {name}: published after p50, p99, most "
                f"{values}, {max(seconds):.1f} s; the bound is {bound:.1f} s"
            )
    return [*lines, takeover_line(result)]


def takeover_line(result: Result) -> str:
    """Return how many rows were leased when a worker was killed, and what became of them."""
    seconds = [takeover.seconds for takeover in result.takeovers]
    if not seconds:
        return "no row was leased in a kill"
    return f"{len(seconds)} rows leased in a kill, had again after {max(seconds):.1f} s at most"
