"""What is said where less is shown than was asked for, and what to do then."""

from __future__ import annotations

import json

import pytest

from tests.doctor.support import http_server
from tests.programs import Program

from .support import OnTerminal, answers, busy, found_json, invoke, port_of, run
from .test_bad_input import METRICS, TEXT, live

JSON = "application/json"
SWITCH_ON = "It shows the names and stacks of tasks to whoever reaches it; ask for it with configure(live_page=True)."
LOG = "Try again; if it stays so, see the log of the program, or of the proxy before it."
CUT = '{"version": 1, "exec'

FULL = """
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
import anyio
from glasspool import HybridExecutor
from glasspool.telemetry import configure

async def main():
    port = configure(prometheus_port=0).prometheus_port
    async with HybridExecutor("many", max_in_flight=1, max_queued=200) as many:
        for _ in range(int(sys.argv[1])):
            await many.submit(anyio.sleep_forever)
        async with HybridExecutor("few", max_in_flight=1, max_queued=200) as few:
            for _ in range(3):
                await few.submit(anyio.sleep_forever)
            print("ready", port, flush=True)
            await anyio.to_thread.run_sync(sys.stdin.readline)
            await few.shutdown(grace=0)
        await many.shutdown(grace=0)

anyio.run(main)
"""


def test_it_is_said_that_only_the_oldest_tasks_are_listed():
    with Program("-c", FULL, "60") as program:
        program.until_said("ready")
        url = f":{port_of(program)}"
        done = run("tasks", url)
        assert len(done.stdout.splitlines()) == 1 + 2 + 50
        note = "of its queued tasks only the 50 oldest are listed"
        assert done.stderr == f"http://127.0.0.1{url}/metrics: {note}\n"
        assert found_json("tasks", url)["sources"][0]["note"] == note
        # What is younger than all of those that are listed is asked for by name.
        done = run("tasks", url, "--executor", "few")
        assert len(done.stdout.splitlines()) == 1 + 3
        assert done.stderr == ""
        assert run("tasks", url, "--older-than", "3600").stderr == ""
        with OnTerminal(url) as terminal:
            terminal.until(lambda lines: any(line.split()[:1] == ["many"] for line in lines))
            terminal.press(b"t")
            terminal.until(lambda lines: any("50 oldest" in line for line in lines))
            terminal.press(b"q")
            terminal.end()
        program.tell("")


def test_fewer_tasks_are_all_of_them():
    with Program("-c", FULL, "40") as program:
        program.until_said("ready")
        assert run("tasks", f":{port_of(program)}").stderr == ""
        program.tell("")


def test_an_executor_that_is_not_there():
    with busy() as program:
        url = f":{port_of(program)}"
        done = run("tasks", url, "--executor", "nope", status=1)
        assert done.stdout == ""
        assert done.stderr == (
            "no executor is named 'nope': there are '<img src=x onerror=alert(1)>', 'mail', 'reports', 'thumbnails'\n"
        )
        found = found_json("tasks", url, "--executor", "nope", status=1)
        assert found["tasks"] == []
        assert run("tasks", url, "--executor", "thumbnails", "--older-than", "3600").stdout == "no task\n"


def test_where_no_executor_is_at_all():
    with answers({"/live.json": (200, JSON, live()), "/tasks.json": (200, JSON, live(tasks=[]))}) as port:
        done = invoke("tasks", f":{port}", "--executor", "nope", status=1)
        assert done.stderr == "no executor is named 'nope': none is open or observed\n"
        assert invoke("tasks", f":{port}").stdout == "no task\n"


def test_an_executor_of_which_nothing_is_known():
    with answers({"/tasks.json": (200, JSON, live(tasks=[]))}) as port:
        assert invoke("tasks", f":{port}", "--executor", "nope").stdout == "no task\n"


def test_a_live_page_that_was_not_asked_for():
    with busy(OTEL_EXPORTER_PROMETHEUS_HOST="0.0.0.0") as program:
        url = f"http://127.0.0.1:{port_of(program)}/metrics"
        done = run("tasks", url, status=1)
        assert (
            done.stderr
            == f"{url}: it shows no tasks: /tasks.json: it answers 403: it does not allow this. {SWITCH_ON}\n"
        )
        done = run("top", "--once", url)
        assert "mail" in done.stdout
        assert done.stderr == f"{url}: metrics only: /live.json: it answers 403: it does not allow this. {SWITCH_ON}\n"
        source = found_json("top", url)["sources"][0]
        assert (source["trouble"], source["fix"]) == ("", SWITCH_ON)


def test_a_live_page_that_is_asked_for_by_another_name():
    with busy() as program:
        port = port_of(program)
        done = invoke("tasks", f"http://127.1:{port}", status=1)
    assert done.stderr.endswith(f" by the address that it is served at: http://localhost:{port}/\n")
    assert "configure(" not in done.stderr


@pytest.mark.parametrize(
    ("status", "kind", "text", "advice"),
    [
        (403, TEXT, "The live page is switched off: configure(live_page=False).", SWITCH_ON),
        (403, TEXT, "This Host is not the one. Open it by http://localhost/\n",
         "It says: This Host is not the one. Open it by http://localhost/"),
        (500, TEXT, "This\x1b[31m failed; see the log.\n", "It says: This [31m failed; see the log."),
        (403, "text/html", "<h1>Forbidden</h1>", "Ask from a machine that may."),
        (403, TEXT, "", "Ask from a machine that may."),
    ],
)  # fmt: skip
def test_what_a_page_says_that_refuses_is_passed_on(status, kind, text, advice):
    refused = (status, kind, text)
    with answers({"/live.json": refused, "/tasks.json": refused, "/metrics": (200, TEXT, METRICS)}) as port:
        assert invoke("tasks", f":{port}", status=1).stderr.endswith(f". {advice}\n")
        note = found_json("top", f":{port}")["sources"][0]
    assert note["note"].startswith(f"metrics only: /live.json: it answers {status}: ")
    assert note["fix"] == advice


OLD = "Update glasspool there."
NEW = "Update glasspool here."
UNREADABLE = [
    ('{"version": 2, "executors": [], "tasks": []}', "of version 2", NEW),
    ('{"version": 0, "executors": [], "tasks": []}', "of version 0", OLD),
    ('{"version": "x", "executors": [], "tasks": []}', "of version x", "Update glasspool here or there."),
    (CUT, "it breaks off after 20 characters", LOG),
    (
        '{"version": 1, "executors": [{}], "loops": [], "processes": [], "tasks": [{}]}',
        "KeyError",
        "Update glasspool here or there.",
    ),
]


@pytest.mark.parametrize(("text", "problem", "advice"), UNREADABLE)
def test_json_that_cannot_be_read(text, problem, advice):
    page = (200, JSON, text)
    with answers({"/live.json": page, "/tasks.json": page, "/metrics": (200, TEXT, METRICS)}) as port:
        said = invoke("tasks", f":{port}", status=1).stderr
        assert problem in said
        assert said.endswith(f". {advice}\n")
        said = invoke("top", "--once", f":{port}").stderr
        assert "metrics only: its live page cannot be read: " in said
        assert problem in said
        assert said.endswith(f". {advice}\n")


@pytest.mark.parametrize(("text", "problem", "advice"), UNREADABLE)
@pytest.mark.parametrize(
    ("metrics", "lacking"),
    [((200, TEXT, "go_goroutines 3\n"), "it serves metrics, but none of glasspool's"), ((404, TEXT, ""), "404")],
)
def test_neither_of_them_shows_anything(text, problem, advice, metrics, lacking):
    with answers({"/live.json": (200, JSON, text), "/metrics": metrics}) as port:
        done = invoke("top", "--once", f":{port}", status=1)
    assert "its live page cannot be read: " in done.stderr
    assert problem in done.stderr
    assert f"; /metrics: {lacking}" in done.stderr or f"; /metrics: it answers {lacking}" in done.stderr
    assert done.stderr.endswith(f". {advice}\n")


@pytest.mark.parametrize("path", ["/live.json", "/tasks.json"])
def test_an_answer_that_is_shorter_than_announced(path):
    with answers({path: (200, JSON, CUT), "/metrics": (200, TEXT, METRICS)}, Content_Length="200") as port:
        command = ["top", "--once"] if path == "/live.json" else ["tasks"]
        done = invoke(*command, f":{port}", status=1)
    assert f"{path}: the answer breaks off after 20 bytes" in done.stderr
    assert LOG in done.stderr


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/login?next=s3cret", "http://127.0.0.1:{port}/login?…"),
        ("unix://u:s3cret@elsewhere.example/x", "unix://elsewhere.example/x"),
    ],
)
@pytest.mark.parametrize("command", [("top", "--once"), ("tasks",)])
def test_the_target_of_a_redirection_is_named(command, location, target):
    with http_server(302, Location=location) as port:
        done = invoke(*command, f":{port}", status=1)
    assert f"it answers 302 and sends to {target.format(port=port)}. Ask that address" in done.stderr
    assert "s3cret" not in done.stderr


def test_the_target_of_a_redirection_is_that_of_the_page():
    with http_server(302, Location="/app/tasks.json") as port:
        done = invoke("tasks", f":{port}", status=1)
    assert f"sends to http://127.0.0.1:{port}/app/. Ask that address" in done.stderr


def test_an_address_that_sends_to_itself():
    with http_server(302, Location="/metrics") as port:
        done = invoke("top", "--once", f":{port}", status=1)
    assert "metrics: it answers 302 and sends to itself. " in done.stderr.replace("/live.json: ", "")
    assert "Ask that" not in done.stderr


def test_json_of_something_else():
    with answers({"/live.json": (200, JSON, json.dumps({"a": 1})), "/metrics": (200, TEXT, METRICS)}) as port:
        said = invoke("top", "--once", f":{port}").stderr
    assert (
        said == f"http://127.0.0.1:{port}/metrics: metrics only: its live page cannot be read: it is not glasspool's\n"
    )
