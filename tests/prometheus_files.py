"""Read the Prometheus rules and the Grafana dashboard of deploy/."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
RATE_INTERVAL = "5m"
"""What Grafana puts in place of its variable, for a graph of some hours."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a panel, as Grafana sends it."""

    panel: str
    legend: str
    text: str


def alerts() -> list[dict[str, Any]]:
    """Return the alert rules."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    content: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return content


def queries() -> list[Query]:
    """Return all queries of the dashboard."""
    return [
        Query(
            panel["title"],
            target["legendFormat"],
            target["expr"].replace("$__rate_interval", RATE_INTERVAL),
        )
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]
