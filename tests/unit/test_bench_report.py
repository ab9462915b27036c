import re
from pathlib import Path

from worker.scan.sweep import INITIAL_PAGE_BUDGET, MAX_PAGE_BUDGET, SWEEP_ABOVE

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()
PAGE = (CHECKOUT / "docs" / "performance.md").read_text()
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
FIGURE = re.compile(r"\d[\d,.]*\d|\d")


def figures() -> str:
    """Return the README's section of figures."""
    found = re.search(r"\n## Figures\n(.*?)\n## ", README, re.DOTALL)
    assert found is not None
    return found[1]


def report() -> str:
    """Return what the bench wrote into the page."""
    found = re.search(r"<!-- bench:.*?-->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Read the rows of all tables as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_readme_shows_what_was_measured() -> None:
    """Each of its four figures is one that the bench wrote, word for word."""
    head, line, *shown = rows(figures())
    written = [row[:3] for row in rows(report())]
    assert [row for row in [head, *shown] if row not in written] == []
    assert (len(shown), set(line)) == (4, {"---"})


def test_no_figure_about_costs_comes_from_elsewhere() -> None:
    """What the README says around the table holds no number that the bench did not write."""
    prose = "\n".join(line for line in figures().splitlines() if not line.startswith("| "))
    measured = set(FIGURE.findall(report()))
    assert [figure for figure in FIGURE.findall(prose) if figure not in measured] == []


def test_every_chart_is_there_and_shown() -> None:
    """The report shows charts that exist, and none lies about unused."""
    shown = {(CHECKOUT / "docs" / path).resolve() for path in PICTURE.findall(report())}
    assert shown == set((CHECKOUT / "docs" / "bench").resolve().iterdir())


def test_the_thresholds_are_the_ones_that_were_chosen() -> None:
    """The page gives reasons for the very numbers that the code has."""
    choice = (
        f"`SWEEP_ABOVE = {SWEEP_ABOVE}`, `INITIAL_PAGE_BUDGET = {INITIAL_PAGE_BUDGET}`, "
        f"`MAX_PAGE_BUDGET = {MAX_PAGE_BUDGET}`"
    )
    assert choice in PAGE
