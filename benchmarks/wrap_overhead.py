"""What observing a thread pool costs: submit to result, bare and wrapped, in microseconds and as ratios.

    python benchmarks/wrap_overhead.py [--tasks 2000] [--rounds 30]

The best of many short rounds in random order: what the code costs on a quiet core. The mark: where the bare pool takes
10 µs, metrics add at most 3, sampled-out tracing 11, full tracing 30 (ratios of 1.3, 2.1 and 4.0). Exporters are left
out: spans end in a processor that drops them.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, StaticSampler

from glasspool_instrumentation import wrap_executor

Around = Callable[[], AbstractContextManager[object]]
MARKS = {"metrics": 1.3, "sampled out": 2.1, "traced": 4.0}


def nothing() -> None:
    """The task."""


def burst(pool: ThreadPoolExecutor, tasks: int) -> float:
    """Seconds per task: all submitted, then all results taken."""
    begun = time.perf_counter()
    futures = [pool.submit(nothing) for _ in range(tasks)]
    for future in futures:
        future.result()
    return (time.perf_counter() - begun) / tasks


def measure(rows: list[tuple[str, ThreadPoolExecutor, Around]], tasks: int, rounds: int) -> dict[str, float]:
    """The best round of each row, in seconds per task."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, pool, around in random.sample(rows, len(rows)):
            with around():
                took = burst(pool, tasks)
            best[name] = min(best.get(name, took), took)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()

    bare, wrapped = ThreadPoolExecutor(1), wrap_executor(ThreadPoolExecutor(1), "bench")
    # First with no provider set: metrics are the recorder's own, as Prometheus reads them.
    found = measure([("bare", bare, nullcontext), ("metrics", wrapped, nullcontext)], options.tasks, options.rounds)
    trace.set_tracer_provider(TracerProvider())
    dropping = TracerProvider(sampler=ParentBased(StaticSampler(Decision.DROP))).get_tracer("bench")
    recording = trace.get_tracer("bench")
    traced = measure(
        [
            ("bare", bare, nullcontext),
            ("sampled out", wrapped, lambda: dropping.start_as_current_span("request")),
            ("traced", wrapped, lambda: recording.start_as_current_span("request")),
        ],
        options.tasks,
        options.rounds,
    )
    print(f"{'':12} {'µs a task':>10} {'added':>7} {'ratio':>6} {'mark':>5}")
    for row, base in ((found, found["bare"]), (traced, traced["bare"])):
        for name, took in row.items():
            mark = f"{MARKS[name]:5.1f}" if name in MARKS else ""
            print(f"{name:12} {took * 1e6:10.1f} {(took - base) * 1e6:7.1f} {took / base:6.2f} {mark}")


if __name__ == "__main__":
    main()
