import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.prometheus_files import alerts, dashboard, queries
from worker.errors import MuxUnavailable
from worker.telemetry.metrics import Metrics

OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to every series."""

OF_HISTOGRAMS = re.compile(r"_(bucket|count|sum)$")


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Return the labels of every series that the worker exports, by its name."""
    metrics = Metrics(lambda: 1.0, lambda: 1.0)
    metrics.mux_answered("get_asset", "200")
    metrics.mux_retried(MuxUnavailable("timeout", "No answer."), 1, 0.5)
    metrics.rpc_ended("worker_claim", 0.1, "timeout")
    families = text_string_to_metric_families(metrics.text().decode())
    labels: dict[str, set[str]] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def parts(expression: Any) -> Iterator[Any]:
    """Yield an expression and all that it consists of."""
    yield expression
    inner = [getattr(expression, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for part in [*inner, *(getattr(expression, "args", None) or [])]:
        if part is not None:
            yield from parts(part)


def selectors(expression: Any) -> list[Any]:
    """Return what selects series in an expression."""
    return [part for part in parts(expression) if isinstance(part, promql_parser.VectorSelector)]


def grouped(expression: Any) -> set[str]:
    """Return the labels by which an expression itself sums up or joins."""
    modifier = getattr(expression, "modifier", None)
    matching = getattr(modifier, "matching", None)
    return {*(getattr(modifier, "labels", None) or ()), *(matching.labels if matching else ())}


EXPRESSIONS = [rule["expr"] for rule in alerts()] + [query.text for query in queries()]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_a_query_asks_for_what_the_worker_exports(text: str, exported: dict[str, set[str]]) -> None:
    """Every metric is exported, with the labels by which it is selected, summed up and joined."""
    expression = promql_parser.parse(text)
    assert selectors(expression)
    for part in parts(expression):
        names = {selector.name for selector in selectors(part)}
        assert names <= exported.keys()
        known = set[str]().union(OF_PROMETHEUS, *(exported[name] for name in names))
        assert grouped(part) <= known
    for selector in selectors(expression):
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= exported[selector.name] | OF_PROMETHEUS


@pytest.mark.parametrize(
    "text",
    [
        "sum(rate(mux_worker_outcome_total[5m]))",
        'max(mux_worker_lessons{state="error"})',
        "sum by (reason) (rate(mux_worker_mux_requests_total[5m]))",
        "mux_worker_lessons_due and on (version) mux_worker_lessons_due",
    ],
)
def test_a_query_for_anything_else_is_found(text: str, exported: dict[str, set[str]]) -> None:
    """A name, or a label that selects, sums up or joins, fails the test above."""
    with pytest.raises(AssertionError):
        test_a_query_asks_for_what_the_worker_exports(text, exported)


def test_the_dashboard_shows_every_metric(exported: dict[str, set[str]]) -> None:
    """Nothing is measured that no panel shows."""
    ours = {OF_HISTOGRAMS.sub("", name) for name in exported if name.startswith("mux_worker_")}
    shown = {
        OF_HISTOGRAMS.sub("", selector.name)
        for query in queries()
        for selector in selectors(promql_parser.parse(query.text))
    }
    assert {name for name in shown if name.startswith("mux_worker_")} == ours


def test_a_legend_names_labels_that_the_query_leaves() -> None:
    """`{{label}}` is one by which the query sums up, or the series' own."""
    for query in queries():
        named = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        expression = promql_parser.parse(query.text)
        left = set[str]().union(*(grouped(part) for part in parts(expression)))
        assert named <= left, query


def test_the_dashboard_is_whole() -> None:
    """Every panel has an id, words, the chosen data source, and a place of its own."""
    board = dashboard()
    panels = board["panels"]
    assert board["templating"]["list"][0]["name"] == "datasource"
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (column, row)
        for panel in panels
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) == 23
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith(".")
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
