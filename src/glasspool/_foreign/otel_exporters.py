"""What OpenTelemetry's exporters and providers have no public name for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

__all__ = ["preferences_of", "put_around_stubs", "set_resource", "without_instrumentation"]


def without_instrumentation() -> Context:
    """The current context, in which instrumented HTTP and gRPC clients make no spans."""
    key = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
    return otel_context.set_value(key, True)


def preferences_of(exporter: Any) -> tuple[Any, Any]:
    """The temporality and the aggregation that a metric exporter wants its reader to use."""
    return exporter._preferred_temporality, exporter._preferred_aggregation


def put_around_stubs(exporter: Any, wrap: Callable[[Any], Any]) -> None:
    """Put something around the gRPC client of an OTLP exporter, and around those that it makes when it connects anew.

    Nothing happens where the exporter keeps it elsewhere.
    """
    if hasattr(exporter, "_client") and hasattr(exporter, "_stub"):
        stub = exporter._stub
        exporter._client = wrap(exporter._client)
        exporter._stub = lambda channel: wrap(stub(channel))


def set_resource(provider: Any, resource: Resource) -> None:
    """Have the tracers that a provider makes from now on carry this resource."""
    provider._resource = resource
