"""A program with something to see: a pressed executor, a quiet one, hostile names, stuck and abandoned threads.

``python busy_program.py PORT [EXECUTORS]`` runs until it is terminated. A line on its standard input is obeyed: ``block
SECONDS`` blocks its event loop, ``stats`` prints the counts of its executors as JSON, ``rest`` ends the work.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from contextlib import AsyncExitStack

import anyio

from glasspool import HybridExecutor
from glasspool.telemetry import configure

HOSTILE = "<img src=x onerror=alert(1)>"


class UpstreamBusy(Exception):
    """Some of the mails meet it."""


def parse_report(released: threading.Event) -> None:
    """A call that takes as long as the program does."""
    read_pages(released)


def read_pages(released: threading.Event) -> None:
    """Where it is stuck."""
    while not released.wait(0.05):
        pass


async def deliver() -> None:
    """A mail: sometimes slow, sometimes refused."""
    await fetch_template()
    if random.random() < 0.08:
        raise UpstreamBusy


async def fetch_template() -> None:
    """What most of them wait for."""
    await anyio.sleep(random.expovariate(1 / 0.06))


async def main(port: int, number: int) -> None:
    """Open the executors, work, and obey."""
    handle = configure(service_name="busy", prometheus_port=port)
    stopped, released = anyio.Event(), threading.Event()
    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        executors = {
            name: await stack.enter_async_context(HybridExecutor(name, max_in_flight=limit, max_queued=places))
            for name, limit, places in (("mail", 8, 40), ("reports", 4, 16), ("thumbnails", 6, 100), (HOSTILE, 2, 10))
        }
        for index in range(number):
            name = f"shard {index}"
            executors[name] = await stack.enter_async_context(HybridExecutor(name, max_in_flight=4, max_queued=8))
        mail, reports, thumbnails, hostile = list(executors.values())[:4]

        async def keep_submitting() -> None:
            while not stopped.is_set():
                await mail.submit(deliver, timeout=0.3)

        async def now_and_then() -> None:
            while not stopped.is_set():
                for executor in (thumbnails, *list(executors.values())[4:]):
                    await executor.submit(deliver)
                await anyio.sleep(0.2)

        for _ in range(3):
            group.start_soon(keep_submitting)
        group.start_soon(now_and_then)
        for _ in range(3):
            await reports.submit(parse_report, released)
        left = await reports.submit(parse_report, released, name="abandoned report")
        for index in range(5):
            await reports.submit(parse_report, released, name=f"waiting report {index}")
        await anyio.sleep(0.05)
        left.cancel()
        await hostile.submit(anyio.sleep, 1e6, name=HOSTILE)
        print("ready", handle.prometheus_port, flush=True)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            what, *rest = line.split()
            if what == "block":
                time.sleep(float(rest[0]))
            elif what == "rest":
                stopped.set()
                await anyio.sleep(1)
            print(json.dumps({name: counts(executor) for name, executor in executors.items()}), flush=True)
        stopped.set()
        released.set()
        for executor in executors.values():
            await executor.shutdown(grace=0)


def counts(executor: HybridExecutor) -> dict[str, int]:
    """What ``stats()`` says of it."""
    stats = executor.stats()
    return {
        name: getattr(stats, name)
        for name in ("queued", "slots_used", "slots_limit", "submitted", "succeeded", "failed", "timed_out",
                     "cancelled", "abandoned")
    }  # fmt: skip


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
