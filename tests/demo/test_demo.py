"""The demo, run as a user runs it: its counts agree, and it can be scraped, interrupted and piped."""

from __future__ import annotations

import json
import os
import re
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from glasspool.telemetry import catalog
from tests.demo.support import COMMAND, LIMIT, Demo, glasspool, scrape, scrape_until
from tests.telemetry.support import clean_environment

OUTCOMES = ("success", "error", "timeout", "cancelled")
COMPLETED = catalog.TASK_COMPLETED.prometheus_name
SUBMITTED = catalog.TASK_SUBMITTED.prometheus_name


def assert_adds_up(summary: dict[str, Any]) -> None:
    """Our own arithmetic over the summary; the program's opinion of itself comes last."""
    assert set(summary["executors"]) == {"parse", "deliver"}
    for figures in summary["executors"].values():
        assert figures["submitted"] == sum(figures[outcome] for outcome in OUTCOMES)
        assert figures["success"] > 0
    requests = summary["requests"]
    assert requests["sent"] == requests["received"] > 0
    assert [check for check in summary["checks"] if not check["ok"]] == []
    for check in summary["checks"]:
        equal, at_least = check["left"] == check["right"], check["left"] >= check["right"]
        assert equal if check["relation"] == "=" else at_least
    assert summary["adds_up"] is True


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_run_to_its_end_adds_up(tmp_path: Path, backend: str) -> None:
    with Demo(tmp_path, "--no-live", "--seconds", "6", "--backend", backend) as demo:
        code, summary = demo.finish()
    assert code == 0, demo.said
    assert "The numbers add up." in demo.said
    assert summary["backend"] == backend
    assert summary["signal"] is None
    assert_adds_up(summary)
    # Everything the demo promises has happened: 6 seconds hold one burst and many impatient callers.
    deliver = summary["executors"]["deliver"]
    assert deliver["cancelled"] > 0
    assert deliver["rejected"] > 0


def test_the_last_scrape_says_what_the_summary_says(tmp_path: Path) -> None:
    with Demo(tmp_path, "--no-live", "--seconds", "4", "--linger", "60") as demo:
        url = demo.read_until(r"metrics: (http://\S+)")[1]
        demo.read_until("Serving .* more")
        text = scrape(url)
        demo.interrupt()
        _, summary = demo.finish()
    assert "SystemError" not in text  # what CPython's parser says when threads disturb it
    for name, figures in summary["executors"].items():
        for outcome in OUTCOMES:
            lines = re.findall(
                rf'^{COMPLETED}{{(?=.*executor_name="{name}")(?=.*outcome="{outcome}").*}} (\S+)$', text, re.MULTILINE
            )
            assert sum(map(float, lines)) == figures[outcome], (name, outcome)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_run_can_be_scraped_and_when_interrupted_drains_and_reports(tmp_path: Path, backend: str) -> None:
    with Demo(tmp_path, "--no-live", "--seconds", "600", "--backend", backend) as demo:
        url = demo.read_until(r"metrics: (http://127\.0\.0\.1:\d+/metrics)")[1]
        text = scrape_until(url, rf'^{COMPLETED}{{.*"deliver".*"success".*}} [1-9]')
        demo.interrupt()
        code, summary = demo.finish()
    assert code == 130, demo.said
    assert summary["signal"] == 2
    assert_adds_up(summary)
    scraped = set(re.findall(rf'^{SUBMITTED}{{.*glasspool_executor_name="(\w+)"', text, re.MULTILINE))
    assert scraped == set(summary["executors"])
    assert "Traceback" not in demo.said


def test_a_second_interrupt_cancels_what_is_left(tmp_path: Path) -> None:
    with Demo(tmp_path, "--no-live", "--seconds", "600") as demo:
        demo.read_until_delivered()
        demo.interrupt_twice()
        code, summary = demo.finish()
    assert summary["signal"] in (2, 15)
    assert code == 128 + summary["signal"], demo.said
    assert_adds_up(summary)
    assert "Traceback" not in demo.said


def test_a_pipe_gets_plain_lines_without_being_asked(tmp_path: Path) -> None:
    with Demo(tmp_path, "--seconds", "600") as demo:
        demo.read_until_delivered()
        demo.interrupt()
        code, summary = demo.finish()
    assert code == 130
    assert "\x1b" not in demo.said
    assert_adds_up(summary)


def test_a_reader_that_leaves_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    arguments = [*COMMAND, "demo", "--port", "0", "--seconds", "4", "--summary-json", str(path)]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read().decode()
        assert process.wait(LIMIT) == 0, errors
    assert errors == ""
    assert_adds_up(json.loads(path.read_text()))


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals on this system")
def test_a_terminal_gets_the_live_view(tmp_path: Path) -> None:
    import pty

    path = tmp_path / "summary.json"
    ours, theirs = pty.openpty()
    arguments = [*COMMAND, "demo", "--port", "0", "--seconds", "4", "--summary-json", str(path)]
    variables = clean_environment(TERM="xterm-256color", COLUMNS="120", LINES="50")
    with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process:
        os.close(theirs)
        drawn = b""
        while True:
            try:
                some = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side has gone
                break
            if not some:
                break
            drawn += some
        os.close(ours)
        assert process.wait(LIMIT) == 0, drawn.decode()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())
    for expected in ("in flight", " of 8", "p95", "succeeded", "at limit", "The numbers add up."):
        assert expected in text, text[-4000:]
    assert_adds_up(json.loads(path.read_text()))


def test_a_taken_port_is_said_and_another_one_is_used(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as taken:
        port = str(taken.server_address[1])
        with Demo(tmp_path, "--no-live", "--seconds", "0.5", "--port", port) as demo:
            code, summary = demo.finish()
    assert code == 0
    assert f"cannot listen on 127.0.0.1:{port}" in demo.said
    assert summary["metrics_url"] is not None
    assert port not in summary["metrics_url"]


def test_an_endpoint_in_the_environment_gets_spans_and_metrics(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen[self.path] = seen.get(self.path, 0) + len(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = Thread(target=collector.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        with Demo(tmp_path, "--no-live", "--seconds", "600", **variables) as demo:
            demo.read_until_delivered()
            demo.interrupt()
            code, summary = demo.finish()
        collector.shutdown()
        thread.join()
    assert code == 130, demo.said
    assert summary["otlp"] is True
    assert_adds_up(summary)
    assert set(seen) == {"/v1/traces", "/v1/metrics"}
    assert min(seen.values()) > 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seconds", "0"], "at least 0.1"),
        (["--seconds", "inf"], "at least 0.1"),
        (["--seconds", "soon"], "--seconds"),
        (["--backend", "curio"], "'asyncio'"),
        (["--port", "70000"], "65535"),
        (["--summary-json", "/nowhere/at/all.json"], "/nowhere/at is no directory"),
        (["--colour"], "--colour"),
    ],
)
def test_bad_options_are_refused_before_anything_runs(arguments: list[str], says: str) -> None:
    done = glasspool("demo", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_missing_backend_says_how_to_get_it(tmp_path: Path) -> None:
    hide(tmp_path, "trio")
    done = glasspool("demo", "--backend", "trio", PYTHONPATH=hidden_path(tmp_path))
    assert done.returncode == 2
    assert "pip install trio" in done.stderr


@pytest.mark.parametrize("missing", ["rich", "typer"])
@pytest.mark.parametrize("arguments", [[], ["demo"]])
def test_a_missing_extra_says_how_to_get_it(tmp_path: Path, missing: str, arguments: list[str]) -> None:
    hide(tmp_path, missing)
    done = glasspool(*arguments, PYTHONPATH=hidden_path(tmp_path))
    assert done.returncode == 1
    assert done.stderr.strip().endswith("pip install 'glasspool[cli]'")
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


def hide(directory: Path, package: str) -> None:
    """Make ``package`` look as if it were not installed, in subprocesses with ``hidden_path``."""
    (directory / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}:\n"
        f"            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )


def hidden_path(directory: Path) -> str:
    """The path with which ``hide`` works."""
    return os.pathsep.join([str(directory), clean_environment()["PYTHONPATH"]])
