"""Measure the cost of observing a thread pool: submission to result, bare and wrapped, in microseconds and as ratios.

    python benchmarks/wrap_overhead.py [--tasks 2000] [--rounds 30]

It prints the best of many short rounds in random order, which is the cost on an otherwise idle core, and the median.
Calls are submitted all at once, which shows the work of the code, and one by one, waiting for each result, which
includes the time in which the threads wake each other, as for a caller that needs the result. The target: if the bare
pool takes 10 µs, metrics add at most 3 µs, sampled-out tracing 11 µs, full tracing 30 µs (ratios of 1.3, 2.1 and 4.0).
There are no exporters: a processor drops the spans.

Two rows are lower bounds without code of glasspool: "clock alone" is a pool whose calls are replaced by an object that
reads the clock and counts nothing, "SDK alone" a pool whose calls get a span of the catalog through the SDK's
functions.
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, StaticSampler

from glasspool._foreign.pool_parts import call_when_done
from glasspool.telemetry.catalog import SPAN_EVENT_STARTED, Key
from glasspool_instrumentation import wrap_executor

Around = Callable[[], AbstractContextManager[object]]
MARKS = {"metrics": 1.3, "sampled out": 2.1, "traced": 4.0}


class _Timed:
    """A call that only reads the clock at the points where an observed call must."""

    __slots__ = ("accepted", "ended", "fn", "started")

    def __init__(self, fn: Callable[[], object]) -> None:
        self.fn = fn
        self.accepted = time.perf_counter()

    def __call__(self) -> object:
        self.started = time.perf_counter()
        value = self.fn()
        self.ended = time.perf_counter()
        return value

    def done(self, future: object) -> None:
        """The future is done."""


class ClockAlone(ThreadPoolExecutor):
    """The lower bound for metrics."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = _Timed(fn)
        future: Any = super().submit(call, *args, **kwargs)
        call_when_done(future, call.done)
        return future


class _Traced(_Timed):
    """A call with a span of the catalog."""

    __slots__ = ("context", "span")

    def __init__(self, fn: Callable[[], object], tracer: trace.Tracer) -> None:
        self.context = otel_context.get_current()
        self.span = tracer.start_span(
            "bench nothing",
            context=self.context,
            attributes={
                Key.EXECUTOR_NAME: "bench", Key.EXECUTOR_TYPE: "thread_pool", Key.RUNNER: "thread",
                Key.TASK_NAME: "nothing", Key.TASK_ID: 1, Key.QUEUE_SIZE: 3,
                Key.CODE_FUNCTION: "bench.nothing",
            },
        )  # fmt: skip
        super().__init__(fn)

    def __call__(self) -> object:
        span = self.span
        span.add_event(SPAN_EVENT_STARTED)
        token = otel_context.attach(trace.set_span_in_context(span, self.context))
        value = super().__call__()
        otel_context.detach(token)
        thread = threading.current_thread()
        span.set_attributes(
            {
                Key.THREAD_ID: thread.ident or 0, Key.THREAD_NAME: thread.name, Key.TASK_OUTCOME: "success",
                Key.QUEUE_WAIT: self.started - self.accepted, Key.TASK_DURATION: self.ended - self.started,
            }
        )  # fmt: skip
        span.end()
        return value


class SdkAlone(ThreadPoolExecutor):
    """The lower bound for tracing."""

    def __init__(self, tracer: trace.Tracer) -> None:
        super().__init__(1)
        self.tracer = tracer

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(_Traced(fn, self.tracer), *args, **kwargs)


def nothing() -> None:
    """The task."""


def burst(pool: ThreadPoolExecutor, tasks: int) -> float:
    """Seconds per task: all tasks are submitted, then all results are taken."""
    begun = time.perf_counter()
    futures = [pool.submit(nothing) for _ in range(tasks)]
    for future in futures:
        future.result()
    return (time.perf_counter() - begun) / tasks


def one_by_one(pool: ThreadPoolExecutor, tasks: int) -> float:
    """Seconds per task: each result is waited for before the next is submitted."""
    begun = time.perf_counter()
    for _ in range(tasks):
        pool.submit(nothing).result()
    return (time.perf_counter() - begun) / tasks


WAYS = {"all at once": burst, "one by one": one_by_one}
Figures = dict[str, list[float]]


def measure(rows: list[tuple[str, ThreadPoolExecutor, Around]], tasks: int, rounds: int) -> dict[str, Figures]:
    """All rounds of each row, for both ways to submit, in seconds per task."""
    found: dict[str, Figures] = {way: {name: [] for name, _, _ in rows} for way in WAYS}
    for _ in range(rounds):
        for name, pool, around in random.sample(rows, len(rows)):
            with around():
                for way, work in WAYS.items():
                    found[way][name].append(work(pool, tasks))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()

    bare, wrapped = ThreadPoolExecutor(1), wrap_executor(ThreadPoolExecutor(1), "bench")
    # First with no provider set: metrics are the recorder's own, as Prometheus reads them.
    found = measure(
        [("bare", bare, nullcontext), ("clock alone", ClockAlone(1), nullcontext), ("metrics", wrapped, nullcontext)],
        options.tasks,
        options.rounds,
    )
    trace.set_tracer_provider(TracerProvider())
    dropping = TracerProvider(sampler=ParentBased(StaticSampler(Decision.DROP))).get_tracer("bench")
    recording = trace.get_tracer("bench")
    traced = measure(
        [
            ("bare", bare, nullcontext),
            ("sampled out", wrapped, lambda: dropping.start_as_current_span("request")),
            ("SDK alone", SdkAlone(recording), lambda: recording.start_as_current_span("request")),
            ("traced", wrapped, lambda: recording.start_as_current_span("request")),
        ],
        options.tasks,
        options.rounds,
    )
    for way in WAYS:
        print(f"{way:12} {'µs a task':>10} {'added':>7} {'ratio':>6} {'mark':>5} {'median':>8} {'ratio':>6}")
        for figures in (found[way], traced[way]):
            base, middle = min(figures["bare"]), statistics.median(figures["bare"])
            for name, took in figures.items():
                best, median = min(took), statistics.median(took)
                mark = f"{MARKS[name]:5.1f}" if name in MARKS else f"{'':5}"
                print(
                    f"{name:12} {best * 1e6:10.1f} {(best - base) * 1e6:7.1f} {best / base:6.2f} {mark} "
                    f"{median * 1e6:8.1f} {median / middle:6.2f}"
                )


if __name__ == "__main__":
    main()
