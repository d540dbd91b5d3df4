"""Forks: a child starts at zero and exports only its own tasks; the processes of pre-fork servers add up."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glasspool.telemetry import catalog

from .support import LIMIT, clean_environment, run_python
from .test_configure import CONSOLE, SETUP, documents, spans

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def exported(done) -> dict[str, dict[str, float]]:
    """By service instance: the last exported values that the forks are told apart by."""
    found: dict[str, dict[str, float]] = {}
    for document in documents(done):
        for resource in document.get("resource_metrics", ()):
            instance = found.setdefault(resource["resource"]["attributes"]["service.instance.id"], {})
            for scope in resource["scope_metrics"]:
                for metric in scope["metrics"]:
                    points = metric["data"]["data_points"]
                    instance[metric["name"]] = sum(point.get("value", point.get("count")) for point in points)
    return found


FORK = """
import os
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    {child}
    sys.stdout.flush()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_forked_child_that_runs_nothing_exports_nothing():
    code = SETUP + "configure()\nwork(5)\n" + FORK.format(child='print("child")')
    done = run_python(code, **CONSOLE)
    assert "child" in done.out
    (values,) = exported(done).values()
    assert values[catalog.TASK_SUBMITTED.name] == 5
    assert len(spans(done)) == 5, "spans that the parent had not exported yet are not exported twice"


def test_a_forked_child_exports_what_it_ran_under_an_identity_of_its_own():
    code = SETUP + "configure()\nwork(5)\n" + FORK.format(child="work(3)") + "work(2)"
    done = run_python(code, **CONSOLE)
    found = sorted(exported(done).values(), key=lambda values: values[catalog.TASK_SUBMITTED.name])
    for metric in (catalog.TASK_SUBMITTED, catalog.TASK_DURATION, catalog.QUEUE_WAIT):
        assert [values[metric.name] for values in found] == [3, 7], metric.name
    by_instance = [span["resource"]["attributes"]["service.instance.id"] for span in spans(done)]
    assert sorted(by_instance.count(instance) for instance in set(by_instance)) == [3, 7]
    assert set(by_instance) == set(exported(done)), "spans and metrics of a process carry one identity"


@pytest.mark.parametrize("signal_off", ["OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"])
def test_one_signal_alone_is_told_apart_too(signal_off):
    code = SETUP + "configure()\nwork(5)\n" + FORK.format(child="work(3)")
    done = run_python(code, **{**CONSOLE, signal_off: "none"})
    if signal_off == "OTEL_TRACES_EXPORTER":
        counts = [values[catalog.TASK_SUBMITTED.name] for values in exported(done).values()]
    else:
        instances = [span["resource"]["attributes"]["service.instance.id"] for span in spans(done)]
        counts = [instances.count(instance) for instance in set(instances)]
    assert sorted(counts) == [3, 5]


def test_instruments_of_the_application_go_on_in_the_child():
    code = (
        SETUP
        + """
configure()
from opentelemetry import metrics
counter = metrics.get_meter("app").create_counter("app.requests")
counter.add(1)
"""
        + FORK.format(child="counter.add(1); work(1)")
    )
    counts = [
        metric["data"]["data_points"][0]["value"]
        for document in documents(run_python(code, **CONSOLE))
        for resource in document.get("resource_metrics", ())
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
        if metric["name"] == "app.requests"
    ]
    assert set(counts) == {1, 2}, "the SDK's own counters go on from where the parent was"


def test_a_grandchild_starts_with_nothing_too():
    inner = "work(3)\n    pid = os.fork()\n    if pid == 0:\n        work(4); sys.exit(0)\n    os.waitpid(pid, 0)"
    code = SETUP + "configure()\nwork(5)\n" + FORK.format(child=inner)
    found = sorted(values[catalog.TASK_SUBMITTED.name] for values in exported(run_python(code, **CONSOLE)).values())
    assert found == [3, 4, 5]


def test_workers_of_multiprocessing_flush_when_they_leave():
    code = (
        SETUP
        + """
import multiprocessing
configure()
work(5)
sys.stdout.flush()
workers = [multiprocessing.get_context("fork").Process(target=work, args=(count,)) for count in (1, 2)]
for worker in workers:
    worker.start()
    worker.join()
"""
    )
    done = run_python(code, **CONSOLE)
    found = sorted(values[catalog.TASK_SUBMITTED.name] for values in exported(done).values())
    assert found == [1, 2, 5]
    assert len(spans(done)) == 8


def test_the_child_of_an_endpoint_serves_nothing_until_it_asks():
    code = (
        SETUP
        + """
handle = configure(prometheus_port=0)
port = handle.prometheus_port
work(5)
"""
        + FORK.format(
            child="""
    import socket, urllib.request
    print("inherited", handle.prometheus_port)
    work(2)
    again = configure(prometheus_port=0)
    print("own", again is handle, again.prometheus_port not in (None, port))
    text = urllib.request.urlopen(f"http://127.0.0.1:{again.prometheus_port}/metrics").read().decode()
    lines = [line for line in text.splitlines() if line.startswith("glasspool_task_submitted_total{")]
    print("submitted", lines[0].split()[-1])
"""
        )
    )
    done = run_python(code)
    assert list(done.lines("inherited")) == ["None"]
    assert list(done.lines("own")) == ["True True"]
    assert list(done.lines("submitted")) == ["2.0"]


def test_an_open_executor_of_the_parent_counts_from_zero_in_the_child():
    code = (
        SETUP
        + """
from glasspool.telemetry import catalog
from tests.telemetry.support import value
recorder = full_recorder(REGISTRY)
run_task(recorder)
running = recorder.task("running", "inline")
recorder.accept(running, queued=False)
"""
        + FORK.format(
            child="""
    print("empty", REGISTRY.collect().points == {})
    run_task(recorder)
    found = REGISTRY.collect()
    figures = value(found, catalog.TASK_SUBMITTED), value(found, catalog.TASK_ACTIVE)
    print("child", *figures, recorder.record.counts().succeeded)
"""
        )
        + "print('parent', value(REGISTRY.collect(), catalog.TASK_SUBMITTED))"
    )
    done = run_python(code)
    assert list(done.lines("empty")) == ["True"]
    assert list(done.lines("child")) == ["1 0 1"]
    assert list(done.lines("parent")) == ["2"]


APP = '''
"""A WSGI app whose every request is one task; each worker serves its own figures and leaves its totals at exit."""
import anyio, json, os, pathlib, time
from glasspool import HybridExecutor
from glasspool.telemetry import configure

handle = configure(service_name="web", prometheus_port=0)  # in the master: --preload

async def work():
    await anyio.sleep(0)

def wait_for_all():
    """Until each of the four workers has a request: however late one starts, it gets its share."""
    pathlib.Path(f"worker-{os.getpid()}").touch()
    while len(list(pathlib.Path().glob("worker-*"))) < 4:
        time.sleep(0.01)

async def request():
    async with HybridExecutor("web", max_in_flight=2) as executor:
        await executor.run(work)

def app(environ, start_response):
    wait_for_all()
    worker = configure(prometheus_port=0)
    anyio.run(request)
    body = json.dumps({"pid": os.getpid(), "port": worker.prometheus_port}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
'''


def test_gunicorn_with_four_workers_and_preload_adds_up(tmp_path):
    pytest.importorskip("gunicorn", reason="pip install gunicorn")
    (tmp_path / "webapp.py").write_text(APP)
    bind = f"unix:{tmp_path}/web.sock"
    requests = 60
    with (tmp_path / "out").open("w") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "--preload",
                "-w",
                "4",
                "-t",
                str(int(LIMIT)),  # for as long a worker may wait for the others
                "-b",
                bind,
                "--chdir",
                str(tmp_path),
                "webapp:app",
            ],
            env=clean_environment(**CONSOLE, PYTHONUNBUFFERED="1"),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(ask, [tmp_path / "web.sock"] * requests))
        ports = {answer["pid"]: answer["port"] for answer in answers}
        scraped = 0.0
        for port in ports.values():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=LIMIT) as page:
                text = page.read().decode()
            scraped += sum(
                float(n) for n in re.findall(r"^glasspool_task_submitted_total\{.*} (.*)$", text, flags=re.M)
            )
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(LIMIT)
    output = (tmp_path / "out").read_text()
    assert len(ports) == len(set(ports.values())) == 4, output
    assert scraped == requests

    class Output:
        out = output

    found = exported(Output)
    tasks = {instance: values for instance, values in found.items() if catalog.TASK_SUBMITTED.name in values}
    assert len(tasks) == len(ports), "each worker is an instance; the master, which ran nothing, is none"
    for metric in (catalog.TASK_SUBMITTED, catalog.TASK_COMPLETED, catalog.TASK_DURATION, catalog.EXECUTOR_OPENED):
        assert sum(values[metric.name] for values in tasks.values()) == requests, metric.name
    assert len(spans(Output)) == requests


def ask(path: Path) -> dict[str, int]:
    """One HTTP request to a server on a unix socket, which may still be starting."""
    import http.client
    import socket

    deadline = time.monotonic() + LIMIT
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                return json.loads(answer.read())
        except (ConnectionError, FileNotFoundError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
