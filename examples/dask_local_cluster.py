"""A local Dask cluster: calls by ``Client.submit`` and by ``Client.get_executor()`` in one trace.

python examples/dask_local_cluster.py
"""

from __future__ import annotations

import time

from _shown import start_telemetry
from distributed import Client, LocalCluster
from opentelemetry import trace

from glasspool.telemetry import catalog
from glasspool_instrumentation import DaskInstrumentor, wrap_executor


def slow_square(number: int) -> int:
    time.sleep(0.02)
    return number * number


def trace_here() -> str:
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


def main() -> None:
    metrics = start_telemetry("dask-local-cluster")
    DaskInstrumentor().instrument()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        trace.get_tracer("example").start_as_current_span("crunch") as span,
    ):
        futures = [client.submit(slow_square, number) for number in range(20)]
        print(f"sum of squares {sum(client.gather(futures))}")
        pool = wrap_executor(client.get_executor(), "reports")
        print(f"the worker saw trace {pool.submit(trace_here).result()}")
        print(f"the submitter's is   {span.get_span_context().trace_id:032x}  (0: nothing is exported, so no traces)")
    metrics.show(catalog.TASK_COMPLETED, catalog.QUEUE_WAIT, catalog.TASK_DURATION)


if __name__ == "__main__":
    main()
