"""One run of the situations, recorded by three stores: by scrape, by OTLP, and by OTLP through the Collector."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from glasspool._monitoring.options import RuleOptions
from glasspool._monitoring.rulefiles import rule_files
from glasspool.telemetry.catalog import TASK_OVERDUE_AGE

from .stores import Store, collector, debug_config, listening, process, prometheus, victoria, wait_for

ROOT = Path(__file__).resolve().parents[3]

OPTIONS = RuleOptions(
    wait_objectives=(("crawl|mail", 0.5),),
    long_interval="2s",
    producer_seconds=5,
    cancel_seconds=5,
    wait_floor=10,
    grafana_url="https://grafana.example.org",
)
"""A run takes a minute: what is judged by age is judged early, and the objective's rules run as often as the scrape."""

STUCK_SECONDS = 5

SHORTENED = {
    "GlasspoolNotStarting": 30, "GlasspoolSaturated": 30, "GlasspoolPauseLasts": 60, "GlasspoolLimitStarved": 60,
    "GlasspoolServiceGone": 60,
}  # fmt: skip
"""Alerts whose windows are divided by this, so that a standstill of half a minute fills them."""

HOLD_SECONDS = 26


def shortened(expr: str, factor: int) -> str:
    """The expression with its minutes turned into so many times fewer seconds."""
    return re.sub(r"(\d+)m\b", lambda found: f"{int(found[1]) * 60 // factor}s", expr)


def proof_rules(directory: Path) -> list[Path]:
    """The generator's rules for this run: no holding time, and the windows of some alerts shortened."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in rule_files(OPTIONS).items():
        text = re.sub(
            rf"({TASK_OVERDUE_AGE.prometheus_name}) > {OPTIONS.task_seconds:g}", rf"\1 > {STUCK_SECONDS}", text
        )
        groups = yaml.safe_load(text)["groups"]
        for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
            rule["for"] = "0s"
            rule["expr"] = (
                shortened(rule["expr"], SHORTENED.get(rule["alert"], 1)) if rule["alert"] in SHORTENED else rule["expr"]
            )
        path = directory / name
        path.write_text(yaml.safe_dump({"groups": groups}))
        paths.append(path)
    return paths


def stack_collector_config(metrics_url: str, tempo: str) -> tuple[dict[str, Any], int]:
    """The stack's own configuration with only its endpoints replaced, and the port that it takes OTLP over HTTP on."""
    config = yaml.safe_load((ROOT / "examples" / "stack" / "otelcol.yaml").read_text())
    before = json.dumps(config)
    _, http = listening(config)
    config["exporters"]["otlphttp/metrics"]["endpoint"] = metrics_url
    config["exporters"]["otlp/tempo"]["endpoint"] = tempo
    strip = re.compile(r'"endpoint": "[^"]*"')
    assert strip.sub("", before) == strip.sub("", json.dumps(config))
    return config, http


@dataclass
class Run:
    """What a run leaves: the program's account, the instant at which everything is asked, and the stores.

    ``firing``: the alerts that fired then, by store and name; some of them cease while the stores are still asked.
    """

    account: dict[str, Any]
    at: float
    stores: list[Store]
    firing: dict[str, dict[str, list[dict[str, Any]]]]
    rules: list[Path]
    debug_output: str


@contextmanager
def run(directory: Path) -> Iterator[Run]:
    """Start everything, let it happen, and keep the stores up while the block runs."""
    rules = proof_rules(directory / "rules")
    with ExitStack() as stack:
        direct = stack.enter_context(victoria(directory / "direct", "OTLP", rules))
        through = stack.enter_context(victoria(directory / "through", "Collector", rules))
        sink_config = debug_config()
        sink_grpc, sink_http = listening(sink_config)
        sink_log = stack.enter_context(collector(directory, "sink", sink_config))
        config, http = stack_collector_config(f"{through.url}/opentelemetry", f"127.0.0.1:{sink_grpc}")
        stack.enter_context(collector(directory, "stack", config))
        out = directory / "account.json"
        arguments = [
            sys.executable, "-m", "tests.dashboards.support.situations", str(out), str(HOLD_SECONDS), f"http://127.0.0.1:{http}/v1/traces",
            f"{direct.url}/opentelemetry/v1/metrics", f"http://127.0.0.1:{http}/v1/metrics",
            f"http://127.0.0.1:{sink_http}/v1/metrics",
        ]  # fmt: skip
        path = os.pathsep.join([str(ROOT), str(ROOT / "src"), str(ROOT / "instrumentation")])
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
        app = stack.enter_context(
            process(arguments, directory / "app.log", stdout=subprocess.PIPE, stdin=subprocess.PIPE,
                    env={**environment, "PYTHONPATH": path})
        )  # fmt: skip
        assert app.stdout is not None
        port = app.stdout.readline().split()[-1]
        scraped = stack.enter_context(prometheus(directory / "prometheus", [f"127.0.0.1:{port}"], rules))
        said = app.stdout.readline().strip()
        assert said == "FROZEN", (directory / "app.log").read_text()[-3000:]
        stores = [scraped, direct, through]
        at = _settled(stores)
        firing = {store.name: store.firing() for store in stores}
        yield Run(json.loads(out.read_text()), at, stores, firing, rules, sink_log.read_text())


def _settled(stores: list[Store]) -> float:
    """The instant at which every store, its rules included, has seen the standstill for a few intervals."""
    time.sleep(8)  # not proof: the scrapes, exports and rule evaluations of the standstill's last state take this long
    at = time.time()
    time.sleep(3)  # vmalert's results of that instant are on their way
    for store in stores:
        wait_for(store.name, lambda store=store: store.query("glasspool:queue_wait_slow:ratio_rate3d", at))
    return at
