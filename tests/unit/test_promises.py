import re

import pytest

from tests.chaos.promises import HEADS, PAGE, PROMISES, README, cited_tests


def block(text: str) -> str:
    """Return what `make chaos` has written into a page."""
    found = re.search(r"<!-- promises:.*?-->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_table_has_every_promise() -> None:
    """With its bound, its tests and a figure, as the code has them."""
    lines = [line for line in block(PAGE.read_text()).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == list(HEADS)
    expected = [
        [f"{p.number}. {p.text}.", p.bound, ", ".join(f"`{test}`" for test in p.tests)]
        for p in PROMISES
    ]
    assert [row[:3] for row in rows[2:]] == expected
    assert all(row[3] for row in rows[2:])


@pytest.mark.parametrize("test", sorted(cited_tests()))
def test_each_test_that_the_table_cites_exists(test: str) -> None:
    """A promise without its test is none."""
    assert cited_tests()[test].exists()


def test_the_readme_has_three_lines_of_it() -> None:
    """Those that matter most, each with a figure."""
    lines = block(README.read_text()).strip().splitlines()
    assert len(lines) == 3
    assert all(re.search(r"\d", line) for line in lines)
