"""A program that produces every metric of the catalog, then stops working and reports its figures.

Run as a script. It answers each line on its standard input with one line of JSON: ``snapshot`` with every series it
has, ``flush`` with whether everything was exported, ``end`` with its account after closing.
"""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskStatus
from opentelemetry import trace

from glasspool import HybridExecutor, Limit, QueueFull, Retry, ServiceState
from glasspool.telemetry import configure
from glasspool.telemetry.eventloop import monitor_event_loop
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.shape import Shape
from glasspool.testing import run_out_of_time

OK, BAD, SLOW, REJECTED, TASKS_CUT, ATTEMPTS = 10, 3, 2, 4, 2, 3

runs: list[int] = []  # of the service, that have crashed


async def ok() -> None:
    await anyio.sleep(0.002)


def bad() -> None:
    raise ValueError("bad on purpose")


async def for_ever() -> None:
    await anyio.sleep_forever()


def faulty_observer(_event: object) -> None:
    raise RuntimeError("an observer that fails, on purpose")


async def provoke(executor: HybridExecutor, release: threading.Event, until: anyio.Event) -> None:
    """Leaves one task active, one abandoned, one queued and a producer blocked."""
    for _ in range(OK):
        await executor.run(ok)
    for _ in range(BAD):
        await (await executor.submit(bad)).outcome()
    for _ in range(SLOW):
        await (await executor.submit(for_ever, timeout=0.01)).outcome()
    running = await executor.submit(for_ever, name="cancelled")
    await anyio.wait_all_tasks_blocked()
    running.cancel("no longer wanted")
    await running.outcome()
    begun = threading.Event()

    def never_ending() -> None:
        begun.set()
        release.wait()

    abandoned = await executor.submit(never_ending, timeout=1000, name="abandoned")
    while not begun.is_set():
        await anyio.sleep(0.005)
    run_out_of_time(abandoned)  # now: a short timeout might be over before the thread begins
    await abandoned.outcome()  # its thread goes on and keeps one of the two slots
    await executor.submit(until.wait, name="running")
    queued = await executor.submit(ok, name="left the queue")
    async with anyio.create_task_group() as producers:
        producers.start_soon(partial(executor.submit, ok, name="waiting"))  # blocked, until there is room
        await anyio.wait_all_tasks_blocked()
        queued.cancel()
    for _ in range(REJECTED):
        try:
            executor.submit_nowait(ok)
        except QueueFull:
            continue
        raise AssertionError("the queue is not full")


async def hold(executor: HybridExecutor, until: anyio.Event) -> None:
    """Leaves one task held by a limit, and one that has lent its slot; another one was held by a pause."""
    await executor.submit(until.wait, key="db")
    await executor.submit(executor.run, until.wait)
    await executor.submit(ok, key="db")
    executor.pause(0.01)
    await executor.run(ok)


async def serve(*, task_status: TaskStatus[None]) -> None:
    """Crashes in its first run, and is ready in the second."""
    task_status.started()
    if not runs:
        runs.append(1)
        raise ValueError("crash")
    await anyio.sleep_forever()


async def retry(executor: HybridExecutor) -> None:
    """Leaves one task between two attempts; another one has had all of them."""
    await (await executor.submit(bad, retry=Retry(on=lambda error: 0.0, attempts=ATTEMPTS))).outcome()
    await executor.submit(bad, retry=Retry(on=lambda error: 1e6))
    while executor.stats().held.get("retry") != 1:
        await anyio.sleep(0.005)


async def closings() -> None:
    async with HybridExecutor("brief", max_in_flight=1) as executor:
        await executor.run(ok)
    async with HybridExecutor("brief", max_in_flight=1) as executor:
        for _ in range(TASKS_CUT):
            await executor.submit(for_ever)
        await executor.shutdown(grace=0.01)


def snapshot() -> list[Any]:
    """Every series: metric name, attributes, value or {"counts", "sum"}."""
    found = REGISTRY.collect()
    points: list[Any] = [[name, p.attributes, p.value] for name, each in found.points.items() for p in each]
    histograms = [
        [name, h.attributes, {"counts": h.counts, "sum": h.sum}]
        for name, each in found.histograms.items()
        for h in each
    ]
    return points + histograms


def say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


async def main() -> None:
    if "--own-tracer" in sys.argv:
        from opentelemetry.sdk.trace import TracerProvider

        trace.set_tracer_provider(TracerProvider())
    handle = configure(service_name="shop-service", prometheus_port=0)
    pool = Recorder("pool", "process_pool", Shape(runners=("process",)), registry=REGISTRY).open()
    pool.record.context_lost("stale")
    release, until = threading.Event(), anyio.Event()
    async with (
        monitor_event_loop("main", interval=0.02),
        HybridExecutor(
            "shop", max_in_flight=2, max_queued=1, wait_objective=0.5, observers=[faulty_observer]
        ) as executor,
        HybridExecutor("limited", max_in_flight=9, limits={"db": Limit(in_flight=1)}) as limited,
        anyio.create_task_group() as producers,
    ):
        with trace.get_tracer("shop").start_as_current_span("request") as span:
            trace_id = f"{span.get_span_context().trace_id:032x}"
            await closings()
            await provoke(executor, release, until)
            await hold(limited, until)
            await limited.start_service(serve, restart="on_failure")
            while not runs or limited.services[0].state is not ServiceState.RUNNING:
                await anyio.sleep(0.005)
            await retry(limited)
        producers.start_soon(executor.submit, ok)  # blocked, for want of room
        while not executor.stats().queued or not any(
            point[0] == "glasspool.submit.pending" and point[2] for point in snapshot()
        ):
            await anyio.sleep(0.005)
        say({"port": handle.prometheus_port, "trace_id": trace_id})
        while True:
            command = (await anyio.to_thread.run_sync(sys.stdin.readline)).strip()
            if command == "snapshot":
                say(snapshot())
            elif command == "flush":
                say(await anyio.to_thread.run_sync(handle.force_flush, 60.0))
            else:
                break
        until.set()
        release.set()
        await limited.shutdown(grace=0)  # the task between two attempts would wait for days
    say({"notes": handle.notes})


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1])
