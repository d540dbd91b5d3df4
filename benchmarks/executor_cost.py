"""Measure microseconds per task of glasspool's executor and of comparable libraries, in one run.

20,000 one-checkpoint tasks, 64 in flight, outcomes consumed as they complete; the best of some rounds, because noise of
the machine can only add time. Usage: python benchmarks/executor_cost.py [--tasks N] [--rounds N] [--json FILE]

--turns measures only glasspool and aiometer, in alternation and by processor time, which depends least on other
programs; --monitor measures glasspool in the same way with and without the event-loop monitor of configure().
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import anyio
from telemetry import set_up

IN_FLIGHT = 64
BACKENDS = ("asyncio", "uvloop", "trio")


async def work(i: int) -> int:
    """One checkpoint, the smallest possible task."""
    await anyio.lowlevel.checkpoint()
    return i


async def raw(count: int, function: Callable[[int], Awaitable[object]] = work) -> None:
    """asyncio tasks and a semaphore: no outcomes, no cancellation, no telemetry."""
    import asyncio

    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(i: int) -> None:
        try:
            await function(i)
        finally:
            gate.release()

    tasks = []
    for i in range(count):
        await gate.acquire()
        tasks.append(asyncio.create_task(one(i)))
    await asyncio.gather(*tasks)


async def group_and_limiter(count: int) -> None:
    """An anyio task group and a CapacityLimiter."""
    limiter = anyio.CapacityLimiter(IN_FLIGHT)

    async def one(i: int) -> None:
        async with limiter:
            await work(i)

    async with anyio.create_task_group() as group:
        for i in range(count):
            group.start_soon(one, i)


async def aiometer_(count: int, function: Callable[[int], Awaitable[object]] = work) -> None:
    """aiometer.amap."""
    import aiometer

    async with aiometer.amap(function, range(count), max_at_once=IN_FLIGHT) as results:
        async for _ in results:
            pass


async def glasspool_(count: int) -> None:
    """HybridExecutor.as_completed, as it is by default."""
    from glasspool import HybridExecutor

    async with HybridExecutor("bench", max_in_flight=IN_FLIGHT) as executor:
        async for _ in executor.as_completed(work, range(count)):
            pass


def call(i: int) -> int:
    """The smallest plain function."""
    return i


async def run_in_executor(count: int) -> None:
    """A thread pool of 64 by asyncio alone, behind 64 workers."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    numbers, loop = iter(range(count)), asyncio.get_running_loop()

    async def worker(pool: ThreadPoolExecutor) -> None:
        for i in numbers:
            await loop.run_in_executor(pool, call, i)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        await asyncio.gather(*(worker(pool) for _ in range(IN_FLIGHT)))


async def to_thread(count: int) -> None:
    """anyio.to_thread.run_sync behind 64 workers."""
    numbers, limiter = iter(range(count)), anyio.CapacityLimiter(IN_FLIGHT)

    async def worker() -> None:
        for i in numbers:
            await anyio.to_thread.run_sync(call, i, limiter=limiter)

    async with anyio.create_task_group() as group:
        for _ in range(IN_FLIGHT):
            group.start_soon(worker)


async def glasspool_threads(count: int) -> None:
    """HybridExecutor.as_completed with a plain function, which runs in threads."""
    from glasspool import HybridExecutor

    async with HybridExecutor("bench", max_in_flight=IN_FLIGHT) as executor:
        async for _ in executor.as_completed(call, range(count)):
            pass


async def instrumented(count: int) -> None:
    """Tasks and a semaphore, with OpenTelemetry's instrumentation of asyncio."""
    from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor

    instrumentor = AsyncioInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        os.environ["OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE"] = "one"
        instrumentor.instrument()
    await raw(count)


async def naive(count: int) -> None:
    """asyncio tasks and a semaphore with hand-written instrumentation: a span, two histograms and three counters."""
    import asyncio

    from opentelemetry import metrics, trace

    meter, tracer = metrics.get_meter("naive"), trace.get_tracer("naive")
    wait, duration = meter.create_histogram("wait", unit="s"), meter.create_histogram("duration", unit="s")
    submitted, completed = meter.create_counter("submitted"), meter.create_counter("completed")
    active = meter.create_up_down_counter("active")
    labels = {"executor": "bench", "task": "work"}
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(i: int, accepted: float) -> None:
        begun = time.perf_counter()
        wait.record(begun - accepted, labels)
        active.add(1, labels)
        try:
            with tracer.start_as_current_span("work", attributes=labels):
                await work(i)
        finally:
            duration.record(time.perf_counter() - begun, labels)
            active.add(-1, labels)
            completed.add(1, labels)
            gate.release()

    tasks = []
    for i in range(count):
        accepted = time.perf_counter()
        submitted.add(1, labels)
        await gate.acquire()
        tasks.append(asyncio.create_task(one(i, accepted)))
    await asyncio.gather(*tasks)


CASES: dict[str, tuple[Callable[[int], Awaitable[None]], str]] = {
    "raw create_task + Semaphore": (raw, ""),
    "task group + CapacityLimiter": (group_and_limiter, ""),
    "aiometer": (aiometer_, ""),
    "opentelemetry's, SDK metrics": (instrumented, "metrics"),
    "opentelemetry's, sampled out": (instrumented, "sampled out"),
    "opentelemetry's, traced": (instrumented, "traced"),
    "naive, SDK metrics": (naive, "metrics"),
    "naive, sampled out": (naive, "sampled out"),
    "naive, traced": (naive, "traced"),
    "glasspool, no SDK": (glasspool_, ""),
    "glasspool, Prometheus": (glasspool_, "prometheus"),
    "glasspool, SDK metrics": (glasspool_, "metrics"),
    "glasspool, SDK's Prometheus": (glasspool_, "exporter"),
    "glasspool, sampled out": (glasspool_, "sampled out"),
    "glasspool, traced": (glasspool_, "traced"),
    "threads: run_in_executor": (run_in_executor, ""),
    "threads: anyio.to_thread": (to_thread, ""),
    "threads: glasspool, no SDK": (glasspool_threads, ""),
    "threads: glasspool, traced": (glasspool_threads, "traced"),
}
"""By name the program and its telemetry. "Sampled out" and "traced" have the metrics too."""

ASYNCIO_ONLY = (raw, naive, instrumented, run_in_executor)


def measure(case: str, backend: str, tasks: int, rounds: int, clock: Callable[[], float]) -> float:
    """Best microseconds per task in this process."""
    function, telemetry = CASES[case]
    set_up(telemetry)
    return min(once(function, backend, tasks, clock) for _ in range(rounds))


def once(
    function: Callable[[int], Awaitable[None]], backend: str, tasks: int, clock: Callable[[], float]
) -> float:  # fmt: skip
    """Microseconds per task."""

    async def timed() -> float:
        started = clock()
        await function(tasks)
        return (clock() - started) / tasks * 1e6

    options = {"use_uvloop": True} if backend == "uvloop" else {}
    return anyio.run(timed, backend="asyncio" if backend == "uvloop" else backend, backend_options=options)


def in_turns(tasks: int, rounds: int) -> None:
    """Print the best of glasspool and of aiometer, and their ratio, on each backend."""
    for backend in BACKENDS:
        best = {aiometer_: math.inf, glasspool_: math.inf}
        for _ in range(rounds):
            for function in random.sample(list(best), 2):
                best[function] = min(best[function], once(function, backend, tasks, time.process_time))
        ours, theirs = best[glasspool_], best[aiometer_]
        print(f"{backend:10} glasspool {ours:5.1f}  aiometer {theirs:5.1f}  ratio {ours / theirs:.2f}", flush=True)


def monitored(tasks: int, rounds: int) -> None:
    """Print the best of glasspool after configure(prometheus_port=0), with the event-loop monitor and without it."""
    from glasspool.telemetry import configure
    from glasspool.telemetry.loop_monitors import watch_executors

    configure(prometheus_port=0, otlp=False)
    for backend in BACKENDS:
        best = {True: math.inf, False: math.inf}
        for _ in range(rounds):
            for on in random.sample(list(best), 2):
                watch_executors(on)
                best[on] = min(best[on], once(glasspool_, backend, tasks, time.process_time))
        print(f"{backend:10} monitor on {best[True]:5.1f}  off {best[False]:5.1f}", flush=True)


def main() -> None:
    """Run each case in a separate process (providers can be set only once) and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="also write the figures here")
    parser.add_argument("--cpu", action="store_true", help="processor time of the process, its threads included")
    parser.add_argument("--turns", action="store_true", help="as_completed against aiometer alone, by processor time")
    parser.add_argument("--monitor", action="store_true", help="what the event-loop monitor costs, by processor time")
    parser.add_argument("--case", nargs=2, metavar=("CASE", "BACKEND"), help="measure one, print one number")
    args = parser.parse_args()
    if args.case:
        print(measure(*args.case, args.tasks, args.rounds, time.process_time if args.cpu else time.perf_counter))
        return
    if args.turns:
        in_turns(args.tasks, args.rounds)
        return
    if args.monitor:
        monitored(args.tasks, args.rounds)
        return
    figures: dict[str, dict[str, float]] = {}
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{python}, anyio {version('anyio')}, trio {version('trio')}, aiometer {version('aiometer')}")
    print(f"{'µs per task':32}" + "".join(f"{b:>10}" for b in BACKENDS))
    for case in CASES:
        row = figures[case] = {}
        for backend in BACKENDS:
            if CASES[case][0] in ASYNCIO_ONLY and backend == "trio":
                continue
            command = [sys.executable, __file__, "--tasks", str(args.tasks), "--rounds", str(args.rounds)]
            command += ["--cpu"] if args.cpu else []
            done = subprocess.run([*command, "--case", case, backend], check=True, capture_output=True, text=True)
            row[backend] = float(done.stdout)
        print(f"{case:32}" + "".join(f"{row[b]:10.1f}" if b in row else f"{'–':>10}" for b in BACKENDS), flush=True)
    ratios = [figures["threads: glasspool, no SDK"][b] / figures["threads: anyio.to_thread"][b] for b in BACKENDS]
    print(f"{'threads / anyio.to_thread':32}" + "".join(f"{ratio:10.2f}" for ratio in ratios))
    ratios = [figures["glasspool, no SDK"][b] / figures["aiometer"][b] for b in BACKENDS]
    print(f"{'as_completed / aiometer':32}" + "".join(f"{ratio:10.2f}" for ratio in ratios))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    main()
