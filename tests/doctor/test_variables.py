"""Variables that are misspelt, contradictory, ignored or invalid, each set for real."""

from __future__ import annotations

import os

import pytest

from glasspool import Finding
from glasspool._doctor.contradictions import check_variables

from .support import one

E = "OTEL_EXPORTER_OTLP_"
COLLECTOR = "http://collector:4318"
CASES: list[tuple[dict[str, str], str, str, str]] = [
    # variables, level, what was found, the fix
    ({E + "ENDPONT": "x"}, "problem", "ENDPONT is no variable", "closest real name is OTEL_EXPORTER_OTLP_ENDPOINT:"),
    ({"OTEL_EXPORTER_OLTP_HEADERS": "x"}, "problem", "OLTP_HEADERS is no variable", "is OTEL_EXPORTER_OTLP_HEADERS:"),
    ({"OLTP_EXPORTER_OTLP_ENDPOINT": "x"}, "problem", "OLTP_EXPORTER", "is OTEL_EXPORTER_OTLP_ENDPOINT:"),
    ({"otel_service_name": "x"}, "problem", "otel_service_name is no variable", "is OTEL_SERVICE_NAME:"),
    ({"OTEL_SERVICENAME": "a", "OTEL_SERVICE_NAME": "a"}, "problem", "OTEL_SERVICENAME", "set, too: remove"),
    ({"GLASSPOOL_WORKER_EXIT_SECOND": "1"}, "problem", "EXIT_SECOND is no variable", "GLASSPOOL_WORKER_EXIT_SECONDS:"),
    ({"OTEL_JAVAAGENT_ENABLED": "1"}, "warning", "another language", "Remove it"),
    ({"OTEL_EXPORTER_JAEGER_ENDPOINT": "x"}, "warning", "no longer has", "OTLP"),
    ({"OTEL_XYZZY": "1"}, "warning", "OTEL_XYZZY is not known", "Remove it"),
    ({"OTEL_SPAN_LINK_COUNT_LIMIT": "many"}, "problem", "is no whole number", "Correct or unset"),
    ({E + "TIMEOUT": "10s"}, "problem", "is no number of seconds", "Correct or unset"),
    ({"OTEL_METRIC_EXPORT_INTERVAL": "15s"}, "problem", "no number of milliseconds", "INTERVAL=5000"),
    ({"OTEL_SDK_DISABLED": "yes"}, "problem", "neither true nor false", "=true"),
    ({"OTEL_TRACES_SAMPLER": "alwayson"}, "problem", "'alwayson'", "Write OTEL_TRACES_SAMPLER=always_on."),
    ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"}, "problem", "no number from 0", "0.1"),
    ({"OTEL_TRACES_EXPORTER": "oltp"}, "problem", "'oltp'", "Choose among"),
    ({"OTEL_METRICS_EXPORTER": "Prometheus"}, "problem", "'Prometheus'", "OTEL_METRICS_EXPORTER=prometheus"),
    ({E + "PROTOCOL": "http/json"}, "problem", "'http/json'", "grpc, http/protobuf"),
    ({"OTEL_PROPAGATORS": "tracecontxt"}, "problem", "'tracecontxt'", "OTEL_PROPAGATORS=tracecontext"),
    ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "glasspool_asincio"}, "problem", "asincio", "=glasspool_asyncio"),
    ({E + "HEADERS": "Authorization: Bearer s3cret"}, "problem", "Part 1 of OTEL_EXPORTER_OTLP_HEADERS", "key=value"),
    ({"OTEL_RESOURCE_ATTRIBUTES": "team=a,production"}, "problem", "Part 2 of OTEL_RESOURCE", "key=value"),
    ({E + "CERTIFICATE": "/nowhere/ca.pem"}, "problem", "cannot be read", "Correct the path"),
    ({"OTEL_SDK_DISABLED": "true", E + "ENDPOINT": COLLECTOR}, "problem", "beside OTEL_EXPORTER", "Unset OTEL_SDK"),
    ({"OTEL_SERVICE_NAME": "a", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b"}, "warning", "service.name in", "Remove"),
    ({"OTEL_TRACES_EXPORTER": "none", E + "TRACES_ENDPOINT": COLLECTOR}, "warning", "does not name otlp", "=otlp"),
    ({"OTEL_TRACES_EXPORTER": "otlp,none"}, "warning", "none beside others", "Remove none"),
    ({"OTEL_EXPORTER_PROMETHEUS_PORT": "9999"}, "warning", "does not name prometheus", "=prometheus"),
    (
        {E + "ENDPOINT": COLLECTOR, E + "TRACES_ENDPOINT": COLLECTOR, E + "METRICS_ENDPOINT": COLLECTOR},
        "warning", "is set beside", "Keep the one",
    ),
    (
        {E + "TRACES_ENDPOINT": COLLECTOR, E + "PROTOCOL": "http/protobuf", E + "INSECURE": "true"},
        "warning", "traces go over http/protobuf", "Unset",
    ),
    ({E + "TRACES_ENDPOINT": "https://c:4317", E + "INSECURE": "true"}, "warning", "begins with https://", "Unset"),
    ({E + "TRACES_ENDPOINT": "http://c:4317", E + "INSECURE": "false"}, "problem", "begins with http://", "Unset"),
    ({E + "TRACES_ENDPOINT": "http://c:4317", E + "CERTIFICATE": __file__}, "warning", "without TLS", "https://"),
    ({"OTEL_TRACES_SAMPLER_ARG": "0.1"}, "warning", "the default", "parentbased_traceidratio"),
    ({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, "problem", "more than OTEL_BSP_MAX_QUEUE_SIZE", "at most"),
]  # fmt: skip


def found_with(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> list[Finding]:
    for name in list(os.environ):
        if name.upper().startswith("OTEL_"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return [*check_variables()]


@pytest.mark.parametrize(("variables", "level", "found", "fix"), CASES, ids=[",".join(case[0]) for case in CASES])
def test_each_is_found_with_its_fix(monkeypatch, variables, level, found, fix):
    finding = one(found_with(monkeypatch, variables), "variables", found)
    assert finding.level == level
    assert fix in finding.fix
    assert "s3cret" not in str(finding)


@pytest.mark.parametrize(("variables", "level", "found", "fix"), CASES, ids=[",".join(case[0]) for case in CASES])
def test_nothing_says_the_contrary(monkeypatch, variables, level, found, fix):
    assert "each is read" not in str(found_with(monkeypatch, variables))


def test_names_that_are_read_are_not_reported(monkeypatch):
    variables = {
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR,
        "OTEL_PYTHON_FLASK_EXCLUDED_URLS": "health",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": "x",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20x,b=c",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis",
        "OTELCOL_IMG": "not OpenTelemetry's SDK",
    }
    findings = found_with(monkeypatch, variables)
    assert [each.level for each in findings] == ["ok"]
    assert "8 OTEL_* variables are set, and each is read" in findings[0].found
    only = found_with(monkeypatch, {"OTEL_SERVICE_NAME": "shop"})
    assert only[0].found == "1 OTEL_* variable is set, and it is read."
    assert found_with(monkeypatch, {})[0].found.startswith("No OTEL_* variable")


def test_values_of_unknown_variables_are_not_shown(monkeypatch):
    findings = found_with(monkeypatch, {"OTEL_EXPORTER_OTLP_HEADER": "Authorization=s3cret", "OTEL_TOKEN": "s3cret"})
    assert "s3cret" not in str(findings)
