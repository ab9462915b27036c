"""Reads what functions consist of, with Postgres's own parser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from pglast import ast, parse_plpgsql, parse_sql
from pglast.visitors import Visitor

from tests.sql.installing import OF_THE_APP

OURS = f"""
    select p.oid::regprocedure::text, l.lanname::text, pg_get_functiondef(p.oid)
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
      and p.proname not in {OF_THE_APP}""".encode()

DYNAMIC = {"PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors", "dynquery"}
"""What the parser calls statements that are put together as they run."""

STATEMENT, EXPRESSION = 0, 2
"""The parser's modes; those above are assignments, and 1 is a type."""


@dataclass
class Body:
    """What a function does to which tables, and what it calls."""

    without_where: list[str] = field(default_factory=list)
    """Verb and table of each UPDATE and DELETE that would reach every row."""

    dynamic: list[str] = field(default_factory=list)
    """Statements that nothing can read before they run."""

    tables: set[str] = field(default_factory=set)
    """Tables that are named, those of pg_catalog by their schema, and names of CTEs."""

    calls: set[str] = field(default_factory=set)
    """Names of functions, without their schema."""


def bodies(db: psycopg.Connection) -> dict[str, Body]:
    """Read all functions of ours, triggers' among them."""
    return {name: read(language, source) for name, language, source in db.execute(OURS).fetchall()}


def read(language: str, source: str) -> Body:
    """Read a function as `pg_get_functiondef` writes it."""
    body = Body()
    create: Any = parse_sql(source)[0].stmt
    match language:
        case "sql" if create.sql_body is not None:
            _Reader(body)(create.sql_body)
        case "sql":
            (text,) = next(option.arg for option in create.options if option.defname == "as")
            _Reader(body)(parse_sql(text.sval))
        case "plpgsql":
            # The parser knows no types outside public; names are all that is of interest here.
            parsed = parse_plpgsql(source.replace("mux_private.", "public."))
            for text in _texts(parsed, body):
                _Reader(body)(parse_sql(text))
        case _:
            raise AssertionError(f"cannot read functions of language {language}")
    return body


def _texts(node: Any, body: Body) -> Iterator[str]:
    """Give every statement and expression in plpgsql's tree as a statement of SQL."""
    if isinstance(node, list):
        for part in node:
            yield from _texts(part, body)
    elif isinstance(node, dict):
        body.dynamic += sorted(node.keys() & DYNAMIC)
        if "parseMode" in node:
            yield _as_sql(node["query"], node["parseMode"])
        for part in node.values():
            yield from _texts(part, body)


def _as_sql(text: str, mode: int) -> str:
    if mode == STATEMENT:
        return text
    return "select " + (text if mode == EXPRESSION else re.sub(r"^[^=]*=", "", text))


class _Reader(Visitor):
    """Notes what a statement does, CTEs and subqueries included."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self._body = body

    def visit_UpdateStmt(self, _: object, node: ast.UpdateStmt) -> None:  # noqa: N802  # pglast's
        self._need_where("update", node)

    def visit_DeleteStmt(self, _: object, node: ast.DeleteStmt) -> None:  # noqa: N802
        self._need_where("delete", node)

    def _need_where(self, verb: str, node: Any) -> None:
        if node.whereClause is None:
            self._body.without_where.append(f"{verb} {node.relation.relname}")

    def visit_RangeVar(self, _: object, node: ast.RangeVar) -> None:  # noqa: N802
        schema = "pg_catalog." if node.schemaname == "pg_catalog" else ""
        self._body.tables.add(f"{schema}{node.relname}")

    def visit_FuncCall(self, _: object, node: Any) -> None:  # noqa: N802
        self._body.calls.add(node.funcname[-1].sval)
