"""docs/lessons.md: its commands are run for tables as it describes them."""

import os
import re
import shlex
from pathlib import Path

import pytest

from sandbox.supabase.stack import LocalSupabase
from tests import commands
from tests.sql.installing import SQL, run
from tests.sql.lesson_shapes import SHAPES, Shape, app_database
from worker.adapter.render import is_adapter
from worker.sql_files import sql_files

pytestmark = pytest.mark.stack

CHECKOUT = SQL.parent
PAGE = (CHECKOUT / "docs" / "lessons.md").read_text()


def commands_of_shapes() -> list[str]:
    """Return the commands of the table of shapes, in its order."""
    found = re.search(r"<!-- shapes:.*?-->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert found is not None
    return re.findall(r"\| `(mux-worker .*?)` \|$", found[1], re.MULTILINE)


def mux_worker(command: str, where: Path, **environment: str) -> str:
    """Run a command of the page as its reader does; return what it prints."""
    program, *arguments = shlex.split(command)
    assert program == "mux-worker"
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), **environment}
    done = commands.run(*arguments, env=variables, cwd=where)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("shape", "command"),
    list(zip(SHAPES, commands_of_shapes(), strict=True)),
    ids=[str(shape) for shape in SHAPES],
)
def test_a_command_is_what_fits_the_table(
    shared_supabase: LocalSupabase, tmp_path: Path, shape: Shape, command: str
) -> None:
    """--inspect prints it for such a table, and the adapter that it writes can be applied."""
    mux_worker(f"{command} --write {tmp_path}", tmp_path)
    adapter, before = adapter_and_before(tmp_path)
    with app_database(shared_supabase, shape) as dsn:
        inspected = mux_worker("mux-worker sql --inspect", tmp_path, DATABASE_URL=dsn)
        assert inspected.splitlines()[0] == command
        run(dsn, before)
        run(dsn, adapter)


def adapter_and_before(directory: Path) -> tuple[str, str]:
    """Return the migrations that are the adapter, and all that is applied before them."""
    scripts = [file.read_text() for file in sorted(directory.iterdir())]
    places = [number for number, file in enumerate(sql_files()) if is_adapter(file)]
    assert places == list(range(places[0], places[-1] + 1))
    return "".join(scripts[number] for number in places), "".join(scripts[: places[0]])


def test_the_options_of_the_page_are_those_of_the_command() -> None:
    """Each is explained, and no other."""
    explained = set(re.findall(r"`(--[a-z]+)", PAGE.split("## The options")[1]))
    helped = mux_worker("mux-worker sql --help", CHECKOUT)
    assert explained == set(re.findall(r"^  (--[a-z]+) ", helped, re.MULTILINE)) - {
        *("--write", "--inspect", "--optional", "--undo")
    }
