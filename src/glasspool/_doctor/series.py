"""Whether the same series leave twice, as deltas, without exemplars, or not at all; and whether traces are sampled."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator

from opentelemetry import metrics, trace

from glasspool._foreign.otel_sdk import exemplar_filter_of, settings_of, temporalities_of
from glasspool._foreign.prometheus_registry import collectors_of
from glasspool.telemetry import providers
from glasspool.telemetry.configuration import configured

from .addresses import shown_url
from .finding import Finding, ok, problem, warning
from .providers import exporters, readers
from .variables import given
from .words import plain

__all__ = ["check_duplicates", "check_exemplars", "check_multiprocess", "check_sampler", "check_temporality"]

_OTEL_COLLECTOR = "opentelemetry.exporter.prometheus"


def check_duplicates() -> Iterator[Finding]:
    """A second exporter of the same series; else by which path they leave."""
    found = list(_duplicates())
    yield from found
    sent, scraped = _sent(), _scraped()
    if not found and (sent or scraped):
        yield ok("duplicates", f"Metrics leave by one path: {'OTLP' if sent else 'the Prometheus endpoint'}.")


def _collectors() -> Counter[str]:
    """The collectors on prometheus_client's registry, by module."""
    client = sys.modules.get("prometheus_client")
    found = collectors_of(client.REGISTRY) if client is not None else []
    return Counter(type(each).__module__ for each in found)


def _sent() -> Counter[str]:
    """How many exporters send the metrics to each OTLP endpoint."""
    return Counter(str(settings_of(each)[0]) for each in exporters("metrics") if settings_of(each)[0])


def _scraped() -> bool:
    handle = configured()
    return bool(_collectors()[_OTEL_COLLECTOR]) or (handle is not None and handle.prometheus_port is not None)


def _duplicates() -> Iterator[Finding]:
    ours, others = _collectors()["glasspool.telemetry.prometheus"], _collectors()[_OTEL_COLLECTOR]
    if ours and others:
        yield warning(
            "duplicates", "OpenTelemetry's PrometheusMetricReader and glasspool's collector are on one registry.",
            "glasspool's stays away, so no series appears twice; the reader writes no exemplars.",
            "Remove the reader, or OTEL_METRICS_EXPORTER=prometheus; or give one of them a registry of its own.",
        )  # fmt: skip
    if others > 1:
        yield problem(
            "duplicates", f"{others} PrometheusMetricReaders are on one registry.",
            "Each series appears twice, and Prometheus refuses the scrape.", "Keep one.",
        )  # fmt: skip
    sent = _sent()
    for endpoint, times in sent.items():
        if times > 1:
            yield problem(
                "duplicates", f"{times} exporters send all metrics to {shown_url(endpoint)}.",
                "The store gets each point twice: sums are wrong, or points are refused.", "Keep one reader.",
            )  # fmt: skip
    if sent and _scraped():
        yield warning(
            "duplicates", "Metrics leave by OTLP and by a Prometheus endpoint.",
            "If both arrive in one store, every sum over all series counts twice.",
            "Scrape it into another store, or switch one off: OTEL_METRICS_EXPORTER=none, or no prometheus_port.",
        )  # fmt: skip


def check_temporality() -> Iterator[Finding]:
    """Whether counters leave as deltas."""
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    asked = given(name).lower() in ("delta", "lowmemory")
    kinds = {kind for each in readers() for kind, wanted in temporalities_of(each).items() if wanted == "DELTA"}
    if asked or kinds & {"Counter", "Histogram", "ObservableCounter"}:
        whose = f"{name}={given(name)}" if asked else f"A reader of the program ({', '.join(sorted(kinds))})"
        in_code = "Ask for cumulative temporality where the reader is made, by preferred_temporality= of its exporter"
        how = f"Unset {name}" if asked else in_code
        yield problem(
            "temporality", f"{whose} wants deltas.",
            "Prometheus-like stores and glasspool's dashboards need totals; a failed export loses its deltas.",
            f"{how}, or have the Collector's deltatocumulative processor in between.",
        )  # fmt: skip


def check_multiprocess() -> Iterator[Finding]:
    """prometheus_client's multiprocess mode."""
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        if name in os.environ:
            yield problem(
                "multiprocess", f"{name} is set: prometheus_client is in multiprocess mode.",
                "Its files cannot carry glasspool's series, so a scrape of them has none.",
                "Let the workers share a port, configure(prometheus_port=9464), or export by OTLP.",
            )  # fmt: skip
            return


def check_exemplars() -> Iterator[Finding]:
    """Whether exemplars, which lead from a figure to a trace, are off."""
    name = "OTEL_METRICS_EXEMPLAR_FILTER"
    by_program = providers.has_meter_provider() and "AlwaysOff" in exemplar_filter_of(metrics.get_meter_provider())
    if given(name).lower() == "always_off" or by_program:
        yield warning(
            "exemplars", f"Exemplars are off: {f'{name}=always_off' if given(name) else 'the meter provider says so'}.",
            "No figure of a dashboard leads to a trace.",
            f"Unset {name}, or set it to trace_based." if given(name) else
            "Leave exemplar_filter= out where the program makes its MeterProvider.",
        )  # fmt: skip


def check_sampler() -> Iterator[Finding]:
    """A sampler that drops every trace that begins here."""
    chosen, argument = given("OTEL_TRACES_SAMPLER"), given("OTEL_TRACES_SAMPLER_ARG")
    by_variable = chosen.endswith("always_off") or (chosen.endswith("traceidratio") and _is_zero(argument))
    if providers.has_tracer_provider():
        sampler = getattr(trace.get_tracer_provider(), "sampler", None)
        describe = getattr(sampler, "get_description", None)
        said = str(describe()) if callable(describe) else ""
        root = said.removeprefix("ParentBased{root:")
        if root.startswith(("AlwaysOffSampler", "TraceIdRatioBased{0.0}", "TraceIdRatioBased{0}")):
            yield _drops(
                f"The tracer provider's sampler is {plain(said)}", _OTHER_VALUE if by_variable else _OTHER_CODE
            )
    elif by_variable:
        argued = f", OTEL_TRACES_SAMPLER_ARG={argument}" if argument else ""
        yield _drops(f"OTEL_TRACES_SAMPLER={chosen}{argued}", _OTHER_VALUE)


_OTHER_VALUE = "Set OTEL_TRACES_SAMPLER=parentbased_traceidratio and OTEL_TRACES_SAMPLER_ARG=0.1, or unset both."
_OTHER_CODE = "Where the program makes its TracerProvider, leave sampler= out, or pass ParentBasedTraceIdRatio(0.1)."


def _drops(what: str, fix: str) -> Finding:
    return problem(
        "sampler", f"{what}: every trace that begins here is dropped.",
        "There are no spans and no exemplars, but for traces that a caller has sampled.", fix,
    )  # fmt: skip


def _is_zero(text: str) -> bool:
    try:
        return float(text) == 0
    except ValueError:
        return False
