"""Real back ends, started on free ports and read back; and the comparison of what they hold with what a run knows."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Metric, prometheus_label
from tests.dashboards.backend_tools import find, need
from tests.telemetry.support import clean_environment

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


# -- the OpenTelemetry Collector, or rotel -----------------------------------------------------------------------------

COLLECTOR = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
      http: {{endpoint: "127.0.0.1:{http}"}}
exporters:
  debug: {{verbosity: detailed}}
service:
  telemetry:
    metrics: {{level: none}}
    logs: {{encoding: json}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
"""


@dataclass
class Received:
    """What a collector has received and printed, read back."""

    spans: list[dict[str, Any]] = field(default_factory=list)
    points: dict[tuple[str, frozenset[tuple[str, str]]], dict[str, Any]] = field(default_factory=dict)

    def series(self) -> Series:
        """The last value of every point, spelled like a scrape."""
        found: Series = {}
        for (name, labels), point in self.points.items():
            metric = catalog.BY_NAME[name]
            if metric.kind == "histogram":
                counts = [point["buckets"][index] for index in sorted(point["buckets"])]
                found.update(histogram_series(metric, labels, counts, point["sum"]))
            else:
                found[metric.prometheus_name, labels] = point["value"]
        return found

    def exemplars(self, metric: Metric) -> set[str]:
        """Trace ids of a metric's exemplars."""
        return {trace for (name, _), point in self.points.items() if name == metric.name for trace in point["traces"]}


@dataclass
class Collector:
    """A running collector."""

    kind: str
    grpc: str
    http: str
    log: Path

    def received(self) -> Received:
        """Everything received until now."""
        text = self.log.read_text(errors="replace")
        if self.kind == "otelcol":  # every line is a JSON object, its message the debug exporter's text
            lines = [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
            text = "\n".join(line.get("msg", "") for line in lines)
        return parse_debug(text)


@contextmanager
def collector(directory: Path) -> Iterator[Collector]:
    """The OpenTelemetry Collector if there is one, else rotel from PyPI; both print what they receive."""
    grpc, http, log = free_port(), free_port(), directory / "collector.log"
    program = find("otelcol")
    if program:
        kind = "otelcol"
        config = directory / "collector.yaml"
        config.write_text(COLLECTOR.format(grpc=grpc, http=http))
        command = [program, "--config", str(config)]
    else:
        kind = "rotel"
        spec = importlib.util.find_spec("rotel")
        if spec is None or spec.origin is None:
            need("otelcol")  # skips or fails, with the words for it
            raise AssertionError("unreachable")
        command = [
            str(Path(spec.origin).with_name("rotel-agent")), "start", "--exporter", "blackhole",
            "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}", "--otlp-http-endpoint", f"127.0.0.1:{http}",
            "--debug-log", "traces", "--debug-log", "metrics", "--debug-log-verbosity", "detailed",
        ]  # fmt: skip
    with started(command, log):
        for port in (grpc, http):
            wait_for(lambda port=port: socket.create_connection(("127.0.0.1", port), 1).close() or True, "collector")
        yield Collector(kind, f"http://127.0.0.1:{grpc}", f"http://127.0.0.1:{http}", log)


def parse_debug(text: str) -> Received:
    """The detailed debug output of the Collector, which rotel's resembles."""
    received = Received()
    name, attributes, target = "", {}, None
    for line in text.splitlines():
        line = line.strip()
        key, _, value = (part.strip() for part in line.partition(":"))
        if line.startswith("Span #"):
            target = {"attributes": {}}
            received.spans.append(target)
            attributes = target["attributes"]
        elif line.startswith("-> Name:"):
            name = line.removeprefix("-> Name:").strip()
        elif line.startswith(("Data point attributes:", "Resource attributes:", "NumberData", "HistogramData")):
            attributes, target = {}, None
        elif line.startswith("StartTimestamp:") and name in catalog.BY_NAME:
            target = {"buckets": {}, "traces": [], "sum": 0.0}
            received.points[name, spelled(attributes)] = target
        elif line.startswith("-> Trace ID:") and target is not None and "traces" in target:
            target["traces"].append(line.removeprefix("-> Trace ID:").strip())
        elif line.startswith("->") and key[3:] not in ("Span ID", "Timestamp", "Value"):
            found = re.match(r"-> ([\w.]+): \w+\((.*)\)$", line)
            if found:
                attributes[found[1]] = found[2]
        elif target is not None and "buckets" in target:
            bucket = re.match(r"Buckets #(\d+), Count: (\d+)", line)
            if bucket:
                target["buckets"][int(bucket[1])] = int(bucket[2])
            elif key in ("Value", "Sum"):
                target[key.lower()] = float(value)
        elif target is not None and key in ("Trace ID", "Parent ID", "ID", "Name", "Status code"):
            target[key] = value
    return received


# -- stores that answer Prometheus' query API --------------------------------------------------------------------------


@dataclass
class Store:
    """Something that answers queries."""

    url: str
    otlp: str = ""
    flush: str = ""  # what makes it show at once what it has taken

    def series(self, at: float | None = None, **parameters: Any) -> Series:
        """Every series of the contract, now or at an instant."""
        if self.flush:
            urllib.request.urlopen(self.flush, timeout=30).close()
        if at is not None:
            parameters["time"] = f"{at:.3f}"
        answer = get(f"{self.url}/api/v1/query", query='{__name__=~"glasspool_.*"}', **parameters)
        found: Series = {}
        for sample in answer["data"]["result"]:
            labels = {key: text for key, text in sample["metric"].items() if key in LABELS}
            if "le" in labels:
                labels["le"] = bound(float(labels["le"]))
            key = sample["metric"]["__name__"], frozenset(labels.items())
            assert key not in found, f"two series of {key}: a series must leave by one path"
            found[key] = float(sample["value"][1])
        return found


@contextmanager
def prometheus(directory: Path, port: int) -> Iterator[Store]:
    """Prometheus scraping ``127.0.0.1:port`` every second, exemplars kept."""
    program, web = need("prometheus"), free_port()
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    command = [
        program, f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{web}", "--enable-feature=exemplar-storage",
    ]  # fmt: skip
    store = Store(f"http://127.0.0.1:{web}")
    with started(command, directory / "prometheus.log"):
        wait_for(lambda: urllib.request.urlopen(f"{store.url}/-/ready", timeout=5).status == 200, "Prometheus")
        yield store


@contextmanager
def victoria_metrics(directory: Path) -> Iterator[Store]:
    """VictoriaMetrics taking metrics by OTLP, named as a scrape would name them."""
    program, web = need("victoria-metrics"), free_port()
    command = [
        program, f"-storageDataPath={directory / 'vm'}", f"-httpListenAddr=127.0.0.1:{web}",
        "-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s", "-search.disableCache",
        "-inmemoryDataFlushInterval=1s",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{web}"
    store = Store(url, f"{url}/opentelemetry/v1/metrics", f"{url}/internal/force_flush")
    with started(command, directory / "victoria.log"):
        wait_for(lambda: urllib.request.urlopen(f"{store.url}/health", timeout=5).status == 200, "VictoriaMetrics")
        yield store


# -- the program and what it knows -------------------------------------------------------------------------------------


@dataclass
class Program:
    """tests/backends/program.py, standing still after its work."""

    process: subprocess.Popen[str]
    port: int
    trace_id: str

    def ask(self, command: str) -> Any:
        """Its answer to one command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def series(self) -> Series:
        """Every series that it has, spelled like a scrape."""
        found: Series = {}
        for name, attributes, value in self.ask("snapshot"):
            metric, labels = catalog.BY_NAME[name], spelled(attributes)
            if metric.kind == "histogram":
                found.update(histogram_series(metric, labels, value["counts"], value["sum"]))
            else:
                found[metric.prometheus_name, labels] = value
        return found


@contextmanager
def program(directory: Path, backend: str, *arguments: str, **env: str) -> Iterator[Program]:
    """Start the program and wait until it stands still."""
    command = [sys.executable, str(Path(__file__).with_name("program.py")), backend, *arguments]
    with (directory / "program.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=clean_environment(**env),
        )
    with process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first, (directory / "program.log").read_text()
            yield Program(process, **json.loads(first))
        finally:
            process.kill()


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
    """Every metric of the contract has a series, but for retries, which no executor makes yet."""
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in found} | {name for name, _ in found}
    missing = [m.name for m in catalog.ALL_METRICS if m.prometheus_name not in names and m is not catalog.TASK_RETRIES]
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
