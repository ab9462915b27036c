from typing import Any

import pytest

from worker.doctor import checks
from worker.doctor.checks import Check
from worker.model import Environment

HERE = Environment("env1", "Production", "production")
NOW = 86_400.0


def verdict(check: Check) -> tuple[str, str]:
    """Give how a check went and what it saw."""
    return check.health, check.detail


@pytest.mark.parametrize(
    ("pace", "expected"),
    [
        ((4, 60, 10), ("ok", "complete and without unusual values")),
        ((5, 20, 10), ("ok", "complete and without unusual values")),
        ((5.5, 60, 10), ("warning", "MUX_REQUESTS_PER_SECOND is 5.5, but Mux allows 5")),
        ((4, 19, 10), ("warning", "LEASE_SECONDS is 19, shorter than two Mux timeouts")),
        (
            (9, 5, 10),
            (
                "warning",
                (
                    "MUX_REQUESTS_PER_SECOND is 9, but Mux allows 5; "
                    "LEASE_SECONDS is 5, shorter than two Mux timeouts"
                ),
            ),
        ),
    ],
)
def test_odd_settings_are_all_told(
    pace: tuple[float, float, float], expected: tuple[str, str]
) -> None:
    """Each that is allowed and yet unwise, at once."""
    assert verdict(checks.check_pace(*pace)) == expected


@pytest.mark.parametrize(
    ("role", "passes", "expected"),
    [
        ("service_role", True, ("ok", "accepted, belongs to the role service_role")),
        ("anon", False, ("failed", "belongs to the role anon")),
        ("service_role", False, ("failed", "service_role is subject to row level security")),
    ],
)
def test_the_key_must_be_of_the_service_role(
    role: str, passes: bool, expected: tuple[str, str]
) -> None:
    """And that role must pass row level security, or it sees no lesson."""
    facts = {"role": role, "passes_row_security": passes}
    assert verdict(checks.check_role(facts, None, NOW)) == expected


@pytest.mark.parametrize(
    ("excess", "expected"),
    [
        ([], ("ok", "accepted, belongs to the role mux_worker")),
        (
            ["may log in", "is a member of anon"],
            (
                "warning",
                "belongs to the role mux_worker, which may log in, and is a member of anon",
            ),
        ),
    ],
)
def test_or_of_the_workers_own_role(excess: list[str], expected: tuple[str, str]) -> None:
    """That has policies instead, and is worth having only if it has no more rights."""
    facts = {"role": "mux_worker", "passes_row_security": False, "role_excess": excess}
    assert verdict(checks.check_role(facts, None, NOW)) == expected


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (31, ("ok", "accepted, belongs to the role service_role")),
        (29, ("warning", "belongs to the role service_role, and expires on 1970-01-31")),
    ],
)
def test_a_key_that_expires_soon_is_warned_of(days: int, expected: tuple[str, str]) -> None:
    """A month before, so that there is time to make another."""
    facts = {"role": "service_role", "passes_row_security": True}
    assert verdict(checks.check_role(facts, NOW + days * 86_400, NOW)) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (7, ("ok", "version 7 of sql/ is applied")),
        (8, ("ok", "version 8 of sql/ is applied")),
        (6, ("failed", "version 6 of sql/ is applied, and this worker needs version 7")),
    ],
)
def test_an_older_schema_fails_and_a_newer_one_does_not(
    version: int, expected: tuple[str, str]
) -> None:
    """A database may be ahead of the worker, as in every deploy, but not behind it."""
    check = checks.check_schema({"schema_version": version, "missing_files": []}, 7)
    assert verdict(check) == expected


def test_a_file_that_was_left_out_is_named() -> None:
    """The database has no version then."""
    facts = {"schema_version": None, "missing_files": ["003_c", "900_last"]}
    check = checks.check_schema(facts, 7)
    assert verdict(check) == ("failed", "sql/ is applied without 003_c.sql, 900_last.sql")


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        (None, ("skipped", "there is no mux_asset_tracking")),
        ((0, 0, True), ("ok", "has what waits and nothing else")),
        (
            (2, 0, True),
            ("warning", "2 rows of mux_asset_tracking wait and are not in the schedule"),
        ),
        (
            (2, 3, False),
            (
                "warning",
                (
                    "at least 2 rows of mux_asset_tracking wait and are not in the schedule; "
                    "at least 3 rows of the schedule belong to no waiting row"
                ),
            ),
        ),
    ],
)
def test_what_is_missing_in_the_schedule_is_counted(
    gaps: tuple[int, int, bool] | None, expected: tuple[str, str]
) -> None:
    """A worker mends it by itself, so it is a warning."""
    names = ("unscheduled", "unneeded", "is_complete")
    facts = {"schedule": dict(zip(names, gaps, strict=True)) if gaps else None}
    assert verdict(checks.check_schedule(facts)) == expected


@pytest.mark.parametrize(
    ("differences", "has_snapshot", "expected"),
    [
        ([], True, ("ok", "are as sql/ created them")),
        ([], False, ("skipped", "there is no snapshot to compare")),
        (["index a is missing", "b"], True, ("failed", "index a is missing; b")),
        (
            [str(n) for n in range(14)],
            True,
            ("failed", "; ".join([*map(str, range(12)), "and 2 more"])),
        ),
    ],
)
def test_what_differs_from_what_sql_made_is_named(
    differences: list[str], *, has_snapshot: bool, expected: tuple[str, str]
) -> None:
    """Each difference, up to a dozen."""
    facts = {"differences": differences, "has_snapshot": has_snapshot}
    assert verdict(checks.check_objects(facts)) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ("ok", "app.videos has all needed columns, and can be written")),
        ({"lessons_problems": ["one", "two"]}, ("failed", "app.videos: one; two")),
        (
            {"lessons_denied": "permission denied for table videos"},
            (
                "failed",
                (
                    "service_role cannot read app.videos or write its ids: "
                    "permission denied for table videos"
                ),
            ),
        ),
        (
            {"lessons_hidden": ["no policy lets mux_worker read all rows"]},
            ("failed", "app.videos: no policy lets mux_worker read all rows"),
        ),
    ],
)
def test_lessons_must_have_what_is_needed(facts: dict[str, Any], expected: tuple[str, str]) -> None:
    """What the database says of the table, the grants and the policies."""
    good = {"lessons": "app.videos", "role": "service_role", "lessons_problems": []}
    nothing = {"lessons_denied": None, "lessons_hidden": None}
    assert verdict(checks.check_lessons({**good, **nothing, **facts})) == expected


@pytest.mark.parametrize(
    ("role", "advice"),
    [("service_role", checks.REAPPLY), ("mux_worker", checks.REAPPLY_ROLE)],
)
def test_the_advice_for_lessons_is_for_the_role_of_the_key(role: str, advice: str) -> None:
    """Another file grants what the worker's own role needs."""
    facts = {"lessons": "lessons", "lessons_problems": [], "lessons_denied": "no", "role": role}
    assert checks.check_lessons(facts).advice == advice


@pytest.mark.parametrize(
    ("doubts", "expected"),
    [
        ([], ("ok", "name nothing that mux_worker has no right to")),
        (["trigger a may not read b", "c"], ("warning", "trigger a may not read b; c")),
    ],
)
def test_what_the_apps_triggers_may_not_do_is_warned_of(
    doubts: list[str], expected: tuple[str, str]
) -> None:
    """Only the trigger itself shows whether it gets there."""
    facts = {"trigger_doubts": doubts, "role": "mux_worker"}
    assert verdict(checks.check_triggers(facts)) == expected


def test_a_table_of_lessons_that_is_gone_has_no_name() -> None:
    """The database knows none where there is no table."""
    facts = {"lessons": None, "lessons_problems": ["it does not exist"]}
    assert verdict(checks.check_lessons(facts)) == ("failed", "the table: it does not exist")


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (
            {"lessons": True, "mux_asset_tracking": True, "mux_asset_events": True},
            ("ok", "is on for app.videos and all 2 of the worker's"),
        ),
        (
            {"lessons": False, "mux_asset_tracking": True, "mux_asset_events": False},
            ("failed", "is off on app.videos, mux_asset_events"),
        ),
        ({"lessons": True, "mux_asset_tracking": True}, ("failed", "there is no mux_asset_events")),
    ],
)
def test_every_table_must_be_there_and_protected(
    tables: dict[str, bool], expected: tuple[str, str]
) -> None:
    """A table that is gone is not one that is protected."""
    facts = {"row_level_security": tables, "lessons": "app.videos"}
    assert verdict(checks.check_row_security(facts)) == expected


@pytest.mark.parametrize(
    ("here", "expected"),
    [
        (1000.0, ("ok", "differs from the database's by 0.0 s")),
        (970.0, ("ok", "differs from the database's by 30.0 s")),
        (969.0, ("warning", "differs from the database's by 31 s")),
        (4600.0, ("warning", "differs from the database's by 3600 s")),
    ],
)
def test_a_clock_half_a_minute_off_is_warned_of(here: float, expected: tuple[str, str]) -> None:
    """In either direction."""
    assert verdict(checks.check_clock({"database_time": 1000.0}, here)) == expected


@pytest.mark.parametrize(
    ("home", "known", "asked", "expected"),
    [
        (None, 0, 0, ("ok", "; there is no upload to look up yet")),
        ("env1", 0, 0, ("ok", "; there is no upload to look up yet")),
        ("env1", 2, 3, ("ok", " knows 2 of the last 3 uploads")),
        (None, 0, 3, ("failed", " knows none of the tracked ids")),
        ("env2", 0, 3, ("failed", " knows none of the tracked ids")),
        ("env1", 0, 3, ("warning", " knows none of the last 3 uploads, but knew earlier ones")),
        ("env2", 1, 3, ("warning", "; ids were last found in env2")),
        ("env2", 0, 0, ("warning", "; ids were last found in env2")),
    ],
)
def test_the_environment_is_judged_by_what_it_knows(
    home: str | None, known: int, asked: int, expected: tuple[str, str]
) -> None:
    """Where ids were found before, videos that are gone were deleted; elsewhere it is another."""
    check = checks.check_environment(HERE, home, known, asked)
    health, seen = expected
    assert verdict(check) == (health, f"Production (production, env1){seen}")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ((None, None), ("skipped", "Mux did not report it")),
        (("5", "4"), ("ok", "4 of 5 left")),
        (("5", "0"), ("warning", "no requests left of 5")),
    ],
)
def test_an_exhausted_limit_is_warned_of(
    limit: tuple[str | None, str | None], expected: tuple[str, str]
) -> None:
    """By Mux's own headers, where it sends them."""
    assert verdict(checks.check_rate_limit(*limit)) == expected


def test_secrets_and_control_characters_are_taken_out() -> None:
    """Also where one secret is the beginning of another, in what was seen and in the advice."""
    check = Check("Mux token", "failed", "got hush-hush\x1b[2J", "not hush\r")
    cleaned = check.without(["hush", "", "hush-hush"])
    assert cleaned == Check("Mux token", "failed", "got ***\\u{001b}[2J", "not ***\\u{000d}")
