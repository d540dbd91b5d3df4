"""Real back ends, started and stopped: Prometheus, VictoriaMetrics with vmalert, the Collector. And their query API."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .backend_tools import need

SCRAPE_SECONDS = 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str, **parameters: Any) -> Any:
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    with urllib.request.urlopen(url + query, timeout=30) as response:
        return json.loads(response.read())


@dataclass(frozen=True)
class Sample:
    """One series of an instant answer."""

    labels: dict[str, str]
    value: float


@dataclass
class Store:
    """Something that answers Prometheus' query API. ``exact`` rates divide by the time covered, not by the window."""

    name: str
    url: str
    exact: bool = False
    alerts_url: str = ""
    pid: int = 0

    def cpu_seconds(self) -> float:
        """Processor time that the store has used so far; infinite where the system does not say."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return math.inf
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def query(self, expr: str, at: float) -> list[Sample]:
        """The instant vector (or scalar) of an expression."""
        url = f"{self.url}/api/v1/query"
        try:
            answer = get(url, query=expr, time=f"{at:.3f}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{self.name} refuses {expr}: {error.read().decode()[:500]}") from error
        data = answer["data"]
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(entry["metric"], float(entry["value"][1])) for entry in data["result"]]

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The matrix of an expression."""
        answer = get(f"{self.url}/api/v1/query_range", query=expr, start=start, end=end, step=step)
        return list(answer["data"]["result"])

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """Alerts that fire now, by name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for alert in get(f"{self.alerts_url or self.url}/api/v1/alerts")["data"]["alerts"]:
            if alert["state"] == "firing":
                name = alert["labels"].get("alertname") or alert["name"]
                found.setdefault(name, []).append(alert)
        return found


@contextmanager
def process(arguments: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A child process that is ended on leaving; its output goes to a file."""
    with log.open("w") as file:
        child = subprocess.Popen(
            arguments, stdout=options.pop("stdout", file), stderr=file, text=True, start_new_session=True, **options
        )
        try:
            yield child
        finally:
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # workers that it left behind


def wait_for(what: str, condition: Any, seconds: float = 60) -> Any:
    """Poll until the condition holds; generous, because the machine may be busy."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = condition()
        except (OSError, KeyError, ValueError, AssertionError):
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def _alive(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as response:
        return bool(response.status == 200)


@contextmanager
def prometheus(
    directory: Path,
    targets: list[str],
    rule_files: list[Path],
    interval: str = f"{SCRAPE_SECONDS}s",
    writable_for: str = "",
) -> Iterator[Store]:
    """A Prometheus that scrapes these targets and evaluates these rules.

    ``writable_for``: it takes samples by remote write, as old as that.
    """
    program, port = need("prometheus"), free_port()
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(path) for path in rule_files],
        "scrape_configs": [{"job_name": "shop", "static_configs": [{"targets": targets}]}] if targets else [],
        "storage": {"tsdb": {"out_of_order_time_window": writable_for or "0s"}},
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    arguments = [
        program, f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage",
        *(["--web.enable-remote-write-receiver"] if writable_for else []),
    ]  # fmt: skip
    with process(arguments, directory / "log") as child:
        url = f"http://127.0.0.1:{port}"
        wait_for("Prometheus", lambda: _alive(f"{url}/-/ready"))
        yield Store("scrape", url, pid=child.pid)


@contextmanager
def victoria(directory: Path, name: str, rule_files: list[Path]) -> Iterator[Store]:
    """A VictoriaMetrics that takes OTLP, and a vmalert that evaluates the rules on it."""
    program, alerter, port, alert_port = need("victoria-metrics"), need("vmalert"), free_port(), free_port()
    directory.mkdir(parents=True, exist_ok=True)
    url, alert_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{alert_port}"
    store = [
        program, f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={directory / 'data'}",
        "-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s", "-search.disableCache",
        "-inmemoryDataFlushInterval=1s", "-memory.allowedBytes=512MB",
    ]  # fmt: skip
    rules = [
        alerter, *(f"-rule={path}" for path in rule_files), f"-datasource.url={url}", f"-remoteWrite.url={url}",
        "-notifier.blackhole", f"-evaluationInterval={SCRAPE_SECONDS}s", "-rule.evalDelay=0s",
        "-remoteWrite.flushInterval=200ms", f"-httpListenAddr=127.0.0.1:{alert_port}",
        "-external.url=http://127.0.0.1",
    ]  # fmt: skip
    with process(store, directory / "log"):
        wait_for("VictoriaMetrics", lambda: _alive(f"{url}/health"))
        with process(rules, directory / "vmalert.log"):
            wait_for("vmalert", lambda: _alive(f"{alert_url}/health"))
            yield Store(name, url, exact=True, alerts_url=alert_url)


@contextmanager
def collector(directory: Path, name: str, config: dict[str, Any]) -> Iterator[Path]:
    """A Collector with this configuration; its debug output is in the file that is returned."""
    program = need("otelcol")
    directory.mkdir(parents=True, exist_ok=True)
    path, log = directory / f"{name}.yaml", directory / f"{name}.log"
    path.write_text(yaml.safe_dump(config))
    with process([program, f"--config={path}"], log):
        wait_for(f"Collector {name}", lambda: "Everything is ready" in log.read_text())
        yield log


def listening(config: dict[str, Any]) -> tuple[int, int]:
    """Put the OTLP receiver of a configuration on free local ports; returns those of gRPC and HTTP."""
    grpc, http = free_port(), free_port()
    protocols = config["receivers"]["otlp"]["protocols"]
    protocols["grpc"]["endpoint"], protocols["http"]["endpoint"] = f"127.0.0.1:{grpc}", f"127.0.0.1:{http}"
    return grpc, http


def debug_config() -> dict[str, Any]:
    """A Collector that prints everything it gets."""
    pipeline = {"receivers": ["otlp"], "exporters": ["debug"]}
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {}, "http": {}}}},
        "exporters": {"debug": {"verbosity": "detailed", "sampling_initial": 100000, "sampling_thereafter": 1}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"metrics": pipeline, "traces": pipeline},
        },
    }


__all__ = [
    "SCRAPE_SECONDS", "Sample", "Store", "collector", "debug_config", "free_port", "get", "listening",
    "process", "prometheus", "victoria", "wait_for",
]  # fmt: skip
