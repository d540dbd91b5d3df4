"""Five hundred executors in three processes: overviews stay readable, and every expression answers within a second."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from glasspool._monitoring import provisioning
from glasspool.telemetry import catalog as c
from glasspool.telemetry.catalog import Key, Metric, prometheus_label
from tests.dashboards.support.backend_tools import need
from tests.dashboards.support.queries import filled_in
from tests.dashboards.support.stores import Store, prometheus, wait_for

EXECUTORS, INSTANCES = 500, 3
RANGE_SECONDS, STEPS = 60, 240
WITHIN = 1.0
ATTEMPTS = 8


def lines(executor: int) -> Iterator[tuple[str, float, float]]:
    """Series of one executor: name with labels, value at the start, growth a second."""
    identity = {Key.EXECUTOR_NAME: f"executor-{executor:03}", Key.EXECUTOR_TYPE: "hybrid"}

    def one(
        metric: Metric, start: float, growth: float = 0, suffix: str = "", **labels: str
    ) -> tuple[str, float, float]:
        every = {prometheus_label(k): v for k, v in identity.items()} | labels
        inner = ",".join(f'{k}="{v}"' for k, v in every.items())
        return f"{metric.prometheus_name}{suffix}{{{inner}}}", start, growth

    def label(key: str, value: str) -> dict[str, str]:
        return {prometheus_label(key): value}

    busy = (executor * 37 % 101) / 100
    for metric, value in ((c.SLOT_LIMIT, 10.0), (c.SLOT_USAGE, round(busy * 10)), (c.QUEUE_SIZE, busy * 90),
                          (c.QUEUE_CAPACITY, 100.0), (c.QUEUE_OLDEST_AGE, busy * 5), (c.SUBMIT_PENDING, 0.0),
                          (c.SUBMIT_OLDEST_AGE, 0.0), (c.TASK_OLDEST_AGE, busy),
                          (c.QUEUE_WAIT_OBJECTIVE, 0.5)):  # fmt: skip
        yield one(metric, value)
    for metric, growth in ((c.TASK_SUBMITTED, 5 + busy), (c.SLOT_TIME, busy * 10), (c.SLOT_LIMIT_TIME, 10.0),
                           (c.SLOT_SATURATED_TIME, busy), (c.EXECUTOR_TIME, 1.0), (c.EXECUTOR_OPENED, 0.0),
                           (c.EXECUTOR_CLOSED, 0.0), (c.QUEUE_WAIT_LATE, busy / 10)):  # fmt: skip
        yield one(metric, 1, growth)
    yield one(c.TASK_ACTIVE, busy * 10, **label(Key.RUNNER, "inline"))
    yield one(c.TASK_ABANDONED, 0, **label(Key.RUNNER, "inline"))
    yield one(c.WORKER_LIMIT, 10, **label(Key.RUNNER, "thread"))
    for state in c.WORKER_STATES:
        yield one(c.WORKER_COUNT, 1, **label(Key.RUNNER, "thread"), **label(Key.WORKER_STATE, state))
    for outcome in c.OUTCOMES:
        extra = {} if outcome == "success" else {"error_type": "ValueError" if outcome == "error" else outcome}
        yield one(c.TASK_COMPLETED, 1, 5 if outcome == "success" else busy / 10,
                  **label(Key.TASK_OUTCOME, outcome), **label(Key.RUNNER, "inline"), **extra)  # fmt: skip
    for reason in c.REJECT_REASONS:
        yield one(c.TASK_REJECTED, 0, busy / 20, error_type=reason)
    for reason in c.CANCEL_REASONS:
        for phase in c.CANCEL_PHASES:
            yield one(
                c.TASK_CANCELLATIONS, 0, busy / 50, **label(Key.CANCEL_REASON, reason), **label(Key.TASK_PHASE, phase)
            )
    yield one(c.TASK_UNRETRIEVED, 0)
    for kind in c.CONTEXT_LOSS_KINDS:
        yield one(c.CONTEXT_LOSSES, 0, **label(Key.LOSS_KIND, kind))
    for kind in c.EXECUTOR_FAILURE_KINDS:
        yield one(c.TELEMETRY_FAILURES, 0, **label(Key.FAILURE_KIND, kind))
    histograms = [(c.QUEUE_WAIT, label(Key.QUEUE_OUTCOME, outcome)) for outcome in c.QUEUE_OUTCOMES]
    histograms += [(c.SUBMIT_WAIT, {}), (c.SHUTDOWN_DURATION, label(Key.SHUTDOWN_OUTCOME, "drained"))]
    ran = label(Key.TASK_OUTCOME, "success") | label(Key.TASK_NAME, "job") | label(Key.RUNNER, "inline")
    histograms.append((c.TASK_DURATION, ran))
    for metric, labels in histograms:
        for index, bound in enumerate((*metric.buckets, "+Inf")):
            yield one(metric, 0, min(5, index * (1 - busy * 0.7)), "_bucket", **labels, le=str(bound))
        yield one(metric, 0, 5, "_count", **labels)
        yield one(metric, 0, busy, "_sum", **labels)


@contextmanager
def processes() -> Iterator[list[str]]:
    """Three endpoints that serve the same executors, growing with time."""
    series = [entry for executor in range(EXECUTORS) for entry in lines(executor)]
    began = time.time()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            age = time.time() - began
            body = "\n".join(f"{name} {start + growth * age:.6g}" for name, start, growth in series).encode() + b"\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(INSTANCES)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield [f"127.0.0.1:{server.server_address[1]}" for server in servers]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, float]]:
    need("prometheus")
    directory = tmp_path_factory.mktemp("crowd")
    files = []
    for name, text in provisioning.rules().items():
        groups = yaml.safe_load(text)["groups"]
        for group in groups:
            group["interval"] = "10s"  # shipped ones run once a minute; the history here is a minute long
        (directory / name).write_text(yaml.safe_dump({"groups": groups}))
        files.append(directory / name)
    with processes() as targets, prometheus(directory / "prometheus", targets, files, interval="10s") as store:
        expected = EXECUTORS * INSTANCES

        def ready() -> bool:
            recorded = store.query("count(glasspool:queue_wait_slow:ratio_rate3d)", time.time())
            young = store.query("min(count_over_time(glasspool:executor_pressure:ratio[5m]))", time.time())
            return bool(recorded and recorded[0].value == expected and young and young[0].value >= 4)

        wait_for("rules over all executors", ready, 240)
        yield store, time.time()


def timed(store: Store, expr: str, at: float, steps: int) -> tuple[float, int]:
    """Seconds of the best of a few attempts, and the number of series.

    Other work on the machine can only make an answer slower, so the first one within the limit settles it, and where
    the store's processor time is below the clock's, it is what an idle machine would take.
    """
    best, series = float("inf"), 0
    for _ in range(ATTEMPTS):
        if best <= WITHIN:
            break
        began, used = time.perf_counter(), store.cpu_seconds()
        if steps:
            series = len(store.query_range(expr, at - RANGE_SECONDS, at, RANGE_SECONDS / steps))
        else:
            series = len(store.query(expr, at))
        spent = store.cpu_seconds() - used
        elapsed = time.perf_counter() - began
        best = min(best, elapsed if math.isnan(spent) else min(elapsed, spent))
    return best, series


def shipped() -> Iterator[tuple[str, str, str, bool]]:
    for dashboard in provisioning.dashboards():
        one = {"executor": "executor-250", "type": "hybrid"} if dashboard.uid == "glasspool-executor" else {}
        for panel in json.loads(dashboard.text)["panels"]:
            for target in panel.get("targets", ()):
                expr = filled_in(target["expr"], __range="1m", __rate_interval="1m", **one)
                yield (
                    dashboard.uid,
                    f"{panel['title']} {target['refId']}",
                    expr,
                    panel["type"] in ("timeseries", "heatmap"),
                )


def test_panels_stay_readable_and_quick(crowd: tuple[Store, float]) -> None:
    store, at = crowd
    slow, crowded, worst = [], [], (0.0, "")
    for uid, name, expr, over_time in shipped():
        seconds, series = timed(store, expr, at, STEPS if over_time else 0)
        worst = max(worst, (seconds, f"{uid} {name}"))
        if seconds > WITHIN:
            slow.append((uid, name, round(seconds, 2)))
        if uid == "glasspool-overview" and series > 20:
            crowded.append((name, series))
    print(f"slowest panel: {worst[1]}, {worst[0]:.2f} s")
    assert not crowded
    assert not slow


def test_rules_are_quick(crowd: tuple[Store, float]) -> None:
    store, at = crowd
    slow, worst = [], (0.0, "")
    for text in provisioning.rules().values():
        for group in yaml.safe_load(text)["groups"]:
            for rule in group["rules"]:
                name = rule.get("record") or rule["alert"]
                seconds, _ = timed(store, rule["expr"], at, 0)
                worst = max(worst, (seconds, name))
                if seconds > WITHIN:
                    slow.append((name, round(seconds, 2)))
    print(f"slowest rule: {worst[1]}, {worst[0]:.2f} s")
    assert not slow


def test_the_crowd_is_there(crowd: tuple[Store, float]) -> None:
    store, at = crowd
    counted = store.query(f"count({c.SLOT_LIMIT.prometheus_name})", at)
    assert counted[0].value == EXECUTORS * INSTANCES
