"""Losses of an SDK that the application has set up: its warnings are counted, and still logged as before."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from .receiver import PROTOCOLS
from .test_losses import run

SDK = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2])

OWN = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

def set_up():
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracers)
    return tracers

# The program's configure() comes after this and finds the provider there.
configure, theirs = (lambda: (set_up(), theirs())[1]), configure
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_failed_export_of_the_applications_own_pipeline(protocol):
    found, log = run(
        protocol,
        """
work(5)
trace.get_tracer_provider().force_flush()
before = handle.force_flush(60)
collector.answer = "refuse"
work(5)
trace.get_tracer_provider().force_flush()
show(before=before, first=handle.force_flush(60), counted=counted(), second=handle.force_flush(60),
     spans=len(collector.spans))
collector.answer = "take"
""",
        OWN,
        OTEL_METRICS_EXPORTER="none",
    )
    assert found == {
        "before": True,
        "first": False,
        "counted": {"export": 1, "span_export": 1},  # however many spans there were
        "second": True,
        "spans": 5,
    }
    assert log.count("Failed to export") == 1, "the SDK's own words are still there"


@pytest.mark.skipif((1, 34) <= SDK < (1, 40), reason="these versions say nothing of a full queue")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_full_queue_of_the_applications_own_pipeline(protocol):
    found, _ = run(
        protocol,
        """
collector.answer = "silent"
work(10)
wait_for(collector.asked.is_set)
work(50)
show(first=handle.force_flush(60), counted=counted())
collector.answer = "take"
collector.released.set()
""",
        OWN,
        OTEL_METRICS_EXPORTER="none",
        OTEL_BSP_MAX_QUEUE_SIZE="20",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
    )
    # Older versions say once that the queue is full, newer ones that a span is dropped, each time.
    assert found == {"first": False, "counted": {"span_queue_full": 1 if SDK < (1, 34) else 30}}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_beside_it_our_own_exports_are_not_counted_twice(protocol):
    found, _ = run(
        protocol,
        """
work(5)
collector.answer = "refuse"
flushed = handle.force_flush(60)
lost = counted()
trace.get_tracer_provider().force_flush()
show(flushed=flushed, lost=lost, counted=counted())
collector.answer = "take"
""",
        OWN,
        OTEL_TRACES_EXPORTER="none",
    )
    assert found["flushed"] is False, "the metrics are unsent"
    assert found["lost"] == {"export": 1}, "our metrics"
    assert found["counted"] == {"export": 2, "span_export": 1}, "and the application's spans"
