"""Every table, column and function, every verb, every role: who may do what, and who may not."""

import difflib
from pathlib import Path

import pytest

from tests.sql.access_matrix import found_matrix, installed

pytestmark = pytest.mark.stack

EXPECTED = Path(__file__).parent / "access.txt"


@pytest.mark.parametrize("default_grants", [False, True], ids=["closed", "open"])
def test_everybody_may_do_exactly_what_is_written_down(
    default_grants: bool, shared_postgres: Path
) -> None:
    """Whether new objects are granted to nobody by default, or to all, as Supabase used to.

    A new column, table or function fails this until access.txt says what may be done with it.
    After a change that is meant, print what is found, read it, and put it there:

        .venv/bin/python -m tests.sql.access_matrix > tests/sql/access.txt
    """
    with installed(default_grants=default_grants, shared_postgres=shared_postgres) as supabase:
        found = found_matrix(supabase)
    lines = EXPECTED.read_text().splitlines(), found.splitlines()
    differences = list(difflib.unified_diff(*lines, "access.txt", "found", n=0, lineterm=""))
    assert not differences, "\n".join(differences)
