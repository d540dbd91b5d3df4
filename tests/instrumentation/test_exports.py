"""Whole programs: the joined trace in a real collector, and zero code under ``opentelemetry-instrument``."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glasspool_instrumentation import Instrumentor
from tests.backends.collectors import collector
from tests.backends.support import free_port, wait_for

from .work import LIMIT

ROOT = Path(__file__).parents[2]

JOINED = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from opentelemetry import trace
from glasspool.telemetry.configuration import configure
from glasspool_instrumentation import wrap_executor

def work(number):
    with trace.get_tracer("worker").start_as_current_span(f"inside {number}"):
        return os.getpid()

if __name__ == "__main__":
    handle = configure(service_name="joined", otlp=True)
    for method in ("fork", "forkserver", "spawn"):
        context = multiprocessing.get_context(method)
        with wrap_executor(ProcessPoolExecutor(1, mp_context=context), method, child_telemetry=True) as pool:
            with trace.get_tracer("parent").start_as_current_span(f"request {method}"):
                assert pool.submit(work, 1).result(60) != os.getpid()
                assert pool.submit(work, 2).result(60) != os.getpid()
    assert handle.force_flush(60)
"""


def environment(**extra: str) -> dict[str, str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("src", "instrumentation"))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return {**inherited, "PYTHONPATH": path, "GLASSPOOL_WORKER_EXIT_SECONDS": "60", **extra}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_receives_one_trace_from_parent_and_workers(tmp_path: Path, protocol: str) -> None:
    script = tmp_path / "joined.py"
    script.write_text(JOINED)
    with collector(tmp_path) as receiver:
        env = environment(
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.grpc if protocol == "grpc" else receiver.http,
        )
        done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done.stdout + done.stderr
        spans: list[dict[str, Any]] = wait_for(
            lambda: (found := receiver.received().spans) and len(found) >= 21 and found, "21 spans"
        )
    assert len(spans) == 21  # each method: the request, and for both calls PRODUCER, CONSUMER and the function's own
    by_id = {span["ID"]: span for span in spans}
    for method in ("fork", "forkserver", "spawn"):
        request = next(span for span in spans if span["Name"] == f"request {method}")
        own = [span for span in spans if span["Trace ID"] == request["Trace ID"]]
        assert len(own) == 7
        for number in (1, 2):
            inside = next(span for span in own if span["Name"] == f"inside {number}")
            consumer = by_id[inside["Parent ID"]]
            producer = by_id[consumer["Parent ID"]]
            assert consumer["Name"] == producer["Name"] == f"{method} work"
            assert "process.pid" in consumer["attributes"]
            assert producer["Parent ID"] == request["ID"]


APP = """
import json, sys, time
import anyio, anyio.to_thread
from fastapi import FastAPI
from fastapi.testclient import TestClient

app = FastAPI()

@app.get("/")
def endpoint():
    time.sleep(0.01)
    return {"ok": True}

with TestClient(app) as client:
    for _ in range(5):
        assert client.get("/").json() == {"ok": True}

from glasspool.telemetry.recording.registry import REGISTRY
found = REGISTRY.collect().points.get("glasspool.task.submitted", [])
print(json.dumps({p.attributes["glasspool.executor.name"]: p.value for p in found}))
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory that makes the entry points of pyproject.toml known, as installing the project does."""
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    directory = tmp_path / "site" / "glasspool-0.dist-info"
    directory.mkdir(parents=True)
    (directory / "METADATA").write_text("Metadata-Version: 2.1\nName: glasspool\nVersion: 0\n")
    lines = ["[opentelemetry_instrumentor]"]
    lines += [f"{name} = {value}" for name, value in project["entry-points"]["opentelemetry_instrumentor"].items()]
    (directory / "entry_points.txt").write_text("\n".join(lines))
    return directory.parent


@pytest.mark.parametrize("disabled", ["", "glasspool_anyio"])
def test_zero_code_shows_the_limiter_of_an_unmodified_app(tmp_path: Path, installed: Path, disabled: str) -> None:
    command = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("opentelemetry-instrument is missing: pip install opentelemetry-distro")
    pytest.importorskip("fastapi")
    script = tmp_path / "app.py"
    script.write_text(APP)
    env = environment(
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled,
    )
    env["PYTHONPATH"] += os.pathsep + str(installed)
    done = subprocess.run(
        [command, sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    submitted = json.loads(done.stdout.splitlines()[-1])
    assert "asyncio" in submitted
    assert submitted.get("anyio.to_thread", 0) == (0 if disabled else 5)


SCRAPED = """
import os, urllib.request
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(2, thread_name_prefix="etl") as pool:
    assert list(pool.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
url = f"http://127.0.0.1:{os.environ['OTEL_EXPORTER_PROMETHEUS_PORT']}/metrics"
print(urllib.request.urlopen(url, timeout=60).read().decode())
"""

ABSENT = """
from glasspool_instrumentation import Instrumentor

class AbsentInstrumentor(Instrumentor):
    libraries = ("a_library_that_nobody_has",)

    def _instrument(self, selection, **options):
        raise AssertionError("there is nothing to instrument")

    def _uninstrument(self):
        pass
"""


def test_zero_code_with_prometheus_serves_the_figures_and_says_nothing_of_absent_libraries(
    tmp_path: Path, installed: Path
) -> None:
    command = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("opentelemetry-instrument is missing: pip install 'glasspool[zero-code]'")
    pytest.importorskip("opentelemetry.exporter.prometheus", reason="pip install 'glasspool[zero-code]'")
    (installed / "absent.py").write_text(ABSENT)
    with (installed / "glasspool-0.dist-info" / "entry_points.txt").open("a") as names:
        names.write("\nabsent = absent:AbsentInstrumentor")
    script = tmp_path / "app.py"
    script.write_text(SCRAPED)
    env = environment(
        OTEL_METRICS_EXPORTER="prometheus",
        OTEL_TRACES_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(free_port()),
    )
    env["PYTHONPATH"] += os.pathsep + str(installed)
    done = subprocess.run(
        [command, sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    own = 'glasspool_executor_name="etl",glasspool_executor_type="thread_pool"'
    lines = [line for line in done.stdout.splitlines() if own in line]
    values = {line.split("{")[0]: float(line.split()[-1]) for line in lines if "_bucket" not in line}
    assert values["glasspool_task_submitted_total"] == 5
    assert values["glasspool_task_duration_seconds_count"] == 5


def test_an_absent_library_is_named_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    class Absent(Instrumentor):
        libraries = ("a_library_that_nobody_has",)

        def _instrument(self, selection: object, **options: object) -> None:
            raise AssertionError("there is nothing to instrument")

        def _uninstrument(self) -> None:
            pass

    with caplog.at_level(logging.DEBUG, "glasspool"):
        Absent().instrument()
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "a_library_that_nobody_has is not installed, so there is nothing to observe" in record.getMessage()
    assert not Absent().is_instrumented_by_opentelemetry
