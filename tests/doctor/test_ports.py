"""The Prometheus port: free, taken by somebody else, by glasspool, or not to be had."""

from __future__ import annotations

import os
import socket

import pytest

from glasspool._doctor.ports import check_port
from tests.backends.support import free_port
from tests.programs import Program

from .support import http_server, one


def found(monkeypatch: pytest.MonkeyPatch, port: object, wanted: bool = True, host: str = "") -> tuple[str, str, str]:
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", str(port))
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", host)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus" if wanted else "")
    (finding,) = check_port(None, 2.0)
    one([finding], "port", "")
    return finding.level, finding.found, finding.fix


def test_a_free_port(monkeypatch):
    assert found(monkeypatch, free_port())[0] == "ok"


def test_a_port_of_another_program(monkeypatch):
    with http_server(200, b"<html><title>Other</title></html>", Content_Type="text/html") as port:
        level, text, fix = found(monkeypatch, port)
        assert (level, "it is a web page titled 'Other'" in text) == ("problem", True), text
        assert "choose another" in fix
        assert "OTEL_EXPORTER_PROMETHEUS_PORT" in fix
        level, _, fix = found(monkeypatch, port, wanted=False)
        assert level == "warning"
        assert "OTEL_EXPORTER_PROMETHEUS_PORT" not in fix  # without the exporter it has no effect
        if os.path.exists("/proc/net/tcp"):
            assert f"process {os.getpid()}" in text
    with http_server(200, b"up 1.0\n", Content_Type="text/plain") as port:
        assert "another program's metrics" in found(monkeypatch, port)[1]


def test_a_port_that_says_nothing(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "no answer within 2 s" in found(monkeypatch, silent.getsockname()[1])[1]


def test_a_port_of_glasspools(monkeypatch):
    code = "import glasspool.telemetry as t; h = t.configure(prometheus_port={0}); print('on', flush=True); input()"
    port = free_port()
    with Program("-c", code.format(port), OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none") as program:
        program.until_said("on")
        level, text, _ = found(monkeypatch, port)
        assert (level, "serves glasspool's series" in text) == ("ok", True), text


def test_ports_that_are_none(monkeypatch):
    assert "is no port" in found(monkeypatch, "94x")[1]
    assert "is no port" in found(monkeypatch, 70000)[1]
    level, text, _ = found(monkeypatch, free_port(), host="192.0.2.1")
    assert (level, "Nothing can listen on 192.0.2.1" in text) == ("problem", True), text
