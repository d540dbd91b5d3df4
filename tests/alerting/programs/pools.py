"""Healthy batches on pools: all calls are submitted at once, and the pool works through them."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from glasspool.telemetry import configure
from glasspool_instrumentation import wrap_executor


def main() -> None:
    handle = configure(prometheus_port=0)
    threads = wrap_executor(ThreadPoolExecutor(4), "etl-threads")
    processes = wrap_executor(ProcessPoolExecutor(2), "etl-processes")
    for _ in range(50_000):
        threads.submit(time.sleep, 1.5)
    for _ in range(5_000):
        processes.submit(time.sleep, 4)
    print(f"PORT {handle.prometheus_port}", flush=True)
    sys.stdin.read()
    for pool in (threads, processes):
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
