"""Measure the executor with work of different shapes: what one suspension more costs, failures, cancellation, several
producers, time limits, both kinds of backend task; growth with the number of tasks; memory; and the delay of a start.

No SDK. 64 in flight, outcomes consumed; aiometer, aiojobs and raw tasks beside it where they can do the same; every
round measures all in random order, the medians are shown.

Usage: python benchmarks/executor_shapes.py [--tasks N] [--rounds N] [--growth | --memory | --delay]
"""

from __future__ import annotations

import argparse
import gc
import math
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
from executor_cost import BACKENDS, IN_FLIGHT, aiometer_, raw

from glasspool import HybridExecutor

PROGRAMS = ("isolated", "shared", "aiometer", "raw", "aiojobs")

Program = Callable[[int], Awaitable[None]]


def suspending(times: int) -> Callable[[int], Awaitable[int]]:
    """A function that takes so many checkpoints."""

    async def work(i: int) -> int:
        for _ in range(times):
            await anyio.lowlevel.checkpoint()
        return i

    return work


async def failing(i: int) -> int:
    """One checkpoint, then an error."""
    await anyio.lowlevel.checkpoint()
    raise ValueError(i)


async def endless(i: int) -> None:
    """Waits to be cancelled."""
    await anyio.sleep_forever()


ONCE = suspending(1)


async def caught(i: int) -> object:
    """The same, with the error as its value, for libraries that would end by it."""
    try:
        return await failing(i)
    except ValueError as error:
        return error


async def aiojobs_(function: Any, count: int) -> None:
    """An aiojobs scheduler; each job is waited for."""
    import aiojobs

    async with aiojobs.Scheduler(limit=IN_FLIGHT, pending_limit=2 * IN_FLIGHT, exception_handler=None) as scheduler:
        jobs: list[Any] = []
        for i in range(count):
            jobs.append(await scheduler.spawn(function(i)))
            if len(jobs) >= IN_FLIGHT:
                for job in jobs:
                    await job.wait()
                jobs.clear()
        for job in jobs:
            await job.wait()


async def as_completed(function: Any, isolate: bool, options: dict[str, Any], count: int) -> None:
    """HybridExecutor.as_completed."""
    async with HybridExecutor("bench", max_in_flight=IN_FLIGHT, isolate=isolate) as executor:
        async for _ in executor.as_completed(function, range(count), **options):
            pass


async def submit(isolate: bool, count: int) -> None:
    """Handles, awaited in order."""
    async with HybridExecutor("bench", max_in_flight=IN_FLIGHT, max_queued=None, isolate=isolate) as executor:
        handles = [await executor.submit(ONCE, i) for i in range(count)]
        for handle in handles:
            await handle


async def pile(isolate: bool, count: int) -> None:
    """A pile, filled and iterated over."""
    async with (
        HybridExecutor("bench", max_in_flight=IN_FLIGHT, max_queued=None, isolate=isolate) as executor,
        executor.pile() as tasks,
    ):
        for i in range(count):
            await tasks.include(ONCE, i)
        async for _ in tasks:
            pass


async def producers(isolate: bool, count: int) -> None:
    """Eight tasks submit to one executor whose queue is full most of the time."""

    async def produce(executor: HybridExecutor) -> None:
        for i in range(count // 8):
            await executor.submit(ONCE, i)

    async with (
        HybridExecutor("bench", max_in_flight=IN_FLIGHT, isolate=isolate) as executor,
        anyio.create_task_group() as group,
    ):
        for _ in range(8):
            group.start_soon(produce, executor)


async def cancelled(isolate: bool, count: int) -> None:
    """Tasks that run until they are cancelled, one by one, through their handles."""
    async with HybridExecutor("bench", max_in_flight=IN_FLIGHT, isolate=isolate) as executor:
        for _ in range(count // IN_FLIGHT):
            handles = [await executor.submit(endless, i) for i in range(IN_FLIGHT)]
            await anyio.lowlevel.checkpoint()
            for handle in handles:
                handle.cancel()
            for handle in handles:
                await handle.outcome()


def rows(backend: str) -> dict[str, dict[str, tuple[Program, int]]]:
    """By shape and by program what is run, and by how much smaller its number of tasks is."""
    found: dict[str, dict[str, tuple[Program, int]]] = {}
    shapes: dict[str, tuple[Any, dict[str, Any], int]] = {
        "as_completed, 1 suspension": (ONCE, {}, 1),
        "as_completed, none": (suspending(0), {}, 1),
        "as_completed, 20": (suspending(20), {}, 4),
        "as_completed, 1,000": (suspending(1000), {}, 80),
        "as_completed, failing": (failing, {}, 1),
        "as_completed, timeout=30": (ONCE, {"timeout": 30}, 1),
    }
    for shape, (function, options, less) in shapes.items():
        row = found[shape] = {
            "isolated": (partial(as_completed, function, True, options), less),
            "shared": (partial(as_completed, function, False, options), less),
        }
        theirs = caught if function is failing else function
        row["aiometer"] = (partial(aiometer_, function=theirs), less)
        if backend != "trio":
            row["raw"] = (partial(raw, function=theirs), less)
            row["aiojobs"] = (partial(aiojobs_, theirs), less)
    for shape, program in {
        "submit and await": submit, "pile": pile, "8 producers": producers, "cancelled": cancelled
    }.items():  # fmt: skip
        found[shape] = {"isolated": (partial(program, True), 1), "shared": (partial(program, False), 1)}
        found[shape]["aiometer"] = found["as_completed, 1 suspension"]["aiometer"]
    del found["cancelled"]["aiometer"]  # it cannot
    return found


def run(backend: str, body: Callable[[], Awaitable[Any]]) -> Any:
    """Run it on a loop of its own."""
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    return anyio.run(body, backend="asyncio" if backend == "uvloop" else backend, backend_options=options)


def measure(backend: str, program: Program, count: int) -> float:
    """Microseconds of processor time for each task."""

    async def timed() -> float:
        await program(min(256, count))  # what is made once is made
        gc.collect()
        started = time.process_time()
        await program(count)
        return (time.process_time() - started) / count * 1e6

    return float(run(backend, timed))


def shapes(tasks: int, rounds: int) -> None:
    """Print the medians of all shapes and programs, and their ratio to aiometer's."""
    for backend in BACKENDS:
        print(f"\n{backend:28}" + "".join(f"{name:>18}" for name in PROGRAMS))
        for shape, programs in rows(backend).items():
            found: dict[str, list[float]] = {name: [] for name in programs}
            for _ in range(rounds):
                for name in random.sample(list(programs), len(programs)):
                    program, less = programs[name]
                    found[name].append(measure(backend, program, tasks // less))
            medians = {name: statistics.median(values) for name, values in found.items()}
            least = medians.get("aiometer", math.nan)
            cells = [
                f"{medians[name]:.1f} ({medians[name] / least:.2f})" if name in medians else "–" for name in PROGRAMS
            ]
            print(f"{shape:28}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def growth(rounds: int, most: int) -> None:
    """Print microseconds per task for a thousandth to all of so many tasks, and the memory in use at the end."""
    for backend in BACKENDS:
        for isolate in (True, False):
            cells = []
            for count in (most // 1000, most // 100, most // 10, most):
                program = partial(as_completed, ONCE, isolate, {})
                count = max(count, 1)
                times = max(1, min(rounds, most // count))
                taken = statistics.median(measure(backend, program, count) for _ in range(times))
                cells.append(f"{count:,}: {taken:.1f} µs, {resident() >> 20} MiB")
            print(f"{backend:8} {'isolated' if isolate else 'shared':9} " + "   ".join(cells), flush=True)


def resident() -> int:
    """Bytes of memory that the process has now (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def memory(count: int) -> None:
    """Print what one queued task takes: of Python's allocations, and of the process's memory."""

    async def queued() -> tuple[float, float]:
        async with HybridExecutor("bench", max_in_flight=1, max_queued=None) as executor:
            open_ = anyio.Event()
            await executor.submit(open_.wait)
            for i in range(1000):
                executor.submit_nowait(ONCE, i)
            gc.collect()
            before, pages = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0, resident()
            handles = [executor.submit_nowait(ONCE, i) for i in range(count)]
            gc.collect()
            traced = (tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0) - before
            mapped = resident() - pages
            for handle in handles:
                handle.cancel()
            open_.set()
        return traced / count, mapped / count

    for backend in BACKENDS:
        mapped = run(backend, queued)[1]
        tracemalloc.start()
        traced = run(backend, queued)[0]
        tracemalloc.stop()
        print(f"{backend:8} {traced:.0f} bytes allocated for each queued task with its handle, {mapped:.0f} resident")


async def delays(kind: str, load: float, seconds: float, service: float) -> list[float]:
    """Seconds from the instant at which each task was due to the first line of its function; arrivals at random."""
    chance, found = random.Random(1), []
    rate = load * IN_FLIGHT / service
    due, ends = [], 0.0
    while ends < seconds:
        ends += chance.expovariate(rate)
        due.append(ends)
    zero = anyio.current_time() + 0.05

    async def job(at: float) -> None:
        found.append(anyio.current_time() - at)
        await anyio.sleep(service)

    async def arrive(put: Callable[[float], object]) -> None:
        for at in due:
            wait = zero + at - anyio.current_time()
            if wait > 0:
                await anyio.sleep(wait)
            put(zero + at)

    if kind == "workers":
        send, receive = anyio.create_memory_object_stream[float](math.inf)

        async def work() -> None:
            async for at in receive:
                await job(at)

        async with anyio.create_task_group() as group:
            for _ in range(IN_FLIGHT):
                group.start_soon(work)
            await arrive(send.send_nowait)
            send.close()
    else:
        async with HybridExecutor(
            "bench", max_in_flight=IN_FLIGHT, max_queued=None, isolate=kind == "isolated"
        ) as executor:
            await arrive(partial(executor.submit_nowait, job))
    return sorted(found)


def start_delay(rounds: int, seconds: float, service: float = 0.05) -> None:
    """Print the delay of a start at 50 and 80 % load, the median and the 99th percentile, medians of the rounds."""
    for backend in BACKENDS:
        for load in (0.5, 0.8):
            found: dict[str, list[tuple[float, float]]] = {"workers": [], "isolated": [], "shared": []}
            for _ in range(rounds):
                for kind in random.sample(list(found), len(found)):
                    values = run(backend, partial(delays, kind, load, seconds, service))
                    found[kind].append((values[len(values) // 2], values[int(len(values) * 0.99)]))
            cells = []
            for kind, pairs in found.items():
                half, most = (statistics.median(pair[i] for pair in pairs) * 1e3 for i in (0, 1))
                cells.append(f"{kind} p50 {half:.2f} p99 {most:.2f} ms")
            print(f"{backend:8} load {load:.0%}  " + "   ".join(cells), flush=True)


def main() -> None:
    """Measure what the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, help="default 8,000; to measure growth 1,000,000, memory 50,000")
    parser.add_argument("--seconds", type=float, default=4.0, help="of arrivals, to measure delays")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--growth", action="store_true", help="1,000 to 1,000,000 tasks")
    parser.add_argument("--memory", action="store_true", help="of a queued task")
    parser.add_argument("--delay", action="store_true", help="of a start, open loop, against persistent workers")
    args = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {IN_FLIGHT} in flight, no SDK")
    if args.growth:
        growth(args.rounds, args.tasks or 1_000_000)
    elif args.memory:
        memory(args.tasks or 50_000)
    elif args.delay:
        start_delay(args.rounds, args.seconds)
    else:
        shapes(args.tasks or 8_000, args.rounds)


if __name__ == "__main__":
    main()
