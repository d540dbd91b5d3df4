"""Unknown values are never shown as healthy: the dashboards on stores with missing series."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from glasspool._monitoring import provisioning
from glasspool.telemetry import catalog as c
from tests.dashboards.support.backend_tools import need
from tests.dashboards.support.queries import filled_in
from tests.dashboards.support.shipped import PANELS
from tests.dashboards.support.stores import Store, prometheus, wait_for

GREY = "#6e7680"
STATS = {panel["title"]: panel for panel in PANELS.values() if panel["type"] == "stat"}
LABELS = '{glasspool_executor_name="reports",glasspool_executor_type="hybrid"}'
SCRAPED = "".join(
    f"{metric.prometheus_name}{LABELS} {value}\n"
    for metric, value in ((c.EXECUTOR_OPENED, 1), (c.SLOT_LIMIT, 2), (c.SLOT_USAGE, 2), (c.SUBMIT_PENDING, 3))
).encode()


class _Program(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(SCRAPED)))
        self.end_headers()
        self.wfile.write(SCRAPED)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def without_rules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A Prometheus that scrapes an executor with every slot taken and blocked producers, and evaluates no rules."""
    need("prometheus")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Program)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        target = f"127.0.0.1:{server.server_address[1]}"
        with prometheus(tmp_path_factory.mktemp("bare"), [target], []) as store:
            wait_for("a scrape", lambda: store.query(c.SLOT_LIMIT.prometheus_name, time.time()))
            yield store
    finally:
        server.shutdown()
        server.server_close()


def shown(store: Store, panel: dict[str, Any], **variables: str) -> tuple[str, str]:
    """The text and the colour of a stat, as Grafana takes them: mappings first, then the thresholds."""
    (target,) = panel["targets"]
    samples = store.query(filled_in(target["expr"], **variables), time.time())
    assert len(samples) <= 1
    value = samples[0].value if samples else None
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults["mappings"]:
        result = mapping["options"]["result"] if mapping["type"] == "special" and value is None else None
        if mapping["type"] == "value" and value is not None:
            result = mapping["options"].get(f"{value:g}")
        if result:
            return result["text"], result["color"]
    reached = [s for s in defaults["thresholds"]["steps"] if s["value"] is None or s["value"] <= (value or 0)]
    return f"{value:g}" if value is not None else defaults["noValue"], reached[-1]["color"]


@pytest.mark.parametrize("title", STATS)
def test_of_a_job_that_is_not_there_nothing_is_said(without_rules: Store, title: str) -> None:
    text, colour = shown(without_rules, STATS[title], job="elsewhere")
    assert text.lower().startswith("no data")
    assert colour == GREY


def test_without_the_rules_the_dashboard_says_so(without_rules: Store) -> None:
    found = {title: shown(without_rules, panel) for title, panel in STATS.items()}
    text, colour = found.pop("Can this dashboard be trusted?")
    assert "recording rules are missing" in text
    assert colour == "red"
    raw = {title: found.pop(title)[0] for title in ("Executors open", "Blocked producers")}
    assert raw == {"Executors open": "1", "Blocked producers": "3"}
    assert set(found.values()) == {("no data", GREY)}


def test_no_expression_makes_up_a_zero() -> None:
    for dashboard in provisioning.dashboards():
        assert "vector(0)" not in dashboard.text, dashboard.uid


def test_an_empty_panel_says_that_nothing_is_known() -> None:
    for panel in PANELS.values():
        assert "no data" in panel["fieldConfig"]["defaults"]["noValue"].lower(), panel["title"]
