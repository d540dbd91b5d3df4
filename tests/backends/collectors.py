"""A real OpenTelemetry Collector (or rotel), started on free ports, and what it printed, read back."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Metric
from tests.dashboards.support.backend_tools import find, need

from .support import Series, free_port, histogram_series, spelled, started, wait_for

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
            wait_for(partial(_answers, port), "collector")
        yield Collector(kind, f"http://127.0.0.1:{grpc}", f"http://127.0.0.1:{http}", log)


def _answers(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


def parse_debug(text: str) -> Received:
    """The detailed debug output of the Collector, which rotel's resembles."""
    received = Received()
    name = ""
    attributes: dict[str, str] = {}
    target: dict[str, Any] | None = None
    for line in text.splitlines():
        line = line.strip()
        key, _, value = (part.strip() for part in line.partition(":"))
        if line.startswith("Span #"):
            attributes = {}
            target = {"attributes": attributes}
            received.spans.append(target)
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
