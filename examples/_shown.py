"""What the examples share: telemetry on, and the lines of their own /metrics that a user should look at."""

from __future__ import annotations

import os
import re
import urllib.request
from dataclasses import dataclass

from glasspool.telemetry.catalog import Metric
from glasspool.telemetry.setup import TelemetryHandle, configure

_LINE = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>.*?)\})? (?P<value>\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass
class Scrape:
    """One reading of /metrics."""

    text: str

    def value(self, metric: Metric, suffix: str = "", **labels: str) -> float:
        """The sum over the series with these labels."""
        wanted = metric.prometheus_name + suffix
        total = 0.0
        for line in _LINE.finditer(self.text):
            found = dict(_LABEL.findall(line["labels"] or ""))
            if line["name"] == wanted and labels.items() <= found.items():
                total += float(line["value"])
        return total

    def count(self, metric: Metric, **labels: str) -> float:
        """How many measurements a histogram has."""
        return self.value(metric, "_count", **labels)

    def within(self, metric: Metric, bound: float, **labels: str) -> float:
        """How many measurements of a histogram are at most ``bound`` seconds, which must be a bucket's bound."""
        return self.value(metric, "_bucket", le=str(bound), **labels)


@dataclass
class Metrics:
    """The process's own endpoint."""

    url: str
    handle: TelemetryHandle

    def read(self) -> Scrape:
        """Scrape it."""
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            return Scrape(answer.read().decode())

    def show(self, *metrics: Metric) -> None:
        """Print the lines of these metrics (of histograms only count and sum) and flush what is exported."""
        names = {metric.prometheus_name for metric in metrics}
        names |= {f"{name}{suffix}" for name in names for suffix in ("_count", "_sum")}
        print(f"\nWhat {self.url} says:")
        for line in self.read().text.splitlines():
            found = _LINE.match(line)
            if found and found["name"] in names and float(found["value"]):
                print(" ", line)
        if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
            arrived = self.handle.force_flush(10)
            print(f"Exported to {os.environ['OTEL_EXPORTER_OTLP_ENDPOINT']}: {'arrived' if arrived else 'failed'}")


def start_telemetry(service: str) -> Metrics:
    """/metrics on a free port; OTLP as well when the environment names an endpoint."""
    handle = configure(service_name=service, prometheus_port=0)
    return Metrics(f"http://127.0.0.1:{handle.prometheus_port}/metrics", handle)
