"""Prometheus itself reads the metrics, and runs the alerts and the queries of the dashboard."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus_files import RULES, alerts, queries
from worker.telemetry.metrics import Metrics

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool (Debian: apt install prometheus)"
)

MINUTES = 60
END = f"{MINUTES}m"
Series = dict[str, str]
Samples = set[tuple[str, float]]


def promtool(*arguments: str | Path, text: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command of promtool."""
    command = [PROMTOOL or "", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def run_tests(folder: Path, series: Series, **tests: list[dict[str, Any]]) -> str:
    """Have promtool test rules with these series, one sample a minute; return what is wrong."""
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    content = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": inputs, **tests}],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(content))
    result = promtool("test", "rules", file)
    return "" if result.returncode == 0 else result.stdout + result.stderr


def steady(value: float) -> str:
    """Write a value that stays."""
    return f"{value}x{MINUTES}"


def rising(per_minute: float) -> str:
    """Write a counter."""
    return f"0+{per_minute}x{MINUTES}"


def test_the_rules_and_the_metrics_are_well_formed() -> None:
    """By Prometheus's own checks of rules, names, types and help."""
    assert promtool("check", "rules", RULES).returncode == 0
    text = Metrics(lambda: 3.0, lambda: 5.0).text().decode()
    result = promtool("check", "metrics", text=text)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


HEALTHY = {
    'mux_worker_build_info{version="0.1.0",python="3.11.0"}': steady(1),
    "mux_worker_last_scan_timestamp_seconds": f"0+60x{MINUTES}",
    "mux_worker_oldest_due_seconds": steady(2),
    'mux_worker_mux_requests_total{route="list_assets",status="200"}': rising(60),
    'mux_worker_rpc_seconds_count{function="worker_claim"}': rising(60),
    'mux_worker_rpc_errors_total{function="worker_claim",reason="timeout"}': rising(1),
    'mux_worker_outcomes_total{outcome="refused",source="sweep"}': steady(3),
}
"""A worker that scans, meets a slow call now and then, and was refused three times long ago."""

FAULTS: dict[str, Series] = {
    "MuxWorkerStopped": {"mux_worker_last_scan_timestamp_seconds": f"0+60x30 1800x{MINUTES - 30}"},
    "MuxWorkerLessonsWait": {"mux_worker_oldest_due_seconds": f"0+60x{MINUTES}"},
    "MuxWorkerTokenRefused": {
        'mux_worker_mux_requests_total{route="whoami",status="401"}': rising(0.2)
    },
    "MuxWorkerSupabaseFails": {
        'mux_worker_rpc_seconds_count{function="worker_claim"}': rising(10),
        'mux_worker_rpc_errors_total{function="worker_claim",reason="timeout"}': rising(9),
    },
    "MuxWorkerVerdictsRefused": {
        'mux_worker_outcomes_total{outcome="refused",source="sweep"}': rising(0.2)
    },
}
RULES_BY_NAME = {rule["alert"]: rule for rule in alerts()}


def firing(names: set[str]) -> list[dict[str, Any]]:
    """Write which alerts fire at the end, and that the others do not."""
    return [
        {
            "eval_time": END,
            "alertname": name,
            "exp_alerts": [
                {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
                for _ in range(name in names)
            ],
        }
        for name, rule in RULES_BY_NAME.items()
    ]


def test_a_healthy_worker_raises_no_alert(tmp_path: Path) -> None:
    """No alert fires for a worker that works, with the faults of an ordinary day."""
    assert run_tests(tmp_path, HEALTHY, alert_rule_test=firing(set())) == ""


@pytest.mark.parametrize("name", RULES_BY_NAME)
def test_each_alert_fires_for_its_fault_alone(tmp_path: Path, name: str) -> None:
    """The fault that it is for fires it, and none of the others."""
    series = HEALTHY | FAULTS[name]
    assert run_tests(tmp_path, series, alert_rule_test=firing({name})) == ""


@pytest.mark.parametrize(
    ("series", "name"),
    [
        ({}, "MuxWorkerStopped"),
        (
            {'mux_worker_mux_requests_total{route="get_asset",status="503"}': rising(4)},
            "MuxWorkerLessonsWait",
        ),
    ],
    ids=["no worker", "errors of Mux only"],
)
def test_the_second_half_of_an_alert_fires_it_too(
    tmp_path: Path, series: Series, name: str
) -> None:
    """Where there is no worker at all, and where Mux answers with errors only."""
    healthy = {
        label: values
        for label, values in HEALTHY.items()
        if "mux_requests" not in label and (series or "build_info" not in label)
    }
    assert run_tests(tmp_path, healthy | series, alert_rule_test=firing({name})) == ""


TWO = ('{instance="a",job="w"}', '{instance="b",job="w"}')
SHOWN: Series = {
    **{
        f'mux_worker_build_info{{version="0.1.0",python="3.11.0",{labels[1:]}': steady(1)
        for labels in TWO
    },
    **{f"process_resident_memory_bytes{labels}": steady(7e7) for labels in TWO},
    **{f"process_open_fds{labels}": steady(12) for labels in TWO},
    'process_open_fds{instance="other",job="x"}': steady(900),
    **{f'mux_worker_lessons{{status="processing",{labels[1:]}': steady(5) for labels in TWO},
    **{f'mux_worker_lessons{{status="error",{labels[1:]}': steady(2) for labels in TWO},
    **{f"mux_worker_lessons_due{labels}": steady(3) for labels in TWO},
    **{f"mux_worker_lessons_stuck{labels}": steady(1) for labels in TWO},
    f"mux_worker_oldest_due_seconds{TWO[0]}": steady(40),
    f"mux_worker_oldest_due_seconds{TWO[1]}": steady(20),
    f"mux_worker_last_scan_timestamp_seconds{TWO[0]}": f"-8+60x{MINUTES}",
    f"mux_worker_last_scan_timestamp_seconds{TWO[1]}": f"-5+60x{MINUTES}",
    f"mux_worker_mux_rate_limit_remaining{TWO[0]}": steady(4),
    f"mux_worker_mux_rate_limit_remaining{TWO[1]}": steady(3),
    'mux_worker_outcomes_total{outcome="published",source="webhook"}': rising(6),
    'mux_worker_outcomes_total{outcome="published",source="sweep"}': rising(3),
    'mux_worker_outcomes_total{outcome="failed",source="sweep"}': rising(1),
    'mux_worker_webhooks_total{result="accepted"}': rising(12),
    'mux_worker_mux_requests_total{route="list_assets",status="200"}': rising(60),
    'mux_worker_mux_requests_total{route="get_asset",status="200"}': rising(60),
    'mux_worker_mux_requests_total{route="get_asset",status="timeout"}': rising(6),
    'mux_worker_mux_retries_total{reason="timeout"}': rising(6),
    'mux_worker_rpc_errors_total{function="worker_claim",reason="timeout"}': rising(2),
    "mux_worker_refused_tokens_total": rising(1),
    # Half of all took up to a second, the others up to two.
    **{
        f'mux_worker_{name}_bucket{{{more}le="{le}"}}': rising(count)
        for name, more in {
            "ready_to_published_seconds": "",
            "tracked_to_published_seconds": "",
            "scan_seconds": "",
            "rpc_seconds": 'function="worker_claim",',
        }.items()
        for le, count in {"1.0": 5, "2.0": 10, "+Inf": 10}.items()
    },
}
EXPECTED: dict[tuple[str, str], Samples] = {
    ("Waiting", ""): {("{}", 5)},
    ("Due", ""): {("{}", 3)},
    ("Oldest due row", ""): {("{}", 40)},
    ("Failed", ""): {("{}", 2)},
    ("Stuck", ""): {("{}", 1)},
    ("Last scan", ""): {("{}", 5)},
    ("Outcomes a minute", "{{outcome}}"): {
        ('{outcome="published"}', 9),
        ('{outcome="failed"}', 1),
    },
    ("Ready to published", "p50"): {("{}", 1)},
    ("Ready to published", "p95"): {("{}", 1.9)},
    ("Tracked to published", "p50"): {("{}", 1)},
    ("Tracked to published", "p95"): {("{}", 1.9)},
    ("Webhooks a minute", "{{result}}"): {('{result="accepted"}', 12)},
    ("Requests to Mux a second", "{{status}}"): {
        ('{status="200"}', 2),
        ('{status="timeout"}', 0.1),
    },
    ("Requests to Mux a second", "repeated"): {("{}", 0.1)},
    ("Left of Mux's rate limit", "left"): {("{}", 3)},
    ("Calls to the database, p95", "{{function}}"): {('{function="worker_claim"}', 1.9)},
    ("Failed calls to the database a minute", "{{reason}}"): {('{reason="timeout"}', 2)},
    ("Scans", "p50"): {("{}", 1)},
    ("Scans", "p95"): {("{}", 1.9)},
    ("Resident memory", "{{instance}}"): {
        (f"process_resident_memory_bytes{labels}", 7e7) for labels in TWO
    },
    ("Open files", "{{instance}}"): {(f"process_open_fds{labels}", 12) for labels in TWO},
    ("Workers", "{{version}}, Python {{python}}"): {('{version="0.1.0",python="3.11.0"}', 2)},
    ("Wrong tokens in an hour", ""): {("{}", 60)},
}
"""What each query shows of `SHOWN`: two workers of one version, and a program of another kind."""


def test_each_query_of_the_dashboard_shows_what_it_says(tmp_path: Path) -> None:
    """For series whose rates and quantiles are known."""
    assert [(query.panel, query.legend) for query in queries()] == list(EXPECTED)
    wanted = [
        {
            "expr": f"round({query.text}, 0.001)" if is_computed(query.text) else query.text,
            "eval_time": END,
            "exp_samples": [
                {"labels": labels, "value": value}
                for labels, value in EXPECTED[query.panel, query.legend]
            ],
        }
        for query in queries()
    ]
    assert run_tests(tmp_path, SHOWN, promql_expr_test=wanted) == ""


def is_computed(text: str) -> bool:
    """Whether a query divides, so that its last digits are not exact."""
    return "rate(" in text or "increase(" in text
