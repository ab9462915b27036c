import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from pydantic_core import PydanticUndefined

from worker.cli.main import build_parser
from worker.settings import Settings
from worker.telemetry.metrics import Metrics

CHECKOUT = Path(__file__).parents[2]
README = CHECKOUT / "README.md"
DOCS = CHECKOUT / "docs"
PAGES = [
    README,
    CHECKOUT / "SECURITY.md",
    *sorted(DOCS.glob("*.md")),
    CHECKOUT / "sql" / "README.md",
]
EVENT = re.compile(
    r"(worker|scan|backfill|adoption|lesson|mux|supabase|web|webhook|events)\.[a-z_]+"
)
COMMAND = re.compile(r"^ *mux-worker ([^>\n]+)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
LARGEST_PICTURE_BYTES = 200_000


def section(page: str, name: str) -> list[list[str]]:
    """Read the rows of one of a page's kept tables as lists of cells."""
    text = (DOCS / page).read_text()
    found = re.search(rf"<!-- {name}:.*?-->\n(.*?)<!-- end -->", text, re.DOTALL)
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
    if isinstance(default, bool):
        return f"`{default}`".lower()
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def anchors(page: Path) -> set[str]:
    """List the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_settings_table_is_the_code() -> None:
    """The page names every setting with its default and what it is, and no other."""
    expected = [
        [f"`{name.upper()}`", shown(field.default), field.description]
        for name, field in Settings.model_fields.items()
    ]
    assert section("configuration.md", "settings") == expected


def test_the_readme_names_the_required_settings() -> None:
    """Its table has those without which the worker does not start, and no other."""
    rows = re.findall(r"^ *\| (`[A-Z_]+`.*?) \|", README.read_text(), re.MULTILINE)
    required = [name.upper() for name, f in Settings.model_fields.items() if f.is_required()]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == required


def test_the_events_table_is_the_code() -> None:
    """The page names every event that the code can log, and no other."""
    literals = {
        node.value
        for file in (CHECKOUT / "worker").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    logged = {text for text in literals if EVENT.fullmatch(text)}
    events = [row[0].strip("`") for row in section("operations.md", "events")]
    assert set(events) == logged
    assert len(events) == len(logged)


def test_every_event_says_what_it_means() -> None:
    """No row of the events table is left without a level and a meaning."""
    rows = section("operations.md", "events")
    assert all(level and meaning for _, level, meaning, _ in rows)


def test_the_metrics_table_is_the_code() -> None:
    """The page names every metric of ours with its type, labels and help, in the code's order."""
    ours = [
        metric
        for metric in Metrics(lambda: None, lambda: None).registry._collector_to_names
        if isinstance(metric, MetricWrapperBase)
    ]
    assert section("operations.md", "metrics") == [
        [
            f"`{metric._name}{'_total' if metric._type == 'counter' else ''}`",
            metric._type,
            ", ".join(f"`{label}`" for label in metric._labelnames),
            metric._documentation,
        ]
        for metric in ours
    ]


def test_the_alerts_table_is_the_rules() -> None:
    """The page has each rule with what it means and what to do."""
    (group,) = yaml.safe_load((CHECKOUT / "deploy" / "alerts.yml").read_text())["groups"]
    assert section("operations.md", "alerts") == [
        [f"`{rule['alert']}`", *(rule["annotations"][part] for part in ("summary", "action"))]
        for rule in group["rules"]
    ]


def test_every_command_line_is_understood() -> None:
    """Each command that stands on a line of its own has the options that it is shown with."""
    lines = [line for page in PAGES for line in COMMAND.findall(page.read_text())]
    assert {shlex.split(line)[0] for line in lines} >= {"run", "status", "publish", "retry"}
    for line in lines:
        assert callable(build_parser().parse_args(shlex.split(line)).run)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of ours names one that is there, and a heading that it has."""
    for link in LINK.findall(page.read_text()):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def test_every_page_is_reached_from_the_readme() -> None:
    """The README links to each page of docs/."""
    linked = {link.partition("#")[0] for link in LINK.findall(README.read_text())}
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= linked


def test_every_picture_is_shown_and_small() -> None:
    """docs/images has what the pages show, and nothing that takes long to load."""
    links = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
    }
    pictures = set((DOCS / "images").resolve().iterdir())
    assert pictures <= links
    assert all(picture.stat().st_size < LARGEST_PICTURE_BYTES for picture in pictures)
