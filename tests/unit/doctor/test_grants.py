import re
from pathlib import Path
from typing import Any

import pytest

from worker.doctor import grants
from worker.doctor.checks import REAPPLY, REAPPLY_ROLE, Check

SQL = Path(__file__).parents[3] / "sql"


def function(name: str, **more: Any) -> dict[str, Any]:
    """Describe a function that is granted as it should be."""
    granted = {"anon": False, "authenticated": False, "service_role": True, "mux_worker": True}
    facts = {"name": name, "is_for_app": False, "is_trigger": False, "others": []}
    return {**facts, **granted, **more}


def app_function(name: str, **more: Any) -> dict[str, Any]:
    """Describe a function of the app that is granted as it should be."""
    granted = {"service_role": False, "authenticated": name in grants.OPEN_TO_APP}
    granted |= {"mux_worker": False}
    return function(name, is_for_app=True, **{**granted, **more})


def ownerless(name: str, **more: Any) -> dict[str, Any]:
    """Describe a function of the app that is granted as it should be without owners."""
    granted = {"service_role": name in grants.OPEN_WITHOUT_OWNER, "authenticated": False}
    return app_function(name, **{**granted, **more})


def without(name: str, functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give all functions but the one of that name."""
    return [f for f in functions if f["name"] != name]


APP_FUNCTIONS = [app_function(name) for name in (*sorted(grants.OPEN_TO_APP), "app_asset")]
ALL_FUNCTIONS = [function(name) for name in sorted(grants.NEEDED_FUNCTIONS)]


def verdict(check: Check) -> tuple[str, str]:
    """Give how a check went and what it saw."""
    return check.health, check.detail


def test_the_functions_that_are_looked_for_are_those_that_sql_makes() -> None:
    """A function added to sql/ is not forgotten by the check of the functions."""
    text = "\n".join(path.read_text() for path in SQL.glob("*.sql"))
    made = set(re.findall(r"create or replace function public\.(worker_\w+)", text))
    assert made == grants.NEEDED_FUNCTIONS


def test_the_apps_functions_that_are_looked_for_are_those_that_sql_opens() -> None:
    """Each that is granted to signed-in users, and no other; what runs with their own rights."""
    text = "\n".join(path.read_text() for path in SQL.glob("*.sql"))
    granted = "".join(re.findall(r"grant execute on function([^;]*?)\s+to authenticated;", text))
    assert set(re.findall(r"\.(\w+)", granted)) == grants.OPEN_TO_APP | grants.CALLED_AS_USER


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        (ALL_FUNCTIONS, ("ok", "all 27 are for service_role alone")),
        ([*ALL_FUNCTIONS, *APP_FUNCTIONS], ("ok", "all 27 are for service_role alone")),
        (
            [*ALL_FUNCTIONS, function("note", is_trigger=True, service_role=False)],
            ("ok", "all 28 are for service_role alone"),
        ),
        (
            [
                function("worker_claim", service_role=False),
                *without("worker_acquire_requests", without("worker_claim", ALL_FUNCTIONS)),
            ],
            ("failed", "missing: worker_acquire_requests; closed to service_role: worker_claim"),
        ),
        (
            [*ALL_FUNCTIONS, function("tracks", authenticated=True)],
            ("failed", "open to browsers: tracks"),
        ),
        (
            [*ALL_FUNCTIONS, function("tracks", others=["reporter", "auditor"])],
            ("warning", "open to auditor, reporter too: tracks"),
        ),
    ],
)
def test_functions_must_be_there_and_for_the_service_role(
    functions: list[dict[str, Any]], expected: tuple[str, str]
) -> None:
    """Triggers need no grant; a grant to a role of the DBA's own is only worth a warning."""
    facts = {"functions": functions, "functions_of_the_app": [], "role": "service_role"}
    assert verdict(grants.check_functions(facts)) == expected


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        (ALL_FUNCTIONS, ("ok", "all 27 are for service_role and mux_worker alone")),
        (
            [*without("worker_claim", ALL_FUNCTIONS), function("worker_claim", mux_worker=False)],
            ("failed", "closed to mux_worker: worker_claim"),
        ),
    ],
)
def test_or_for_the_workers_own_role(
    functions: list[dict[str, Any]], expected: tuple[str, str]
) -> None:
    """With a key of that role, its grants count, and another file makes them."""
    facts = {"functions": functions, "functions_of_the_app": [], "role": "mux_worker"}
    check = grants.check_functions(facts)
    assert verdict(check) == expected
    assert check.advice == ("" if check.health == "ok" else REAPPLY_ROLE)


def test_a_function_of_the_app_by_our_name_fails_with_what_to_do() -> None:
    """PostgREST could not tell it from ours; the files applied again would stop at it."""
    facts = {
        "functions": ALL_FUNCTIONS,
        "functions_of_the_app": ["publish_lesson(text)"],
        "role": "service_role",
    }
    check = grants.check_functions(facts)
    assert verdict(check) == (
        "failed",
        "created by the app with a name of the worker's: publish_lesson(text)",
    )
    assert check.advice == f"{grants.RENAME} {REAPPLY}"


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        ([*ALL_FUNCTIONS, *APP_FUNCTIONS], ("ok", "the app's three are for signed-in users")),
        (
            ALL_FUNCTIONS,
            (
                "warning",
                "the database has none of track_upload, check_asset_status, publish_lesson",
            ),
        ),
        (
            [
                *without("app_publish", without("track_upload", APP_FUNCTIONS)),
                app_function("app_publish", authenticated=False),
            ],
            ("failed", "missing: track_upload; closed to authenticated: app_publish"),
        ),
        (
            [ownerless(f["name"]) for f in APP_FUNCTIONS],
            ("ok", "track_upload is for service_role, since lessons have no owner"),
        ),
        (
            [
                *without("app_lock_lesson", [ownerless(f["name"]) for f in APP_FUNCTIONS]),
                ownerless("app_lock_lesson", service_role=False),
            ],
            ("failed", "closed to service_role: app_lock_lesson"),
        ),
        (
            [*APP_FUNCTIONS[1:], app_function(APP_FUNCTIONS[0]["name"], authenticated=False)],
            ("failed", f"closed to authenticated: {APP_FUNCTIONS[0]['name']}"),
        ),
        (
            [*without("track_upload", APP_FUNCTIONS), app_function("track_upload", anon=True)],
            ("failed", "open to anon: track_upload"),
        ),
        (
            [
                *APP_FUNCTIONS,
                app_function("app_x", authenticated=True),
                app_function("app_y", service_role=True),
            ],
            ("failed", "not closed: app_x, app_y"),
        ),
        (
            [
                *without("track_upload", APP_FUNCTIONS),
                app_function("track_upload", mux_worker=True),
            ],
            ("failed", "open to mux_worker: track_upload"),
        ),
        (
            [*APP_FUNCTIONS, app_function("app_x", others=["reporter"])],
            ("warning", "open to reporter too: app_x"),
        ),
    ],
)
def test_the_apps_functions_must_be_for_signed_in_users(
    functions: list[dict[str, Any]], expected: tuple[str, str]
) -> None:
    """What is behind them is closed to all; where there are none, the app may not need them."""
    check = grants.check_app_functions({"functions": functions})
    assert verdict(check) == expected
    assert (check.health == "ok") == (not check.advice)


def test_what_anon_may_do_is_listed_whole() -> None:
    """Tables, functions, and who may enter the private schema."""
    open_ = {
        "open_to_anon": ["public.mux_asset_tracking"],
        "functions": [function("worker_claim", anon=True), function("worker_settle")],
        "private_schema_open_to": ["authenticated"],
    }
    closed = {"open_to_anon": [], "functions": ALL_FUNCTIONS, "private_schema_open_to": []}
    granted = "public.mux_asset_tracking, worker_claim(), mux_private (authenticated)"
    assert verdict(grants.check_anon(open_)) == ("failed", f"has grants on {granted}")
    assert verdict(grants.check_anon(closed)) == ("ok", "can see and call nothing of the worker's")
