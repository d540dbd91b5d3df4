"""The overview's table of alerts: the choice of alerts if more fire than there are rows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.dashboards.support.backend_tools import need
from tests.dashboards.support.queries import filled_in
from tests.dashboards.support.shipped import PANELS

NOW = 600
"""Seconds since the start of the series at which the table is looked at."""
MOST = 20
QUERY = filled_in(PANELS["glasspool-overview: Alerts"]["targets"][0]["expr"])

Alerts = dict[str, tuple[str, float | None]]
"""Name of an executor to the severity of its alert, and since how many seconds; None: unknown."""


def test_pages_come_before_tickets_and_the_oldest_before_the_rest(tmp_path: Path) -> None:
    tickets: Alerts = {f"ticket {number}": ("ticket", 10.0 * number) for number in range(1, 31)}
    pages: Alerts = {f"page {number}": ("page", 5.0 * number) for number in range(1, 4)}
    longest = sorted(tickets, key=lambda name: tickets[name][1] or 0)[-(MOST - len(pages)) :]
    table_shows(tmp_path, {**tickets, **pages}, {*pages, *longest})


def test_any_severity_and_an_age_that_nobody_tells(tmp_path: Path) -> None:
    alerts: Alerts = {
        "old": ("critical", 300.0),
        "new": ("page", 0.0),
        "ageless": ("ticket", None),
        "without": ("", 60.0),
    }
    table_shows(tmp_path, alerts, set(alerts))


def table_shows(directory: Path, alerts: Alerts, shown: set[str]) -> None:
    """Has promtool execute the panel's query over these alerts: it returns the ages of those that are to be shown."""
    series, samples = [], []
    for name, (severity, age) in alerts.items():
        labels = f'alertname="GlasspoolTaskStuck", glasspool_executor_name="{name}"'
        if severity:
            labels += f', severity="{severity}"'
        series.append({"series": f'ALERTS{{alertstate="firing", {labels}}}', "values": "1x60"})
        if age is not None:
            series.append({"series": f"ALERTS_FOR_STATE{{{labels}}}", "values": f"{NOW - age:g}x60"})
        if name in shown:
            samples.append({"labels": f'{{alertstate="firing", {labels}}}', "value": age or 0})
    query = {"expr": QUERY, "eval_time": f"{NOW}s", "exp_samples": samples}
    path = directory / "test.yaml"
    path.write_text(json.dumps({"tests": [{"interval": "10s", "input_series": series, "promql_expr_test": [query]}]}))
    done = subprocess.run([need("promtool"), "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
