"""The example stack: its files are valid, consistent, and refer to existing files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.dashboards.support.backend_tools import need

STACK = Path(__file__).resolve().parents[2] / "examples" / "stack"
SERVICES = yaml.safe_load((STACK / "compose.yaml").read_text())["services"]
CORE = {"otlp", "memory_limiter", "batch", "otlphttp", "debug"}


def load(name: str) -> Any:
    return yaml.safe_load((STACK / name).read_text())


def test_every_mounted_file_is_there() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())]
    assert len(mounts) == 8
    for source in mounts:
        assert (STACK / source).exists(), source


def test_ports_are_for_this_machine_only() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_collector_accepts_its_configuration() -> None:
    done = subprocess.run(
        [need("otelcol"), "validate", f"--config={STACK / 'otelcol.yaml'}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_collector_has_core_components_only_and_limits_its_memory_first() -> None:
    config = load("otelcol.yaml")
    used = {name.split("/")[0] for part in ("receivers", "processors", "exporters") for name in config[part]}
    assert used <= CORE
    for pipeline in config["service"]["pipelines"].values():
        assert pipeline["processors"] == ["memory_limiter", "batch"]


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    text = (STACK / "prometheus.yaml").read_text()
    rules = (STACK / "../../dashboards/rules").resolve()
    (tmp_path / "prometheus.yaml").write_text(text.replace("/etc/prometheus/rules", str(rules)))
    done = subprocess.run(
        [need("promtool"), "check", "config", str(tmp_path / "prometheus.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rules found") == 2


def test_addresses_name_services() -> None:
    texts = [path.read_text() for path in STACK.rglob("*.yaml")]
    hosts = {
        host for text in texts for host in re.findall(r"(?:url: |endpoint: |ENDPOINT: )(?:http://)?([a-z]+):\d+", text)
    }
    assert hosts == {"collector", "prometheus", "tempo"}
    assert hosts <= set(SERVICES)


def test_data_source_interval_is_the_export_interval() -> None:
    exported = int(SERVICES["demo"]["environment"]["OTEL_METRIC_EXPORT_INTERVAL"])
    prometheus, tempo = load("grafana/datasources.yaml")["datasources"]
    assert prometheus["jsonData"]["timeInterval"] == f"{exported // 1000}s"
    assert prometheus["jsonData"]["exemplarTraceIdDestinations"] == [
        {"name": "trace_id", "datasourceUid": tempo["uid"]}
    ]
