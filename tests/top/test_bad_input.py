"""Addresses that answer something else: each says what was met, and nothing raises a traceback."""

from __future__ import annotations

import json

import pytest

from glasspool.telemetry import catalog
from tests.doctor.support import http_server

from .support import answers, busy, found_json, invoke, port_of

TEXT = "text/plain; version=0.0.4"
METRICS = (
    'glasspool_task_submitted_total{glasspool_executor_name="mail",glasspool_executor_type="hybrid"} 3.0\n'
    'glasspool_task_active{glasspool_executor_name="mail",glasspool_executor_type="hybrid"} 1\n'
)
ROW = {
    "process": 0, "type": "hybrid", "name": "mail", "slots": None, "queue": None, "producers": None, "active": 1,
    "oldest_task_age": 0.0, "abandoned": 0, "held": {}, "warnings": [], "pressure": 0, "spark": {"slots": []},
    "recent": {"window": None, "counts": {}, "per_second": None, "wait": dict.fromkeys(("p50", "p95", "p99")),
               "run": dict.fromkeys(("p50", "p95", "p99"))},
}  # fmt: skip


def live(*executors, version=1, **more):
    return json.dumps({"version": version, "executors": executors, "loops": [], "processes": [], **more})


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("<html><title>Grafana</title></html>", "text/html", "it is a web page titled 'Grafana', not metrics"),
        ("go_goroutines 3\n", TEXT, "it serves metrics, but none of glasspool's"),
        ("hello\nthere!\n", TEXT, "it is no Prometheus text"),
        (METRICS + "glasspool_task", TEXT, "the page breaks off in the middle"),
        ('{"version": 1, "exec', "application/json", "it is JSON that breaks off"),
        ('{"version": 0}', "application/json", "it is JSON, not metrics"),
        ("[" * 100_000, "application/json", "JSON"),
    ],
)
@pytest.mark.parametrize("command", ["top", "tasks"])
def test_the_same_answer_to_everything(command, body, kind, said):
    with http_server(body=body.encode(), Content_Type=kind) as port:
        arguments = ["--once"] if command == "top" else []
        done = invoke(command, f"http://u:s3cret@127.0.0.1:{port}/?key=s3cret", *arguments, status=1)
    assert done.stdout == ""
    assert "s3cret" not in done.stderr
    assert done.stderr.startswith(f"http://127.0.0.1:{port}/")
    if command == "top":
        assert said in done.stderr


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('{"version": 1, "exec', "its live page cannot be read: it breaks off after 20 characters"),
        ('{"version": 1 "exec": 2}', "its live page cannot be read: it is no JSON"),
        (live(version=2), "its live page cannot be read: it is of version 2, and this command reads 1"),
        (live(version="\x1b[31m"), "its live page cannot be read: it is of version [31m, and this command reads 1"),
        ('{"version": 1}', "its live page cannot be read: it has no executors"),
        ('{"a": 1}', "its live page cannot be read: it is not glasspool's"),
        (live({"name": "mail"}), "its live page cannot be read: an executor is not as expected: KeyError"),
        (live({**ROW, "active": "many"}), "its live page cannot be read: an executor is not as expected: TypeError"),
        (live({**ROW, "active": 1e999}), "its live page cannot be read: an executor is not as expected: ValueError"),
        (live(3), "its live page cannot be read: it has no executors"),
        ("<html></html>", ""),
    ],
)
def test_a_live_page_that_cannot_be_read_is_left_for_the_metrics(text, note):
    with answers({"/live.json": (200, "application/json", text), "/metrics": (200, TEXT, METRICS)}) as port:
        found = found_json("top", f":{port}")
    assert found["sources"][0]["note"] == f"metrics only: {note}".removesuffix(": ")
    assert found["executors"][0]["totals"]["submitted"] == 3


def test_a_live_page_of_a_later_version_with_more_fields_is_read():
    text = live({**ROW, "mood": "fine"}, weather="rain")
    with answers({"/live.json": (200, "application/json", text)}) as port:
        done = invoke("top", "--once", f":{port}")
    assert done.stdout.splitlines()[1].split()[0] == "mail"


def test_names_cannot_write_to_the_terminal():
    named = {**ROW, "name": "a\x1b]0;title\x07\x1b[2J\nb", "warnings": [
        {"level": "warning", "text": "\x1b[31mred", "runbook_url": "https://example.org/\x1b[0m"}
    ]}  # fmt: skip
    with answers({"/live.json": (200, "application/json", live(named))}) as port:
        out = invoke("top", "--once", f":{port}").stdout
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "a ]0;title [2J b" in out


@pytest.mark.parametrize(
    "text", ['{"version": 1, "tas', '{"version": 3, "tasks": []}', '{"version": 1, "tasks": [{}]}']
)
def test_tasks_that_cannot_be_read(text):
    with answers({"/tasks.json": (200, "application/json", text)}) as port:
        done = invoke("tasks", f":{port}", status=1)
    assert f"http://127.0.0.1:{port}/metrics: its /tasks.json cannot be read: " in done.stderr


def test_histograms_of_another_version_are_left_out():
    buckets = "".join(
        f'glasspool_queue_wait_duration_seconds_bucket{{glasspool_executor_name="mail",glasspool_executor_type="hybrid",'
        f'glasspool_queue_outcome="started",le="{bound}"}} 4\n' for bound in ("1", "+Inf", "nonsense")
    )  # fmt: skip
    with answers({"/metrics": (200, TEXT, METRICS + buckets)}) as port:
        (mail,) = found_json("top", f":{port}")["executors"]
    assert mail["recent"]["wait"]["count"] == 0


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
def test_what_is_no_finite_number_is_left_out(value):
    text = METRICS.replace("1\n", f"{value}\n") + "".join(
        f'glasspool_task_duration_seconds_bucket{{glasspool_executor_name="mail",le="{bound}"}} {value}\n'
        for bound in (*map(repr, catalog.TASK_DURATION.buckets), "+Inf")
    )
    with answers({"/metrics": (200, TEXT, text)}) as port:
        mail = next(each for each in found_json("top", f":{port}")["executors"] if each["name"] == "mail")
    assert mail["totals"]["submitted"] == 3
    assert mail["active"] == 0


@pytest.mark.parametrize("options", [("--interval", "0"), ("--timeout", "0"), ("--seconds", "0.1")])
def test_options_out_of_range_are_refused(options):
    done = invoke("top", "--once", *options, status=2)
    assert options[0] in done.stderr


def test_an_address_may_be_that_of_a_mounted_page():
    with busy() as program:
        base = f"http://127.0.0.1:{port_of(program)}"
        for given in (base, f"{base}/", f"{base}/metrics", f"127.0.0.1:{port_of(program)}", f":{port_of(program)}"):
            assert "mail" in invoke("top", "--once", given).stdout
