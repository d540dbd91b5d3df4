"""Reads from a collector's answers how many spans and points it has refused.

OTLP lets a collector accept an export and refuse a part of it. OpenTelemetry's exporters ignore that part of the
answer, so this module reads the answers that they receive: over HTTP by a hook of the session, over gRPC by a wrapped
stub.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from glasspool._foreign.otel_exporters import put_around_stubs

__all__ = ["Answers", "listened_to"]

_CREDENTIALS = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_"  # ..._CREDENTIAL_PROVIDER: the session is another module's


class Answers:
    """The refusals of one exporter's collector since the last reading. One export at a time."""

    def __init__(self) -> None:
        self._rejected = 0
        self._why = ""

    def take(self) -> tuple[int, str]:
        """The number of refused spans or points, and the collector's message."""
        found = self._rejected, self._why
        self._rejected, self._why = 0, ""
        return found

    def note(self, answer: Any) -> None:
        """Read an answer of OTLP's collector services."""
        partial = answer.partial_success
        self._rejected += getattr(partial, "rejected_spans", 0) + getattr(partial, "rejected_data_points", 0)
        self._why = partial.error_message or "it gives no reason"


def listened_to(entry: str, make: Callable[..., Any], answers: Answers) -> Any:
    """The exporter that ``make`` makes, of this entry point, with ``answers`` noting what it receives.

    An exporter of another kind, or of a version whose insides are not known here, is left as it is.
    """
    if entry == "otlp_proto_http" and not any(
        name.startswith(_CREDENTIALS) and name.endswith("CREDENTIAL_PROVIDER") for name in os.environ
    ):
        try:
            return make(session=_session(make, answers))
        except (ImportError, TypeError):
            return make()
    exporter = make()
    if entry == "otlp_proto_grpc":
        put_around_stubs(exporter, lambda stub: _Stub(stub, answers))
    return exporter


class _Stub:
    """A client of a collector's service as gRPC makes them, which notes the answers."""

    def __init__(self, stub: Any, answers: Answers) -> None:
        self._stub = stub
        self._answers = answers

    def Export(self, *args: Any, **kwargs: Any) -> Any:
        answer = self._stub.Export(*args, **kwargs)
        self._answers.note(answer)
        return answer


def _session(make: Callable[..., Any], answers: Answers) -> Any:
    import requests
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf carries no types
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    kind = ExportMetricsServiceResponse if "metric" in make.__module__ else ExportTraceServiceResponse

    def look(response: requests.Response, *_args: Any, **_kwargs: Any) -> None:
        if response.ok:
            try:
                answers.note(kind.FromString(response.content))
            except DecodeError:  # not a collector's answer: its status says that everything was accepted
                pass

    session = requests.Session()
    session.hooks["response"].append(look)
    return session
