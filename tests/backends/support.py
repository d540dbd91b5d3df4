"""Helpers of the tests against real back ends: processes, waiting, and comparison of series by name, labels and
value."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Metric, prometheus_label

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Values by Prometheus name and labels."""

PATIENCE = 60.0  # seconds: generous, because a loaded machine is slow and nothing is measured here


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true value of ``condition``; connection errors count as false."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = condition()
        except (OSError, urllib.error.URLError):
            found = None
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {seconds:g} s")


def get(url: str, **parameters: Any) -> Any:
    """JSON of a GET request."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    with urllib.request.urlopen(url + query, timeout=30) as answer:
        return json.loads(answer.read())


@contextmanager
def started(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended, by its id, when the block is left. Its output goes to ``log``."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[int]:
    """The server, running in a thread; its port."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- comparing ---------------------------------------------------------------------------------------------------------

LABELS = {prometheus_label(key) for metric in catalog.ALL_METRICS for key in metric.labels} | {"le"}


def bound(value: float) -> str:
    """One spelling for a bucket's bound: scrapes write 1.0 where OTLP stores write 1."""
    return "+Inf" if value == float("inf") else f"{value:g}"


def spelled(attributes: dict[str, str]) -> frozenset[tuple[str, str]]:
    """Attributes as labels."""
    return frozenset((prometheus_label(key), text) for key, text in attributes.items())


def histogram_series(metric: Metric, labels: frozenset[tuple[str, str]], counts: list[int], total: float) -> Series:
    """The series that a scrape shows of one histogram."""
    name, running = metric.prometheus_name, 0
    found: Series = {}
    for le, count in zip((*metric.buckets, float("inf")), counts, strict=True):
        running += count
        found[f"{name}_bucket", labels | {("le", bound(le))}] = running
    return {**found, (f"{name}_count", labels): running, (f"{name}_sum", labels): total}


def differences(before: Series, found: Series, after: Series, *, by_scrape: bool) -> list[str]:
    """What a back end holds that is not between the program's two snapshots; all of it, series by series.

    Most series stand still, so that between means equal. By OTLP a histogram exists from its first measurement on.
    """
    problems = []
    stall = catalog.EVENTLOOP_STALL.prometheus_name
    for key, least in before.items():
        name, labels = key
        if key not in found:
            empty = after.get((re.sub(r"_(bucket|sum)$", "_count", name), labels - {x for x in labels if x[0] == "le"}))
            if by_scrape or empty != 0 or not name.endswith(("_bucket", "_sum", "_count")):
                problems.append(f"missing: {name} {dict(labels)}")
            continue
        value, most = found[key], after[key]
        slack = 1e-5  # the Collector's debug exporter writes six decimals
        if name == stall:
            least, most = 0.0, 60.0
        if not least - slack <= value <= most + slack:
            problems.append(f"{name} {dict(labels)}: {value}, not between {least} and {most}")
    problems += [f"unknown: {name} {dict(labels)}" for name, labels in found if (name, labels) not in after]
    return problems


def require_all_metrics(found: Series) -> None:
    """Every metric of the contract has a series, but for what only asyncio's own tasks have, and what there is only
    when a task has run for a minute."""
    others = (catalog.TASK_UNRETRIEVED, catalog.TASK_OVERDUE_AGE, catalog.TASK_OVERDUE_LONGEST)
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in found} | {name for name, _ in found}
    missing = [m.name for m in catalog.ALL_METRICS if m.prometheus_name not in names and m not in others]
    assert missing == []


def total(found: Series, metric: Metric, suffix: str = "", **labels: str) -> float:
    """The sum of a metric's series that carry these labels."""
    values = [
        value
        for (name, given), value in found.items()
        if name == metric.prometheus_name + suffix and labels.items() <= dict(given).items()
    ]
    assert values, f"no series of {metric.prometheus_name}{suffix} with {labels}"
    return sum(values)
