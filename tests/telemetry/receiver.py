"""A collector for tests, over HTTP and gRPC: real servers with configurable answers that keep what they receive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

PROTOCOLS = ("grpc", "http/protobuf")

ANSWERS = ("take", "partial", "refuse", "busy", "silent")
"""Take everything; refuse one item of each export; refuse the export for good; ask to come again at once; no answer."""


class Receiver:
    """What a collector has taken, and how it answers."""

    def __init__(self) -> None:
        self.answer = "take"
        self.takes: int | None = None  # after so many exports it falls silent
        self.spans: list[str] = []
        self.points: dict[str, float] = {}  # the last value or count of each metric, summed over its points
        self.processes: dict[str, dict[str, float]] = {}  # the same for each service.instance.id
        self.port = 0
        self._lock = threading.Lock()
        self.asked = threading.Event()  # a request has arrived
        self.released = threading.Event()  # requests that wait for an answer end without one

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def receive(self, request: Any) -> Any:
        """The answer to one export, or the name of a failure."""
        self.asked.set()
        if self.takes is not None:
            with self._lock:
                self.answer = "take" if self.takes else "silent"
                self.takes = max(0, self.takes - 1)
        if self.answer == "silent":
            self.released.wait()
            return "busy"
        if self.answer in ("refuse", "busy"):
            return self.answer
        rejected = 1 if self.answer == "partial" else 0
        if isinstance(request, traces_pb2.ExportTraceServiceRequest):
            names = [s.name for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
            self.spans += names[rejected:]
            answer: Any = traces_pb2.ExportTraceServiceResponse()
            answer.partial_success.rejected_spans = rejected
        else:
            self._keep_points(request)
            answer = metrics_pb2.ExportMetricsServiceResponse()
            answer.partial_success.rejected_data_points = rejected
        answer.partial_success.error_message = "too old for us" if rejected else ""
        return answer

    def _keep_points(self, request: Any) -> None:
        for resource in request.resource_metrics:
            instance = {found.key: found.value.string_value for found in resource.resource.attributes}
            mine = self.processes.setdefault(instance.get("service.instance.id", ""), {})
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    values = [p.count if hasattr(p, "count") else p.as_int + p.as_double for p in points]
                    self.points[metric.name] = mine[metric.name] = sum(values)


@contextmanager
def receiver(protocol: str) -> Iterator[Receiver]:
    """A receiver that listens on a free port."""
    made = Receiver()
    with (_over_grpc if protocol == "grpc" else _over_http)(made):
        try:
            yield made
        finally:
            made.released.set()


@contextmanager
def _over_grpc(made: Receiver) -> Iterator[None]:
    codes = {"refuse": grpc.StatusCode.INVALID_ARGUMENT, "busy": grpc.StatusCode.RESOURCE_EXHAUSTED}

    class Service(traces_grpc.TraceServiceServicer, metrics_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            answer = made.receive(request)
            if isinstance(answer, str):
                if answer == "busy":
                    context.set_trailing_metadata((("google.rpc.retryinfo-bin", RetryInfo().SerializeToString()),))
                context.abort(codes[answer], f"{answer} on purpose")
            return answer

    server = grpc.server(ThreadPoolExecutor(8))
    traces_grpc.add_TraceServiceServicer_to_server(Service(), server)
    metrics_grpc.add_MetricsServiceServicer_to_server(Service(), server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield
    finally:
        made.released.set()
        server.stop(0).wait()


@contextmanager
def _over_http(made: Receiver) -> Iterator[None]:
    codes = {"refuse": 400, "busy": 503}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = (
                traces_pb2.ExportTraceServiceRequest
                if "traces" in self.path
                else metrics_pb2.ExportMetricsServiceRequest
            )
            answer = made.receive(kind.FromString(body))
            status, payload = (codes[answer], b"") if isinstance(answer, str) else (200, answer.SerializeToString())
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                if status == 503:
                    self.send_header("Retry-After", "0")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)
            except OSError:  # the client has left meanwhile
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        made.released.set()
        server.shutdown()
        server.server_close()
