"""Who may do what with the database: found by trying, written as a table that a DBA can read.

    .venv/bin/python -m tests.sql.access_matrix

prints what is found in a new database, for tests/sql/access.txt, which is never written by itself.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from tests.sql.access_catalog import Catalog, Column, read_catalog
from tests.sql.access_trial import DONE, NO_ROW, REFUSED, WHO, Trial
from tests.sql.installing import apply_all
from tests.worker_role import ROLES, WORKER_ROLE_FILE

LEGEND = """\
Who may do what. Compared as a whole with what is found, see test_access_matrix.py.

anon          nobody is signed in
own           an instructor, with the rows of her own lesson
other         an instructor, with the rows of that lesson of somebody else
service_role  the worker
mux_worker    the worker with a role of its own, as optional/worker_role.sql makes it

yes  it is done    0  let through, but no row is reached    -  refused
In the lines of columns a letter is "yes": s(elect), i(nsert), u(pdate), r(eferences).

What the API reaches was tried by request, and the row looked at; truncate, references, trigger,
maintain, and all in mux_private are by the catalog, which knows no owners of rows. mux_private can
only be used by whom its usage is given to. Of lessons, only the worker's rights are made by sql/.
"""
OF_APP = "app"
BY_REQUEST = ("select", "insert", "delete")
BY_CATALOG = ("truncate", "references", "trigger", "maintain")


@contextmanager
def installed(
    *, default_grants: bool, shared_postgres: Path | None = None
) -> Iterator[LocalSupabase]:
    """Run a Supabase where the worker has no right on lessons but those that sql/ gives it."""
    with LocalSupabase(
        default_grants=default_grants, apply_sql=False, shared_postgres=shared_postgres
    ) as supabase:
        with supabase.connect() as db:
            db.execute("revoke all on lessons from service_role")
        apply_all(supabase.dsn())
        apply_sql(supabase.dsn(), [WORKER_ROLE_FILE])
        supabase.reload_schema()
        yield supabase


def found_matrix(supabase: LocalSupabase) -> str:
    """Try and look up everything; give the whole file."""
    with supabase.connect() as db:
        catalog = read_catalog(db)
    with Trial(supabase) as trial:
        matrix = _Matrix(catalog, trial)
        lines = [
            *matrix.tables(),
            "",
            *matrix.columns(),
            "",
            *matrix.functions(),
            "",
            *matrix.rights("sequences"),
            *matrix.rights("schemas"),
        ]
    head = _line("", "", WHO)
    return "\n".join([LEGEND, head, *lines, ""])


class _Matrix:
    """Gives the lines of each kind of object."""

    def __init__(self, catalog: Catalog, trial: Trial) -> None:
        self._catalog = catalog
        self._trial = trial

    def tables(self) -> Iterator[str]:
        """Give a line for each table and verb."""
        for table in self._catalog.tables("public"):
            for verb in BY_REQUEST:
                yield _line(f"public.{table}", verb, [self._cell(w, table, verb) for w in WHO])
            for verb in BY_CATALOG:
                cells = self._held("tables", table, verb)
                yield _line(f"public.{table}", verb, _masked(table, cells))
        for (name, right), _ in sorted(self._catalog.rights["tables"].items()):
            if name.startswith("mux_private."):
                yield _line(name, right, self._held("tables", name, right))

    def _cell(self, who: str, table: str, verb: str) -> str:
        if table == "lessons" and who not in ROLES:
            return OF_APP
        match verb:
            case "select":
                return self._trial.read(who, table)
            case "insert":
                return self._trial.insert(who, table)
            case _:
                return self._trial.delete(who, table)

    def columns(self) -> Iterator[str]:
        """Give a line for each column; for one of an enum, another for each of its labels."""
        for column in self._catalog.columns:
            name = f"{column.schema}.{column.table}.{column.column}"
            if column.schema == "public":
                for label in column.labels:
                    yield _line(f"{name} = {label}", "", self._tried(column, label))
                if not column.labels:
                    yield _line(name, "", self._tried(column))
            else:
                yield _line(name, "", self._looked_up(column))

    def _tried(self, column: Column, label: str = "") -> list[str]:
        refers = self._held("columns", f"{column.table}.{column.column}", "references")
        cells = []
        for who, may_refer in zip(WHO, refers, strict=True):
            if column.table == "lessons" and who not in ROLES:
                cells.append(OF_APP)
                continue
            cells.append(
                _letter("s", self._trial.read(who, column.table, column.column))
                + _letter("i", self._trial.insert(who, column.table, column, label))
                + _letter("u", self._trial.update(who, column, label))
                + _letter("r", may_refer)
            )
        return cells

    def _looked_up(self, column: Column) -> list[str]:
        name = f"{column.schema}.{column.table}.{column.column}"
        verbs = ("select", "insert", "update", "references")
        held = [self._held("columns", name, verb) for verb in verbs]
        return [
            "".join(_letter(verb[0], cell) for verb, cell in zip(verbs, cells, strict=True))
            for cells in zip(*held, strict=True)
        ]

    def functions(self) -> Iterator[str]:
        """Give a line for each function."""
        for function in self._catalog.functions:
            if function.schema == "public":
                cells = [self._trial.call(who, function) for who in WHO]
                yield _line(f"public.{function.signature}", "call", cells)
        for function in self._catalog.functions:
            if function.schema != "public":
                cells = self._held("functions", function.signature, "execute")
                yield _line(f"{function.schema}.{function.name}", "call", cells)

    def rights(self, kind: str) -> Iterator[str]:
        """Give a line for each right on the objects of a kind."""
        for name, right in sorted(self._catalog.rights[kind]):
            yield _line(name, right, self._held(kind, name, right))

    def _held(self, kind: str, name: str, right: str) -> list[str]:
        anon, user, own_role, service = (
            DONE if held else REFUSED for held in self._catalog.rights[kind][name, right]
        )
        return [anon, user, user, service, own_role]


def _masked(table: str, cells: list[str]) -> list[str]:
    return [*[OF_APP] * 3, *cells[3:]] if table == "lessons" else cells


def _letter(letter: str, cell: str) -> str:
    return {DONE: letter, NO_ROW: NO_ROW, REFUSED: REFUSED}.get(cell, f"({cell})")


def _line(name: str, verb: str, cells: list[str] | tuple[str, ...]) -> str:
    anon, own, other, service, own_role = cells
    row = f"{name:<52} {verb:<11} {anon:<6} {own:<6} {other:<6} {service:<12} {own_role}"
    return row.rstrip()


if __name__ == "__main__":
    with installed(default_grants=False) as fresh:
        sys.stdout.write(found_matrix(fresh))
