"""What is said of an OTLP endpoint: an empty export to real servers, over HTTP and gRPC, with and without TLS."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from glasspool import Finding
from glasspool._doctor.otlp import check_otlp
from glasspool._doctor.targets import from_environment
from tests.backends.support import free_port
from tests.telemetry.receiver import receiver

from .support import http_server

HTTP, GRPC = "http/protobuf", "grpc"
OK = {"Content_Type": "application/x-protobuf"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "HTTP_PROXY", "http_proxy", "ALL_PROXY")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for localhost that nobody has signed, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    files = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return files


def found(monkeypatch: Any, endpoint: str, protocol: str, **more: str) -> Finding:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    for name, value in more.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    (finding,) = check_otlp(from_environment(), 3.0)
    assert finding.level == "ok" or (finding.why and finding.fix)
    return finding


def tls_server(files: tuple[str, str]) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return http_server(tls=context, **OK)


@contextlib.contextmanager
def grpc_server(code: grpc.StatusCode | None = None, files: tuple[str, str] | None = None) -> Iterator[int]:
    """A gRPC server that answers each call with this status, or takes it; without a handler for None, None."""

    def answer(request: bytes, context: Any) -> bytes:
        if code is not None:
            context.abort(code, "on purpose")
        return b""

    class Every(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer) if code is not grpc.StatusCode.UNIMPLEMENTED else None

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Every()])
    if files is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = Path(files[1]).read_bytes(), Path(files[0]).read_bytes()
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_an_endpoint_that_takes_exports(monkeypatch, protocol):
    with receiver(protocol) as collector:
        finding = found(monkeypatch, collector.endpoint, protocol)
        assert finding.level == "ok", finding
        assert collector.asked.is_set()
        assert collector.spans == []


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_nothing_listens(monkeypatch, protocol):
    finding = found(monkeypatch, f"http://127.0.0.1:{free_port()}", protocol)
    assert finding.level == "problem"
    assert "cannot be reached: Connection refused" in finding.found
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    (default,) = check_otlp(from_environment(), 3.0)
    assert default.level in ("warning", "ok")  # ok where this machine has a collector


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_a_host_that_does_not_exist(monkeypatch, protocol):
    finding = found(monkeypatch, "http://collector.invalid:4317", protocol)
    assert finding.level == "problem"
    assert "cannot be resolved" in finding.found


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_a_port_that_never_answers(monkeypatch, protocol):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        finding = found(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}", protocol)
    assert "does not answer within 3 s" in finding.found


def test_tls_where_none_is(monkeypatch):
    with http_server(**OK) as port:
        over_http = found(monkeypatch, f"https://localhost:{port}", HTTP)
    with grpc_server() as port:
        over_grpc = found(monkeypatch, f"https://localhost:{port}", GRPC)
        bare = found(monkeypatch, f"localhost:{port}", GRPC)
    for finding in (over_http, over_grpc, bare):
        assert finding.level == "problem"
        assert "with TLS, but there is none" in finding.found
        assert "Write http://" in finding.fix
    assert "without a scheme gRPC uses TLS" in bare.fix


def test_no_tls_where_it_is(monkeypatch, certificate):
    with tls_server(certificate) as port:
        over_http = found(monkeypatch, f"http://localhost:{port}", HTTP)
    with grpc_server(files=certificate) as port:
        over_grpc = found(monkeypatch, f"http://localhost:{port}", GRPC)
    for finding in (over_http, over_grpc):
        assert "speaks TLS, but the export does not" in finding.found
        assert "https://" in finding.fix


def test_a_certificate_that_nobody_trusts(monkeypatch, certificate):
    with tls_server(certificate) as port:
        over_http = found(monkeypatch, f"https://localhost:{port}", HTTP)
        trusted = found(monkeypatch, f"https://localhost:{port}", HTTP, CERTIFICATE=certificate[0])
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_CERTIFICATE")
    with grpc_server(files=certificate) as port:
        over_grpc = found(monkeypatch, f"https://localhost:{port}", GRPC)
        trusted_grpc = found(monkeypatch, f"https://localhost:{port}", GRPC, CERTIFICATE=certificate[0])
    for finding in (over_http, over_grpc):
        assert "certificate that is not trusted" in finding.found, finding
        assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in finding.fix
    assert (trusted.level, trusted_grpc.level) == ("ok", "ok")


def test_http_to_a_grpc_port_and_the_other_way_round(monkeypatch):
    with grpc_server() as port:
        to_grpc = found(monkeypatch, f"http://localhost:{port}", HTTP)
    with http_server(404) as port:
        to_http = found(monkeypatch, f"http://localhost:{port}", GRPC)
    assert "is a gRPC port, but the export is HTTP" in to_grpc.found
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in to_grpc.fix
    assert "4318" in to_grpc.fix
    assert "is an HTTP port, but the export is gRPC" in to_http.found
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in to_http.fix


STATUSES = [
    (401, "problem", "wants to know who asks", "headers sent: authorization"),
    (403, "problem", "does not allow", "HEADERS"),
    (404, "problem", "nothing at this path", "name the address before it"),
    (415, "problem", "does not take protobuf", "OTLP endpoint"),
    (429, "warning", "overloaded", "Try again"),
    (503, "warning", "not ready", "Try again"),
    (500, "problem", "has failed", "log"),
]


@pytest.mark.parametrize(("status", "level", "text", "fix"), STATUSES)
def test_statuses_of_http(monkeypatch, status, level, text, fix):
    with http_server(status) as port:
        finding = found(monkeypatch, f"http://u:s3cret@localhost:{port}/base", HTTP, HEADERS="authorization=s3cret")
    assert (finding.level, f"answers {status}" in finding.found) == (level, True), finding
    assert text in finding.found
    assert fix in finding.fix
    assert "s3cret" not in str(finding)


def test_a_path_that_is_missing_though_none_was_given(monkeypatch):
    with http_server(404) as port:
        finding = found(monkeypatch, f"http://localhost:{port}/", HTTP)
    assert "path of your own" not in finding.fix
    assert "takes no OTLP over HTTP" in finding.fix


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "u:s3cret@localhost"])
def test_an_address_without_a_scheme(monkeypatch, host):
    bare = f"{host.rpartition('@')[2]}:4318"
    of_all = found(monkeypatch, f"{host}:4318", HTTP)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{host}:4318/v1/traces")
    of_one = found(monkeypatch, "http://unused:1", HTTP)
    for finding in (of_all, of_one):
        assert finding.level == "problem"
        assert "has no scheme" in finding.found
        assert "s3cret" not in str(finding)
    assert of_all.fix == f"Write http://{bare} in OTEL_EXPORTER_OTLP_ENDPOINT."
    assert of_one.fix == f"Write http://{bare}/v1/traces in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT."


def test_a_scheme_that_is_none_of_http(monkeypatch):
    assert "Write http:// or https://" in found(monkeypatch, "ftp://localhost:1", HTTP).fix


def test_the_address_of_one_signal_is_used_as_it_is(monkeypatch):
    with http_server(404) as port:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://localhost:{port}")
        finding = found(monkeypatch, "http://unused:1", HTTP)
    assert finding.fix == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is: append /v1/traces."


CODES = [
    (grpc.StatusCode.UNAUTHENTICATED, "problem", "wants to know who asks"),
    (grpc.StatusCode.PERMISSION_DENIED, "problem", "does not allow"),
    (grpc.StatusCode.UNIMPLEMENTED, "problem", "no such service"),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "warning", "overloaded"),
    (grpc.StatusCode.INTERNAL, "problem", "has failed"),
]


@pytest.mark.parametrize(("code", "level", "text"), CODES)
def test_statuses_of_grpc(monkeypatch, code, level, text):
    with grpc_server(code) as port:
        finding = found(monkeypatch, f"http://localhost:{port}", GRPC)
    assert (finding.level, f"answers {code.name}" in finding.found) == (level, True), finding
    assert text in finding.found


def test_a_page_of_another_program_and_one_that_has_moved(monkeypatch):
    with http_server(200, b"<html>It works!</html>", Content_Type="text/html") as port:
        page = found(monkeypatch, f"http://localhost:{port}", HTTP)
    with http_server(307, Location="https://elsewhere/v1/traces?token=s3cret") as port:
        moved = found(monkeypatch, f"http://localhost:{port}", HTTP)
    assert "another program" in page.found
    assert "names another address, https://elsewhere/v1/traces?…" in moved.found
    assert "s3cret" not in str(moved)


@pytest.mark.parametrize("endpoint", ["ftp://x", "http://[broken", "http://host:port", "http://", "http://a b", "::"])
@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_addresses_that_are_none(monkeypatch, endpoint, protocol):
    assert found(monkeypatch, endpoint, protocol).level == "problem"
