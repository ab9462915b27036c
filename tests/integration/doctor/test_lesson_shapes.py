"""What the doctor says of a database with another table of lessons than the sandbox's."""

from typing import Any

import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.sql.installing import run
from tests.sql.lesson_shapes import SHAPES, Shape, app_database
from tests.sql.test_lesson_shapes import parse
from worker.adapter.render import scripts
from worker.doctor import checks, grants
from worker.supabase.errors import REQUIRED_SCHEMA

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_doctor_finds_no_fault(shared_supabase: LocalSupabase, shape: Shape) -> None:
    """Whatever the table is called, whoever owns a lesson, and with or without a status."""
    with app_database(shared_supabase, shape) as dsn:
        for script in scripts(parse(shape.options)).values():
            run(dsn, script)
        with shared_supabase.connect("service_role", "shape") as service:
            row = service.execute("select worker_doctor()").fetchone()
            table = service.execute("select mux_private.lessons_table()::text").fetchone()
    facts: dict[str, Any] = row[0] if row else {}
    found = [
        checks.check_role(facts),
        checks.check_schema(facts, REQUIRED_SCHEMA),
        checks.check_objects(facts),
        checks.check_lessons(facts),
        grants.check_functions(facts),
        grants.check_app_functions(facts),
        grants.check_anon(facts),
    ]
    assert [check for check in found if check.health != "ok"] == []
    assert (facts["lessons"],) == table
    assert facts["lessons"] in found[3].detail
    assert ("service_role" in found[5].detail) is not shape.has_owner
