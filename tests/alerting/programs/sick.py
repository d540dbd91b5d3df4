"""Programs in trouble: healthy for two minutes, then each with its own problem. ``python sick.py TROUBLE``."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import httpx

from glasspool import HybridExecutor
from glasspool.telemetry import configure
from glasspool.telemetry.eventloop import monitor_event_loop
from glasspool_instrumentation import AnyioInstrumentor, wrap_executor

ONSET = 120.0
"""Seconds until the trouble begins: long enough to have a history."""

LOOP_WORK = 0.0
"""Seconds of the loop that each call of the exhausted limiter costs beside its thread."""

for_ever = threading.Event()


async def every(seconds: float, do: Callable[[], Awaitable[object]]) -> None:
    while True:
        await do()
        await anyio.sleep(seconds)


async def limiter() -> None:
    """Seventy users on anyio's forty tokens: some wait at any time, but not for long."""
    AnyioInstrumentor().instrument()

    async def user() -> None:
        while True:
            await anyio.to_thread.run_sync(time.sleep, 0.4)
            done = time.perf_counter() + LOOP_WORK
            while time.perf_counter() < done:
                pass

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(user)
        await anyio.sleep(ONSET)
        for _ in range(50):
            group.start_soon(user)


async def stuck_thread() -> None:
    """Calls of a tenth of a second, and one that hangs: of the same function, of another one, and in an executor."""
    same = wrap_executor(ThreadPoolExecutor(4), "same")
    other = wrap_executor(ThreadPoolExecutor(4), "other")

    def call(hangs: bool = False) -> None:
        if hangs:
            for_ever.wait()
        time.sleep(0.1)

    async with HybridExecutor("hybrid", max_in_flight=4) as hybrid, anyio.create_task_group() as group:

        async def work() -> None:
            same.submit(call)
            other.submit(call)
            await hybrid.submit(call)

        group.start_soon(every, 0.5, work)
        await anyio.sleep(ONSET)
        same.submit(call, hangs=True)
        other.submit(for_ever.wait)
        await hybrid.submit(call, True)


async def blocked_loop() -> None:
    """A handler that computes for a fifth of a second, once a second, on the loop."""
    blocks = 0.0

    async def handle() -> None:
        await anyio.sleep(0.01)
        time.sleep(blocks)

    async with (
        monitor_event_loop("main"),
        HybridExecutor("handlers", max_in_flight=4) as executor,
        anyio.create_task_group() as group,
    ):
        group.start_soon(every, 1, lambda: executor.submit(handle))
        await anyio.sleep(ONSET)
        blocks = 0.2


async def dead_upstream() -> None:
    """Calls to a service that is there for two minutes and then refuses connections; each is tried three times."""

    class Upstream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    async with (
        httpx.AsyncClient() as client,
        HybridExecutor("deliveries", max_in_flight=16) as executor,
        anyio.create_task_group() as group,
    ):

        async def deliver() -> None:
            for attempt in (1, 2, 3):
                try:
                    await client.get(url)
                    return
                except httpx.ConnectError:
                    if attempt == 3:
                        raise
                await anyio.sleep(0.2 * 2**attempt)

        group.start_soon(every, 0.25, lambda: executor.submit(deliver))
        await anyio.sleep(ONSET)
        server.shutdown()
        server.server_close()


async def abandoned_threads() -> None:
    """Calls with a timeout, of which one in a hundred hangs: it is given up, and its thread never returns."""
    number = 0

    def call(hangs: bool) -> None:
        if hangs:
            for_ever.wait()
        time.sleep(0.02)

    async with HybridExecutor("scans", max_in_flight=64) as executor, anyio.create_task_group() as group:

        async def scan() -> None:
            nonlocal number
            number += 1
            hangs = number % 100 == 0 and number * 0.2 > ONSET
            await executor.submit(call, hangs, timeout=2.0)

        group.start_soon(every, 0.2, scan)


async def cancel_not_obeyed() -> None:
    """Reports of a tenth of a second; one is cancelled, and its cleanup waits for an answer that never comes."""
    answer, begun = anyio.Event(), anyio.Event()

    async def report(hangs: bool = False) -> None:
        try:
            begun.set()
            await anyio.sleep(3600 if hangs else 0.1)
        finally:
            if hangs:
                with anyio.CancelScope(shield=True):
                    await answer.wait()

    async with HybridExecutor("reports", max_in_flight=4) as executor, anyio.create_task_group() as group:
        group.start_soon(every, 0.25, lambda: executor.submit(report))
        await anyio.sleep(ONSET)
        begun = anyio.Event()
        handle = await executor.submit(report, True)
        await begun.wait()
        handle.cancel()
        await anyio.sleep_forever()


TROUBLES = {
    "limiter": limiter, "stuck-thread": stuck_thread, "blocked-loop": blocked_loop, "dead-upstream": dead_upstream,
    "abandoned-threads": abandoned_threads, "cancel-not-obeyed": cancel_not_obeyed,
}  # fmt: skip


def main() -> None:
    handle = configure(prometheus_port=0)
    print(f"PORT {handle.prometheus_port}", flush=True)
    anyio.run(TROUBLES[sys.argv[1]])  # until it is killed


if __name__ == "__main__":
    main()
