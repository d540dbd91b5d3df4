"""A process-pool ETL whose workers are in the same trace, by any start method; a worker that dies makes its task an
error.

    python examples/process_pool_etl.py [fork | forkserver | spawn]

With OTEL_EXPORTER_OTLP_ENDPOINT set the workers export their own spans; otherwise they return their running times with
the results.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import urllib.request
import zlib
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from opentelemetry import trace

from glasspool.telemetry import catalog, configure
from glasspool_instrumentation import wrap_executor

SHOWN = (
    catalog.TASK_COMPLETED.prometheus_name,
    catalog.QUEUE_WAIT.prometheus_name + "_count",
    catalog.TASK_DURATION.prometheus_name + "_sum",
    catalog.CONTEXT_LOSSES.prometheus_name,
)
"""What is shown of /metrics."""


def squeeze(seed: int) -> int:
    """Something that keeps a core busy."""
    data = bytes((seed * index) & 0xFF for index in range(200_000))
    return len(zlib.compress(data, 9))


def die(*_: object) -> None:
    """What the out-of-memory killer does to a worker."""
    os.kill(os.getpid(), signal.SIGKILL)


def show(port: int | None) -> None:
    """The lines of /metrics to look at."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(SHOWN) and not line.endswith(" 0.0"):
                print(line)


def main(method: str) -> None:
    telemetry = configure(service_name="process-pool-etl", prometheus_port=0)
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
    show(telemetry.prometheus_port)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "spawn")
