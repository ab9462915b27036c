"""The table of docs/promises.md: each promise, its bound, its tests, and what was measured.

`make chaos` writes the table; what other tests hold has their names in place of a figure.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.writing import replace_block, table
from sandbox.checkout import CHECKOUT
from tests.chaos.report import percentile
from tests.chaos.run import BOUNDS, Result
from tests.chaos.verdict import Kind, Recovery

PAGE = CHECKOUT / "docs" / "promises.md"
README = CHECKOUT / "README.md"
HEADS = ("Promise", "Bound", "Held by", "Last run")
NOT_MEASURED = "passes with `make test`"
RULE_OF_THREE = 3
"""No failure in n cases: at 95 % confidence fewer than 3/n of all cases fail."""

Tests = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Promise:
    """One row of the table; `number` is where the page and the README refer to it."""

    number: int
    text: str
    bound: str
    tests: Tests


CHAOS = "tests/chaos/test_chaos.py"
CRASH_SITES = "tests/e2e/test_crash_sites.py"

PROMISES = (
    Promise(
        1,
        "No lesson is lost. Whatever dies, and whenever, each lesson whose video is ready is "
        "published, and each row ends in the state that Mux's answer asks for",
        f"{BOUNDS.tracked_seconds:.0f} s after the fault ends, with the intervals of the run; "
        f"{BOUNDS.adopted_seconds:.0f} s if the app did not track the upload",
        (CHAOS, CRASH_SITES, "tests/e2e/test_supabase_faults.py"),
    ),
    Promise(
        2,
        "A lesson is published once, with the right ids: no temporary id, no video of an upload "
        "that was replaced, no video of another lesson",
        "0 published twice, 0 with a wrong id, 0 changed in part",
        (CHAOS, "tests/sql/test_newest_upload_property.py", "tests/properties"),
    ),
    Promise(
        3,
        "A transient fault fails no lesson: refused credentials for an hour, Mux down for a day, "
        "unreadable answers for an afternoon, or one id that never gets an answer",
        "0 failed",
        (CHAOS, "tests/e2e/test_mux_outages.py", "tests/e2e/test_one_bad_id.py"),
    ),
    Promise(
        4,
        "After `kill -9` another replica has the row. After SIGTERM everything is handed back at "
        "once, and the process ends, also if its peers hang",
        "`LEASE_SECONDS`, one interval and 1 s; `SHUTDOWN_SECONDS`",
        (CHAOS, "tests/e2e/test_two_workers.py", "tests/e2e/test_process.py"),
    ),
    Promise(
        5,
        "Health tells the truth: `/readyz` about Supabase, the schema and the credentials, "
        "`/healthz` about the scans",
        "`/readyz`: two intervals; when what only an operator can end has ended, the next try: a "
        "minute, for Mux's token five. `/healthz`: 166 s without progress",
        ("tests/e2e/test_health.py", "tests/unit/telemetry/test_liveness.py"),
    ),
    Promise(
        6,
        "All replicas together send no more requests to Mux than allowed, and none before the end "
        "of a pause that Mux asked for",
        "at most 5 sent in any second, unless three reservations in a row are answered over 0.25 s "
        "late; one more arrives for each that is held up on its way. Requests reserved before the "
        "pause come within 1.5 s",
        (
            CHAOS,
            "tests/unit/mux/test_rate_limit_of_workers.py",
            "tests/integration/mux/test_shared_rate_limit.py",
        ),
    ),
    Promise(
        7,
        "A worker that meets a schema it must not use says which file to apply, and touches "
        "nothing",
        "at its start, and every minute",
        ("tests/e2e/test_supabase_faults.py", "tests/sql/test_upgrade.py"),
    ),
    Promise(
        8,
        "No secret is in a log, an error, a page or a metric. Each log line is one JSON object",
        "8,000 bytes a line",
        (CHAOS, "tests/unit/telemetry/test_logs.py"),
    ),
    Promise(
        9,
        "Memory, descriptors and connections stay flat",
        "no slope beyond its error",
        ("tests/e2e/test_soak.py",),
    ),
    Promise(
        10,
        "50,000 unknown uploads of one instructor, or a backfill of 10,000 lessons, do not delay "
        "the ready lesson of another",
        "two intervals",
        ("tests/unit/scan/test_fairness.py", "tests/sql/test_schedule.py"),
    ),
)


def write(result: Result) -> None:
    """Write the table and the README's lines, from a run in which every promise was kept."""
    measured = figures(result)
    replace_block(PAGE, "promises", f"{rows(measured)}\n\n{origin(result)}")
    replace_block(README, "promises", readme_lines(result))


def rows(measured: dict[int, str]) -> str:
    """Return the table, with what was measured by the promise's number."""
    return table(
        HEADS,
        (
            (
                f"{promise.number}. {promise.text}.",
                promise.bound,
                ", ".join(f"`{test}`" for test in promise.tests),
                measured.get(promise.number, NOT_MEASURED),
            )
            for promise in PROMISES
        ),
    )


def figures(result: Result) -> dict[int, str]:
    """Return what a run measured of each promise."""
    lessons, stops = len(result.plan.stories), result.stop_seconds
    return {
        1: f"{_count(result, 'lost')} of {lessons:,} lost; {_spread(result.recoveries)}",
        2: f"{_count(result, 'duplicated')}, {_count(result, 'wrong')}, {_count(result, 'torn')} "
        f"of {result.published:,} publications",
        3: f"{_count(result, 'lost')} of {lessons:,} lessons, {len(result.happened)} faults",
        4: f"{_after_kill(result.recoveries)}; stopped within {max(stops, default=0):.2f} s "
        f"({len(stops)} times)",
        6: f"{_count(result, 'budget')} in {result.requests:,} requests",
        8: f"{_count(result, 'secret')} in {result.log_lines:,} lines",
    }


def origin(result: Result) -> str:
    """Return where the figures are from, and what their number proves."""
    faults, lessons = len(result.happened), len(result.plan.stories)
    return (
        f"From {datetime.now(UTC).date()}, seed {result.plan.seed}: {faults} faults in "
        f"{result.plan.seconds:.0f} s, {lessons:,} lessons, {result.plan.replicas} replicas, "
        f"Python {platform.python_version()}. No broken promise in {faults} faults means "
        f"fewer than {_share(faults)} of such faults break one, and none in {lessons:,} lessons "
        f"fewer than {_share(lessons)} of lessons, at 95 % confidence."
    )


def readme_lines(result: Result) -> str:
    """Return the three lines of the README."""
    lessons, faults = len(result.plan.stories), len(result.happened)
    kinds: tuple[Kind, ...] = ("duplicated", "wrong", "torn")
    bad = sum(_count(result, kind) for kind in kinds)
    lost = f"{_count(result, 'lost')} of {lessons:,} in {faults} faults"
    within = f"{result.plan.seconds:.0f} s; {_spread(result.recoveries)}"
    over = f"{_count(result, 'budget')} times exceeded in {result.requests:,} requests"
    return (
        f"* **No lesson is lost**: {lost} within {within}.\n"
        f"* **Published once, with the right ids**: {bad} of {result.published:,} publications "
        "were repeated, wrong or torn.\n"
        f"* **Mux's limit is kept** by all replicas together: {over}."
    )


def _count(result: Result, kind: Kind) -> int:
    return sum(violation.kind == kind for violation in result.violations)


def _spread(found: Sequence[Recovery]) -> str:
    seconds = [recovery.seconds for recovery in found if not recovery.is_adopted]
    if not seconds:
        return "none published"
    values = (percentile(seconds, 0.5), percentile(seconds, 0.99), max(seconds))
    return "published after p50, p99, most {:.1f}, {:.1f}, {:.1f} s".format(*values)


def _after_kill(found: Sequence[Recovery]) -> str:
    seconds = [r.seconds for r in found if "kill" in r.after and not r.is_adopted]
    if not seconds:
        return "no lesson waited in a kill"
    return f"{len(seconds)} lessons waited in a kill, {max(seconds):.1f} s at most"


def _share(cases: int) -> str:
    return f"{100 * RULE_OF_THREE / max(cases, RULE_OF_THREE):.2g} %"


def cited_tests() -> dict[str, Path]:
    """Return the file of each test that the table cites."""
    return {test: CHECKOUT / test for promise in PROMISES for test in promise.tests}
