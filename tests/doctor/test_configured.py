"""What is said of programs that call ``configure()``, or are set up by variables alone: ports, forks, processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.backends.support import free_port
from tests.telemetry.support import LIMIT

from .support import QUIET, command, http_server, in_program, none, one

CONFIGURE = "import glasspool.telemetry as t; t.configure(prometheus_port={})\n"
LAUNCHER = Path(sys.executable).with_name("opentelemetry-instrument")
zero_code = pytest.mark.skipif(not LAUNCHER.exists(), reason="opentelemetry-instrument is not installed")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def written(folder: Path, code: str) -> str:
    """A program: children of multiprocessing that are spawned must find it in a file."""
    file = folder / "program.py"
    file.write_text(code)
    return str(file)


@pytest.mark.parametrize("send", [False, True])
def test_a_port_that_configure_could_not_serve_is_a_problem(send):
    with http_server(404) as port:
        findings = in_program(CONFIGURE.format(port), send=send)
    finding = one(findings, "port", f"Port {port} of 127.0.0.1")
    assert finding.level == "problem"
    assert "configure() could not serve it" in finding.found
    assert "would" not in finding.why
    assert finding.fix == "Free the port, or choose another: configure(prometheus_port=…)."
    if send:
        assert "it answers 404" in finding.found
    none(findings, "configure")  # not said twice
    none(findings, "providers")  # it has called configure()
    assert "Call" not in str(findings)


def test_a_port_that_the_variables_ask_for_is_changed_by_them():
    with http_server(404) as port:
        variables = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
        findings = in_program("import glasspool.telemetry as t; t.configure(otlp=False)", **variables)
    assert "OTEL_EXPORTER_PROMETHEUS_PORT" in one(findings, "port", "could not serve it").fix


def test_a_port_of_another_service_of_glasspools(tmp_path):
    port = free_port()
    code = CONFIGURE.replace("t.configure(", "t.configure(service_name='{}', ")
    other = f"""
import subprocess, sys
code = {code.format("other", port)!r} + "from glasspool.telemetry import providers\\nprint('on', flush=True); input()"
other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
other.stdout.readline()
import atexit; atexit.register(other.kill)
"""
    findings = in_program(other + code.format("mine", port), send=True)
    assert one(findings, "port", "could not serve it").level == "problem"


def test_an_address_that_is_not_of_this_machine():
    findings = in_program(CONFIGURE.format(free_port()), OTEL_EXPORTER_PROMETHEUS_HOST="192.0.2.1")
    finding = one(findings, "port", "192.0.2.1")
    assert (finding.level, "OTEL_EXPORTER_PROMETHEUS_HOST" in finding.fix) == ("problem", True)


def test_a_port_that_configure_got_later(tmp_path):
    code = f"""
import socket, time
with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
    {CONFIGURE.format("port").strip().replace("; ", chr(10) + "    ")}
t.configure(prometheus_port={free_port()})
"""
    findings = in_program(code, send=True)
    assert one(findings, "port", "").level == "ok"
    none(findings, "configure", but="warning")  # that it is configured already
    assert "no Prometheus endpoint" not in str(findings)


def test_a_missing_prometheus_client_is_a_problem():
    findings = in_program("import sys; sys.modules['prometheus_client'] = None\n" + CONFIGURE.format(free_port()))
    finding = one(findings, "port", "needs prometheus_client")
    assert finding.level == "problem"
    assert "pip install 'glasspool[prometheus]'" in finding.fix


def test_configure_without_a_way_out():
    asked = in_program("import glasspool.telemetry as t; t.configure()", send=True, **QUIET)
    none(asked, "providers")
    assert "OTEL_TRACES_EXPORTER=none" in one(asked, "providers", "traces").found
    off = in_program("import glasspool.telemetry as t; t.configure(otlp=False)")
    for signal in ("traces", "metrics"):
        finding = one(off, "providers", signal)
        assert finding.level == "warning"
        assert "Call glasspool.telemetry.configure() at the start" not in finding.fix


FORKING = """
import os, time
from glasspool.telemetry import configure
configure(prometheus_port={port})
from glasspool import HybridExecutor
import asyncio
async def main():
    async with HybridExecutor("x") as executor:
        await executor.submit(time.sleep, 0)
        time.sleep(60)
pid = os.fork()
if pid == 0 and {works}:
    asyncio.run(main())
time.sleep(60)
"""


@forks
@pytest.mark.parametrize("works", [True, False])
def test_a_process_that_was_forked_after_configure_is_healthy(works):
    code = FORKING.format(port=free_port(), works=works)
    findings = command("--seconds", "4", "--", sys.executable, "-c", code, status=0)
    assert "2 processes examined" in one(findings, "command", "").found
    for check in ("providers", "port", "configure"):
        none(findings, check)
    if not works:
        assert "of its parent" in one(findings, "port", "as soon as it has figures").found
    assert "Call" not in str(findings)


POOL = """
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
from glasspool.telemetry import configure
import glasspool_instrumentation

if __name__ == "__main__":
    glasspool_instrumentation.instrument()
    configure(service_name="x", prometheus_port={port})
    with ProcessPoolExecutor(2, multiprocessing.get_context({how!r})) as pool:
        list(pool.map(time.sleep, [60, 60]))
"""


@pytest.mark.parametrize("how", ["spawn", pytest.param("fork", marks=forks)])
def test_workers_of_a_pool_that_record_nothing_themselves_are_healthy(tmp_path, how):
    program = written(tmp_path, POOL.format(port=free_port(), how=how))
    findings = command("--seconds", "5", "--", sys.executable, program, status=0)
    processes = 3 if how == "fork" else 4  # spawning has a process of its own
    assert f"{processes} processes examined" in one(findings, "command", "").found
    none(findings, "providers")


CHILDREN = """
import multiprocessing, time

def work():
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=work, daemon=True) for _ in range(2)]
    for each in children:
        each.start()
    time.sleep(60)
"""


@zero_code
def test_children_that_are_spawned_under_opentelemetry_instrument_are_examined(tmp_path):
    program = written(tmp_path, CHILDREN)
    variables = {**QUIET, "OTEL_LOGS_EXPORTER": "none"}
    findings = command("--seconds", "8", "--", str(LAUNCHER), sys.executable, program, status=0, **variables)
    assert "4 processes examined" in one(findings, "command", "").found  # with that of spawning
    none(findings, "providers")
    assert "OTEL_TRACES_EXPORTER=none" in one(findings, "providers", "traces").found
    assert "FuturesInstrumentor" in one(findings, "pools", "On:").found  # in each of them


@zero_code
def test_the_programs_own_endpoint_of_opentelemetry():
    port = free_port()
    variables = {
        "OTEL_METRICS_EXPORTER": "prometheus", "OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port), "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
    }  # fmt: skip
    code = "from concurrent.futures import ThreadPoolExecutor as P; P(1, 'etl').submit(int).result()"
    findings = command("--seconds", str(LIMIT), "--", str(LAUNCHER), sys.executable, "-c", code, status=0, **variables)
    finding = one(findings, "port", str(port))
    assert finding.level == "ok"
    assert "this program's own" in finding.found
    assert "another" not in finding.found
    none(findings, "providers")


@zero_code
def test_children_that_opentelemetry_instrument_could_not_set_up(tmp_path):
    port = free_port()
    variables = {
        "OTEL_METRICS_EXPORTER": "prometheus", "OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port), "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
    }  # fmt: skip
    program = written(tmp_path, CHILDREN)
    findings = command("--seconds", "8", "--", str(LAUNCHER), sys.executable, program, status=1, **variables)
    failed = one(findings, "launch", "turned on none of glasspool's instrumentations")
    assert failed.level == "problem"
    assert failed.found.startswith("processes ")
    assert failed.found.partition(":")[0].count(",") == 1  # the children, and not what multiprocessing starts
    taken = one(findings, "port", "taken by OpenTelemetry's Prometheus exporter of another process")
    assert (taken.level, "configure(prometheus_port=" in taken.fix) == ("problem", True)
    assert one(findings, "port", "this program's own").level == "ok"
    assert "recorded nothing itself" not in str(findings)
