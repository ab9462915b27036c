import re
from pathlib import Path

from worker.scan.sweep import INITIAL_PAGE_BUDGET, MAX_PAGE_BUDGET, SWEEP_ABOVE

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()
REPORT = (CHECKOUT / "docs" / "bench.md").read_text()
THRESHOLDS = (CHECKOUT / "docs" / "sweep.md").read_text()
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
FIGURE = re.compile(r"\d[\d,.]*\d|\d")


def costs() -> str:
    """Give the README's section about costs."""
    found = re.search(r"\n## What it costs\n(.*?)\n## ", README, re.DOTALL)
    assert found is not None
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Read the rows of all tables as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_readme_shows_what_was_measured() -> None:
    """Each row of the README's table of costs is one that the bench wrote, word for word."""
    shown = rows(costs())
    written = rows(REPORT)
    assert [row for row in shown if row not in written] == []
    assert 8 <= len(shown) <= 20


def test_no_figure_about_costs_comes_from_elsewhere() -> None:
    """What the README says around the table holds no number that the bench did not write."""
    prose = "\n".join(line for line in costs().splitlines() if not line.startswith("| "))
    measured = set(FIGURE.findall(REPORT))
    assert [figure for figure in FIGURE.findall(prose) if figure not in measured] == []


def test_every_picture_is_there_and_shown() -> None:
    """README and report show pictures that exist, and none lies about unused."""
    shown = {(CHECKOUT / path).resolve() for path in PICTURE.findall(costs())}
    shown |= {(CHECKOUT / "docs" / path).resolve() for path in PICTURE.findall(REPORT)}
    assert shown == set((CHECKOUT / "docs" / "bench").resolve().iterdir())


def test_the_thresholds_are_the_ones_that_were_chosen() -> None:
    """docs/sweep.md gives reasons for the very numbers that the code has."""
    choice = (
        f"`SWEEP_ABOVE = {SWEEP_ABOVE}`, `INITIAL_PAGE_BUDGET = {INITIAL_PAGE_BUDGET}`, "
        f"`MAX_PAGE_BUDGET = {MAX_PAGE_BUDGET}`"
    )
    assert choice in THRESHOLDS
