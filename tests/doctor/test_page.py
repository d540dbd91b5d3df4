"""``glasspool doctor URL``: a running process, and everything else that may answer."""

from __future__ import annotations

import socket
from threading import Thread

import pytest

from glasspool._doctor.process_page import examine_page
from glasspool.telemetry import catalog
from tests.backends.support import free_port
from tests.programs import Program

from .support import QUIET, command, http_server, none, one

SERVING = """
import asyncio, glasspool
from glasspool.telemetry import configure
async def main():
    async with glasspool.HybridExecutor("mail", max_in_flight=1) as executor:
        await executor.run(int)
        print("PORT", configure(prometheus_port=0).prometheus_port, flush=True)
        await asyncio.to_thread(input)
asyncio.run(main())
"""
TEXT = {"Content_Type": "text/plain; version=0.0.4"}
OPEN = {"Content_Type": "application/openmetrics-text; version=1.0.0"}
BASE = 'glasspool_task_submitted_total{glasspool_executor_name="a b}"} 1.0\n'
WHOLE = BASE + "glasspool_task_active 0.0\nglasspool_executor_time_seconds_total 1.0\n"


def test_a_running_process():
    with Program("-c", SERVING, **QUIET) as program:
        program.until_said("PORT")
        port = program.out.split()[1]
        for given in (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}", f"localhost:{port}/metrics", f":{port}/"):
            findings = command(given)
            assert "of glasspool's metrics" in one(findings, "page", "serves").found
            assert "supported" in one(findings, "python", "It runs on").found
            assert "no failure" in one(findings, "failures", "").found
            assert "glasspool.doctor()" in one(findings, "unseen", "").found
            assert all(each.level == "ok" for each in findings)


def page(body: str | bytes, status: int = 200, timeout: float = 2.0, **headers: str) -> list:  # type: ignore[type-arg]
    data = body.encode() if isinstance(body, str) else body
    with http_server(status, data, **(headers or TEXT)) as port:
        return examine_page(f"http://u:s3cret@127.0.0.1:{port}/metrics?key=s3cret", timeout)


BAD = [
    (
        "<!DOCTYPE html><html><title>Grafana\x1b[31m</title></html>",
        200,
        {"Content_Type": "text/html"},
        "titled 'Grafana [31m'",
    ),
    ('{"a": [1, 2', 200, {"Content_Type": "application/json"}, "JSON that breaks off"),
    ('{"a": [1, 2]}', 200, {"Content_Type": "application/json"}, "it is JSON, not metrics"),
    ("hello there, world\nsecond line!\n", 200, TEXT, "no Prometheus text"),
    (b"\xff\xfe\x00binary", 200, {"Content_Type": "image/png"}, "no text (image/png)"),
    ("", 200, TEXT, "no Prometheus text"),
    (WHOLE + "glasspool_task_comp", 200, TEXT, "breaks off in the middle"),
    (WHOLE, 200, OPEN, "breaks off in the middle"),
    ("", 401, TEXT, "answers 401: it wants a password"),
    ("", 403, TEXT, "answers 403"),
    ("", 404, TEXT, "answers 404: there is no /metrics"),
    ("", 500, TEXT, "answers 500: it has failed"),
    ("", 302, {"Location": "gopher://x"}, "answers 302"),
]


@pytest.mark.parametrize(("body", "status", "headers", "text"), BAD, ids=[case[3] for case in BAD])
def test_pages_that_are_none(body, status, headers, text):
    findings = page(body, status, **headers)
    finding = one(findings, "page", text)
    assert finding.level == "problem"
    assert "s3cret" not in str(findings)


def test_an_answer_that_breaks_off():
    with http_server(200, b"glasspool_a 1.0\n", length=1000, **TEXT) as port:
        assert "breaks off after" in one(examine_page(f":{port}", 1.0), "page", "").found


def test_nobody_and_others():
    assert "Connection refused" in one(examine_page(f":{free_port()}", 1.0), "page", "").found
    assert "cannot be resolved" in one(examine_page("http://metrics.invalid", 1.0), "page", "").found
    for given in ("http://[x", "http://host:port", "ftp://host/x", "http://", "", "http://a b"):
        assert examine_page(given, 1.0)[0].level == "problem"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "no answer within 1 s" in one(examine_page(f":{silent.getsockname()[1]}", 1.0), "page", "").found
    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = Thread(target=greet, args=(other,))
        thread.start()
        assert "no HTTP" in one(examine_page(f":{other.getsockname()[1]}", 1.0), "page", "").found
        thread.join()


def greet(server: socket.socket) -> None:
    """Answer as another protocol does, as often as it is asked: for a page, without TLS, and with it."""
    for _ in range(3):
        connection, _ = server.accept()
        with connection:
            try:
                connection.sendall(b"SSH-2.0-x\r\n")
                while connection.recv(4096):
                    pass
            except OSError:  # the other side has had enough
                pass


def test_metrics_of_another_program():
    findings = page('python_info{implementation="CPython",version="3.8.1"} 1.0\nnode_load1 0.5\n')
    assert "(it has: node_*, python_*)" in one(findings, "page", "none of glasspool's").found
    assert one(findings, "python", "3.8.1").level == "warning"


def test_other_versions():
    assert (
        "glasspool_task_new_total" in one(page(WHOLE + "glasspool_task_new_total 1.0\n"), "version", "not know").found
    )
    assert "glasspool_task_active" in one(page(BASE), "version", "It lacks metrics").found
    none(page(WHOLE), "version")


def test_figures_that_tell_of_trouble():
    kind = "glasspool_telemetry_failures_total{glasspool_telemetry_failure_kind="
    findings = page(
        WHOLE
        + f'{kind}"span_queue_full"}} 3.0\n{kind}"name_cap"}} 1.0\n{kind}"export"}} 0.0\n'
        + "glasspool_processes_known 3.0\nglasspool_processes_answered 2.0\n"
        + "glasspool_context_losses_total 4.0\n"
        + BASE
    )
    assert "OTEL_BSP_MAX_QUEUE_SIZE" in one(findings, "failures", "3 times: span_queue_full").fix
    assert one(findings, "failures", "name_cap").level == "warning"
    assert one(findings, "processes", "2 of 3 processes").level == "problem"
    assert one(findings, "context", "4 calls").level == "warning"
    assert one(findings, "duplicates", "1 metrics have the same series twice").level == "problem"


def test_exemplars():
    scoped = WHOLE.replace("glasspool_task_active", 'glasspool_task_active{otel_scope_name="glasspool"}') + "# EOF\n"
    assert one(page(scoped, **OPEN), "exemplars", "OpenTelemetry's").level == "warning"
    assert one(page(WHOLE + "# EOF\n", **OPEN), "exemplars", "no exemplars yet").level == "ok"
    none(page(WHOLE + 'glasspool_x_bucket{le="1.0"} 1.0 # {trace_id="a"} 0.5 1.0\n# EOF\n', **OPEN), "exemplars")


def test_every_kind_of_failure_has_its_fix():
    kind = "glasspool_telemetry_failures_total{glasspool_telemetry_failure_kind="
    findings = page(WHOLE + "".join(f'{kind}"{each}"}} 1.0\n' for each in catalog.FAILURE_KINDS))
    fixes = [each.fix for each in findings if each.check == "failures"]
    assert len(fixes) == len(catalog.FAILURE_KINDS)
    assert not any("runbook" in fix for fix in fixes)
