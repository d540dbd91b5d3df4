"""Real stores with Prometheus' query API, and the program whose series they get."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glasspool.telemetry import catalog
from tests.dashboards.support.backend_tools import need
from tests.telemetry.support import clean_environment

from .support import LABELS, Series, bound, free_port, get, histogram_series, spelled, started, wait_for


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
