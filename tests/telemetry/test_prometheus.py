"""The prometheus_client collector and the endpoint: one path per registry, clear messages, scrapes of blocked loops."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
import urllib.request

import prometheus_client
import pytest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from glasspool.errors import ConfigurationError
from glasspool.telemetry import catalog, prometheus
from glasspool.telemetry.recording.ending import SUCCESS
from glasspool.telemetry.recording.registry import Registry

from .support import full_recorder, run_python, run_task, sampled_span

BLOCK = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r} or name == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
"""Makes a package look as if it were not installed."""


@pytest.fixture
def client() -> prometheus_client.CollectorRegistry:
    return prometheus_client.CollectorRegistry()


def test_names_types_and_suffixes_are_the_catalogs(client):
    registry = Registry()
    mail = full_recorder(registry)
    run_task(mail, "a", "cancelled", "cancelled", reason="explicit", requested=mail.record.clock())
    prometheus.register(client, source=registry)
    text = openmetrics.generate_latest(client).decode()
    families = {family.name: family for family in parse_openmetrics(text)}  # the parser is strict
    kinds = {"updowncounter": "gauge"}
    known = {}
    for metric in catalog.ALL_METRICS:
        name = metric.prometheus_name.removesuffix("_total")
        known[name] = metric
        if name in families:
            assert families[name].type == kinds.get(metric.kind, metric.kind)
            assert families[name].documentation == metric.help
            assert families[name].unit == ("seconds" if metric.unit == "s" else "")
            allowed = {catalog.prometheus_label(key) for key in metric.labels} | {"le"}
            for sample in families[name].samples:
                assert set(sample.labels) <= allowed
                assert sample.name.startswith(name)
    assert set(families) <= set(known)
    assert {"glasspool_task_submitted", "glasspool_slot_time_seconds", "glasspool_task_duration_seconds"} <= set(
        families
    )
    assert "_created" not in text
    assert "glasspool_task_submitted_total{" in text
    assert "glasspool_slot_time_seconds_total{" in text
    assert {family.name for family in parse_text(prometheus_client.generate_latest(client).decode())} == {
        metric.prometheus_name.removesuffix("_total") for name, metric in known.items() if name in families
    }


def test_every_bucket_bound_is_there_in_full_and_cumulative(client):
    registry = Registry()
    mail = full_recorder(registry)
    run_task(mail, "a")
    mail.record.reject("submit_timeout", blocked=0.25)
    prometheus.register(client, source=registry)
    text = prometheus_client.generate_latest(client).decode()
    for metric in (catalog.TASK_DURATION, catalog.QUEUE_WAIT, catalog.SUBMIT_WAIT):
        name = metric.prometheus_name
        found = re.findall(rf'^{name}_bucket{{.*le="([^"]+)"}} ([0-9.]+)$', text, flags=re.M)
        series = len(metric.buckets) + 1
        assert [float(bound) for bound, _ in found[:series]] == [*metric.buckets, float("inf")]
        counts = [float(count) for _, count in found[:series]]
        assert counts == sorted(counts)
        assert counts[-1] == 1.0


def test_exemplars_are_in_openmetrics_only_and_of_sampled_traces_only(client):
    registry = Registry()
    mail = full_recorder(registry)
    run_task(mail, "sampled", span=sampled_span(0xAA, 0xBB), blocked=0.25)
    run_task(mail, "unsampled", span=sampled_span(0xCC, 0xDD, sampled=False))
    run_task(
        mail,
        "cut",
        "cancelled",
        "cancelled",
        span=sampled_span(0xEE, 0xFF),
        reason="shutdown",
        requested=mail.record.clock(),
    )
    prometheus.register(client, source=registry)
    assert "trace_id" not in prometheus_client.generate_latest(client).decode()
    text = openmetrics.generate_latest(client).decode()
    with_exemplar = {
        family.name for family in parse_openmetrics(text) for sample in family.samples if sample.exemplar is not None
    }
    assert with_exemplar == {
        metric.prometheus_name
        for metric in (catalog.TASK_DURATION, catalog.QUEUE_WAIT, catalog.SUBMIT_WAIT, catalog.CANCEL_DURATION)
    }
    assert f'trace_id="{0xAA:032x}"' in text
    assert f'span_id="{0xBB:016x}"' in text
    assert f"{0xCC:032x}" not in text


def test_one_collector_per_registry_and_it_can_be_taken_out(client):
    registry = Registry()
    full_recorder(registry)
    first = prometheus.register(client, source=registry)
    assert prometheus.register(client, source=registry) is first
    client.unregister(first)
    assert prometheus_client.generate_latest(client) == b""
    prometheus.register(client, source=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        client.register(prometheus_client.Counter("glasspool_task_submitted", "not ours", registry=None))


def test_the_default_is_the_process_wide_registry():
    collector = prometheus.register()
    try:
        assert prometheus.register(prometheus_client.REGISTRY) is collector
    finally:
        prometheus_client.REGISTRY.unregister(collector)


def test_beside_an_opentelemetry_reader_the_collector_stays_away_and_says_so():
    pytest.importorskip("opentelemetry.exporter.prometheus", reason="pip install opentelemetry-exporter-prometheus")
    code = """
import logging, prometheus_client
logging.basicConfig(format="LOG %(message)s")
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from glasspool.telemetry import prometheus
from tests.telemetry.support import full_recorder, run_task
from glasspool.telemetry.recording.registry import REGISTRY
prometheus.register()
run_task(full_recorder(REGISTRY))
before = prometheus_client.generate_latest().decode()
metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
run_task(full_recorder(REGISTRY))
for _ in range(2):
    after = prometheus_client.generate_latest().decode()
count = lambda text: sum(line.startswith("glasspool_task_submitted_total{") for line in text.splitlines())
print("before", count(before))
print("after", count(after))
names = lambda text: {line.split("{")[0] for line in text.splitlines() if line.startswith("glasspool_")}
print("strangers", sorted(names(after) - names(before)))
"""
    done = run_python(code)
    assert list(done.lines("before")) == ["1"]
    assert list(done.lines("after")) == ["1"], "the reader's series alone"
    assert list(done.lines("strangers")) == ["[]"], "both paths spell the names alike"
    assert done.err.count("PrometheusMetricReader is on the same prometheus_client registry") == 1


def test_multiprocess_mode_is_recognised_and_said_to_be_impossible(tmp_path):
    code = """
import logging, prometheus_client
logging.basicConfig(format="LOG %(message)s")
from prometheus_client import multiprocess
from glasspool.telemetry import prometheus
from tests.telemetry.support import full_recorder, run_task
from glasspool.telemetry.recording.registry import REGISTRY
run_task(full_recorder(REGISTRY))
registry = prometheus_client.CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
prometheus.register(registry)
print("series", prometheus_client.generate_latest(registry).decode().count("glasspool_"))
"""
    done = run_python(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert list(done.lines("series")) == ["0"], "which worker answers is chance: no series rather than wrong ones"
    assert "multiprocess mode cannot carry glasspool's series" in done.err
    assert "Let the workers share a port of glasspool's" in done.err


def test_without_prometheus_client_the_error_says_what_to_install():
    code = (
        BLOCK.format(package="prometheus_client")
        + """
import glasspool.telemetry
from glasspool.errors import ConfigurationError
from glasspool.telemetry import prometheus
for call in (prometheus.register, lambda: prometheus.serve(0)):
    try:
        call()
    except ConfigurationError as error:
        print("error", error)
"""
    )
    said = (
        "the Prometheus endpoint needs prometheus_client, which is not installed: pip install 'glasspool[prometheus]'"
    )
    assert list(run_python(code).lines("error")) == [said, said]


def scrape(port: int, accept: str = "") -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def test_the_endpoint_answers_while_the_event_loop_is_blocked(client):
    registry = Registry()
    mail = full_recorder(registry)
    endpoint = prometheus.serve(0, registry=client, source=registry)
    texts: list[str] = []

    async def main() -> None:
        task = mail.task("blocking", "inline")
        mail.accept(task, queued=False)
        mail.begin(task)
        thread = threading.Thread(target=lambda: texts.append(scrape(endpoint.port, "application/openmetrics-text")))
        thread.start()
        thread.join(30)  # the loop stands still until the scrape is done
        mail.settle(task, SUCCESS)

    try:
        asyncio.run(main())
    finally:
        endpoint.close()
    assert "glasspool_task_active{" in texts[0]
    assert texts[0].endswith("# EOF\n")
    with pytest.raises(OSError, match="refused"):
        scrape(endpoint.port)


def test_a_taken_port_is_named(client):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*prometheus_port=0"):
            prometheus.serve(port, registry=client, source=Registry())


def test_nothing_is_shown_before_anything_happened(client, caplog):
    with caplog.at_level(logging.WARNING):
        prometheus.register(client, source=Registry())
    assert prometheus_client.generate_latest(client) == b""
    assert caplog.records == []
