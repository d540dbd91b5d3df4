"""A local Dask cluster: calls by ``Client.submit`` and by ``Client.get_executor()`` in one trace.

python examples/dask_local_cluster.py
"""

from __future__ import annotations

import time
import urllib.request

from distributed import Client, LocalCluster
from opentelemetry import trace

from glasspool.telemetry import catalog, configure
from glasspool_instrumentation import DaskInstrumentor, wrap_executor

SHOWN = (
    catalog.TASK_COMPLETED.prometheus_name,
    catalog.QUEUE_WAIT.prometheus_name + "_count",
    catalog.TASK_DURATION.prometheus_name + "_sum",
)
"""What is shown of /metrics."""


def slow_square(number: int) -> int:
    time.sleep(0.02)
    return number * number


def trace_here() -> str:
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


def show(port: int | None) -> None:
    """The lines of /metrics to look at."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(SHOWN) and not line.endswith(" 0.0"):
                print(line)


def main() -> None:
    telemetry = configure(service_name="dask-local-cluster", prometheus_port=0)
    DaskInstrumentor().instrument()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        trace.get_tracer("example").start_as_current_span("crunch") as span,
    ):
        futures = [client.submit(slow_square, number) for number in range(20)]
        print(f"sum of squares {sum(client.gather(futures))}")
        pool = wrap_executor(client.get_executor(), "reports")
        print(f"the worker saw trace {pool.submit(trace_here).result()}")
        print(f"the submitter's is   {span.get_span_context().trace_id:032x}  (0: nothing is exported, so no traces)")
    show(telemetry.prometheus_port)


if __name__ == "__main__":
    main()
