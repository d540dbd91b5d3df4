"""Measure the cost of observing pools of concurrent.futures: bare, wrapped, and with other instrumentation.

    python benchmarks/pool_cost.py [--tasks 20000] [--rounds 9]

A thread pool of 8 and a process pool of 2 run an empty function; 64 calls are in flight, submitted within a span. The
process pool runs a tenth of the calls. Each round measures every case once, in random order, each in a process of its
own. Printed are medians in microseconds a call: the processor time of this process and of the pool's workers, and the
wall-clock time.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from telemetry import set_up

IN_FLIGHT = 64
POOLS: dict[str, tuple[Callable[[], Executor], int]] = {
    "thread pool of 8": (partial(ThreadPoolExecutor, 8), 1),
    "process pool of 2": (partial(ProcessPoolExecutor, 2), 10),
}
"""How each is made, and by how much the number of calls is divided."""

Submit = Callable[..., Future[Any]]


def bare(pool: Executor) -> Submit:
    """The pool's own submit."""
    return pool.submit


def glasspool_(pool: Executor) -> Submit:
    """wrap_executor."""
    from glasspool_instrumentation import wrap_executor

    return wrap_executor(pool, "bench").submit


def propagating(pool: Executor) -> Submit:
    """OpenTelemetry's instrumentation of threads: it carries the context, and records nothing."""
    from opentelemetry.instrumentation.threading import ThreadingInstrumentor

    ThreadingInstrumentor().instrument()
    return pool.submit


def naive(pool: Executor) -> Submit:
    """Hand-written instrumentation: a span, two histograms and three counters."""
    from opentelemetry import metrics

    meter, tracer = metrics.get_meter("naive"), trace.get_tracer("naive")
    wait, duration = meter.create_histogram("wait", unit="s"), meter.create_histogram("duration", unit="s")
    submitted, completed = meter.create_counter("submitted"), meter.create_counter("completed")
    active = meter.create_up_down_counter("active")
    labels = {"executor": "bench", "task": "nothing"}

    def submit(fn: Callable[..., Any], *args: Any) -> Future[Any]:
        accepted = time.perf_counter()
        submitted.add(1, labels)
        span = tracer.start_span("nothing", attributes=labels)
        active.add(1, labels)
        future = pool.submit(_timed, fn, *args)

        def done(future: Future[Any]) -> None:
            began, ended = future.result()
            wait.record(max(0.0, began - accepted), labels)
            duration.record(ended - began, labels)
            active.add(-1, labels)
            completed.add(1, labels)
            span.end()

        future.add_done_callback(done)
        return future

    return submit


def _timed(fn: Callable[..., Any], *args: Any) -> tuple[float, float]:
    began = time.perf_counter()
    fn(*args)
    return began, time.perf_counter()


CASES: dict[str, tuple[Callable[[Executor], Submit], str]] = {
    "bare": (bare, ""),
    "opentelemetry's, propagates only": (propagating, "traced"),
    "naive, SDK metrics": (naive, "metrics"),
    "naive, sampled out": (naive, "sampled out"),
    "naive, traced": (naive, "traced"),
    "wrapped, no SDK": (glasspool_, ""),
    "wrapped, SDK metrics": (glasspool_, "metrics"),
    "wrapped, sampled out": (glasspool_, "sampled out"),
    "wrapped, traced": (glasspool_, "traced"),
}
"""By name what observes the pool, and the telemetry. "Sampled out" and "traced" have the metrics too."""


def nothing(_i: int) -> None:
    """The call."""


def run(submit: Submit, calls: int) -> None:
    """Submit calls and take their results, 64 in flight."""
    flying: deque[Future[Any]] = deque()
    for i in range(calls):
        if len(flying) == IN_FLIGHT:
            flying.popleft().result()
        flying.append(submit(nothing, i))
    for future in flying:
        future.result()


def processor_time() -> float:
    """Of this process and of those that it has waited for, in seconds."""
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + workers.ru_utime + workers.ru_stime


def measure(pool_name: str, case: str, calls: int) -> tuple[float, float]:
    """Microseconds of processor time and of wall-clock time a call."""
    observe, telemetry = CASES[case]
    set_up(telemetry)
    make, divisor = POOLS[pool_name]
    few, many = calls // divisor // 10 + 1, calls // divisor
    took = []
    # The first warms up; the difference of the others is without the start and the end of the pool.
    for count in (few, few, few + many):
        began, used = time.perf_counter(), processor_time()
        with make() as pool, trace.get_tracer("bench").start_as_current_span("request"):
            run(observe(pool), count)
        took.append((processor_time() - used, time.perf_counter() - began))
    _, (few_used, few_took), (all_used, all_took) = took
    return (all_used - few_used) / many * 1e6, (all_took - few_took) / many * 1e6


def main() -> None:
    """Run each case in processes of its own (providers can be set only once), and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pool", choices=POOLS, action="append", help="only this one")
    parser.add_argument("--only", help="bare, and cases whose names contain this")
    parser.add_argument("--case", nargs=2, metavar=("POOL", "CASE"), help="measure one, print two numbers")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(*options.case, options.tasks)))
        return
    cases = [name for name in CASES if name == "bare" or options.only is None or options.only in name]
    rows = [(pool, case) for pool in options.pool or POOLS for case in cases]
    found: dict[tuple[str, str], list[tuple[float, float]]] = {row: [] for row in rows}
    for _ in range(options.rounds):
        for row in random.sample(rows, len(rows)):
            command = [sys.executable, __file__, "--tasks", str(options.tasks), "--case", *row]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[row].append(tuple(json.loads(done.stdout)))
    print(
        f"{platform.python_implementation()} {platform.python_version()}, OpenTelemetry {version('opentelemetry-sdk')}"
    )
    for pool in options.pool or POOLS:
        base = statistics.median(used for used, _ in found[pool, "bare"])
        print(f"{pool + ', µs a call':34}{'processor':>10}{'added':>8}{'wall':>8}")
        for case in cases:
            used, took = (statistics.median(figures) for figures in zip(*found[pool, case], strict=True))
            print(f"{case:34}{used:10.1f}{used - base:8.1f}{took:8.1f}")


if __name__ == "__main__":
    main()
