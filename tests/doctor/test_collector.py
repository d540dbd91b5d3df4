"""The probes against a real collector: it takes an empty export, and shows none."""

from __future__ import annotations

import pytest

from tests.backends.collectors import collector

from .support import command, one


def test_a_real_collector(tmp_path):
    with collector(tmp_path) as real:
        for protocol, endpoint, other in (("grpc", real.grpc, real.http), ("http/protobuf", real.http, real.grpc)):
            right = command(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
            assert one(right, "otlp", "traces:").level == "ok"
            assert one(right, "otlp", "metrics:").level == "ok"
            wrong = command(OTEL_EXPORTER_OTLP_ENDPOINT=other, OTEL_EXPORTER_OTLP_PROTOCOL=protocol, status=1)
            text = "is an HTTP port" if protocol == "grpc" else "is a gRPC port"
            assert text in one(wrong, "otlp", "traces:").found
        tls = command(OTEL_EXPORTER_OTLP_ENDPOINT=real.grpc.replace("http:", "https:"), status=1)
        assert "with TLS, but there is none" in one(tls, "otlp", "traces:").found
        path = command(
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=real.http, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_METRICS_EXPORTER="none", status=1,
        )  # fmt: skip
        assert "append /v1/traces" in one(path, "otlp", "answers 404").fix
        received = real.received()
    assert received.spans == []
    assert received.points == {}


@pytest.mark.parametrize("exporter", ["grpc", "http"])
def test_the_exporter_of_a_program_is_tried(tmp_path, exporter):
    from .support import in_program

    with collector(tmp_path) as real:
        endpoint = real.grpc if exporter == "grpc" else f"{real.http}/v1/traces"
        findings = in_program(
            f"""
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.{exporter}.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint={endpoint!r})))
""",
            send=True,
        )
    assert one(findings, "otlp", "named by the program").level == "ok"
    assert "exports by OTLP" in one(findings, "providers", "set by the application").found
