"""A process-pool ETL whose workers are in the same trace, by any start method, and whose dying worker is an outcome.

    python examples/process_pool_etl.py [fork | forkserver | spawn]

With OTEL_EXPORTER_OTLP_ENDPOINT set the workers export spans of their own; without, their running times come home
with the results.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from _shown import start_telemetry
from opentelemetry import trace

from glasspool.telemetry import catalog
from glasspool_instrumentation import wrap_executor


def squeeze(seed: int) -> int:
    """Something that keeps a core busy."""
    data = bytes((seed * index) & 0xFF for index in range(200_000))
    return len(zlib.compress(data, 9))


def die(*_: object) -> None:
    """What the out-of-memory killer does to a worker."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(method: str) -> None:
    metrics = start_telemetry("process-pool-etl")
    exporting = "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ
    context = multiprocessing.get_context(method)
    with (
        wrap_executor(ProcessPoolExecutor(2, context), "squeezers", child_telemetry=exporting) as pool,
        trace.get_tracer("example").start_as_current_span("nightly squeeze"),
    ):
        sizes = list(pool.map(squeeze, range(40), chunksize=5))
        print(f"{sum(sizes)} bytes from {len(sizes)} inputs, workers started by {method}")
        try:
            pool.submit(die).result()
        except BrokenProcessPool:
            print("a worker was killed: the call's outcome is an error, the pool takes no more")
    metrics.show(catalog.TASK_COMPLETED, catalog.QUEUE_WAIT, catalog.TASK_DURATION, catalog.CONTEXT_LOSSES)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "spawn")
