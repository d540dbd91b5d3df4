"""``glasspool tasks``: what runs and waits in running processes, and where it is."""

from __future__ import annotations

import re

from tests.backends.support import free_port
from tests.live.busy_program import HOSTILE
from tests.programs import Program

from .support import busy, found_json, port_of, run
from .test_once import BY_OTEL


def test_the_oldest_tasks_and_where_they_are():
    with busy() as program:
        url = f"http://127.0.0.1:{port_of(program)}"
        titles, *rows = run("tasks", url, "--executor", "reports").stdout.splitlines()
        assert titles.split()[:4] == ["age", "state", "executor", "task"]
        assert "where it is" in titles
        states = re.findall(r"(active|abandoned|queued)\s+reports", "\n".join(rows))
        assert sorted(states) == ["abandoned"] + ["active"] * 3 + ["queued"] * 5
        stuck = [row for row in rows if "parse_report" in row]
        assert len(stuck) == 3
        assert all(re.search(r"busy_program\.py:\d+|threading\.py:\d+", row) for row in stuck)


def test_stacks():
    with busy() as program:
        out = run("tasks", f":{port_of(program)}", "--executor", "reports", "--stacks").stdout
    blocks = re.split(r"(?m)^task ", out)[1:]
    assert len(blocks) == 9
    (left,) = [block for block in blocks if "abandoned report of executor reports: abandoned for" in block]
    assert ", in thread " in left.splitlines()[0]
    frames = re.findall(r"    .*busy_program\.py:\d+ in (\w+)", left)
    assert frames == ["parse_report", "read_pages"]
    (waiting,) = [block for block in blocks if block.split()[1:4] == ["waiting", "report", "0"]]
    assert len(waiting.splitlines()) == 1


def test_only_older_ones():
    with busy() as program:
        url = f":{port_of(program)}"
        assert run("tasks", url, "--older-than", "3600").stdout == "no task\n"
        some = found_json("tasks", url, "--older-than", "0.5")["tasks"]
        assert all(task["age"] >= 0.5 for task in some)


def test_json_is_that_of_the_page_with_the_address():
    with busy() as program:
        url = f"http://127.0.0.1:{port_of(program)}"
        found = found_json("tasks", url, "--executor", HOSTILE)
    (task,) = found["tasks"]
    assert (task["url"], task["name"], task["state"]) == (f"{url}/metrics", HOSTILE, "active")
    assert found["sources"][0]["trouble"] == ""


def test_metrics_have_no_tasks():
    port = free_port()
    with Program("-c", BY_OTEL, str(port)) as program:
        program.until_said("ready")
        done = run("tasks", f"127.0.0.1:{port}", status=1)
        program.tell("")
    assert done.stdout == ""
    assert "it shows no tasks" in done.stderr
    assert "configure(prometheus_port=" in done.stderr
