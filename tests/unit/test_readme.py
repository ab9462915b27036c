import ast
import re
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from worker.settings import Settings

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()
EVENT = re.compile(
    r"(worker|scan|backfill|adoption|lesson|mux|supabase|web|webhook|events)\.[a-z_]+"
)


def section(name: str) -> list[list[str]]:
    """Read the rows of one of the README's kept tables as lists of cells."""
    found = re.search(rf"<!-- {name}:.*?-->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert found is not None
    rows = [line for line in found[1].splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def shown(default: Any) -> str:
    """Write a default the way the table does."""
    if default is PydanticUndefined:
        return "required"
    if default in (None, ()):
        return ""
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_the_settings_table_is_the_code() -> None:
    """The README names every setting with its default and what it is, and no other."""
    expected = [
        [f"`{name.upper()}`", shown(field.default), field.description]
        for name, field in Settings.model_fields.items()
    ]
    assert section("settings") == expected


def test_the_events_table_is_the_code() -> None:
    """The README names every event that the code can log, and no other."""
    literals = {
        node.value
        for file in (CHECKOUT / "worker").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    logged = {text for text in literals if EVENT.fullmatch(text)}
    assert {row[0].strip("`") for row in section("events")} == logged


def test_every_event_says_what_it_means() -> None:
    """No row of the events table is left without a level and a meaning."""
    assert all(level and meaning for _, level, meaning, _ in section("events"))
