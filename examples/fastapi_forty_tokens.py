"""The limit of 40 tokens for FastAPI's sync endpoints, in numbers.

Sync endpoints run on anyio's default thread limiter: 40 tokens for the whole event loop. This program serves one such
endpoint on a real port, with some work on the event loop for each answer, and prints the limiter's series of /metrics
under three loads: 40 requests at once, 80 at once, and 70 users who send the next request when they have their answer.

    python examples/fastapi_forty_tokens.py
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response

from glasspool.telemetry import catalog, configure
from glasspool.telemetry.catalog import Metric
from glasspool.telemetry.recording.registry import REGISTRY, Snapshot
from glasspool.telemetry.recording.snapshot_queries import merged, total
from glasspool_instrumentation import AnyioInstrumentor
from glasspool_instrumentation.anyio import DEFAULT_LIMITER

HOLD = float(os.environ.get("HOLD", "1.5"))
"""Seconds that the endpoint blocks its thread: a database without an async driver. More on a slow machine, where the
first answers would otherwise be there before all requests have been sent."""

WORK = 0.004
"""Seconds of work on the event loop for each answer: middleware, serialization."""

SHOWN = (
    catalog.TASK_SUBMITTED.prometheus_name,
    catalog.SLOT_SATURATED_TIME.prometheus_name,
    catalog.QUEUE_WAIT.prometheus_name + "_count",
)
"""What is shown of /metrics."""

app = FastAPI()


@app.middleware("http")
async def work_on_the_loop(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """What a middleware computes. Tokens that are given back meanwhile have gone to the next request all the same."""
    answer = await call_next(request)
    until = time.perf_counter() + WORK
    while time.perf_counter() < until:
        pass
    return answer


@app.get("/report", response_model=None)  # a response model would be checked in a thread as well
def report() -> dict[str, bool]:
    """A sync endpoint, as most are."""
    time.sleep(HOLD)
    return {"ok": True}


async def load(client: httpx.AsyncClient, what: str, users: int, requests: int) -> None:
    """So many users send so many requests each; print what was seen while they were waiting, and after."""
    name = {catalog.Key.EXECUTOR_NAME: DEFAULT_LIMITER}

    def of(seen: Snapshot, metric: Metric) -> float:
        return total(seen, metric, name)

    def on_time(seen: Snapshot) -> int:
        return sum(merged(seen, catalog.QUEUE_WAIT, name).counts[: 1 + catalog.QUEUE_WAIT.buckets.index(0.5)])

    async def user() -> None:
        for _ in range(requests):
            answer = await client.get("/report")
            assert answer.status_code == 200

    before = REGISTRY.collect()
    begun = time.perf_counter()
    sent = asyncio.gather(*(user() for _ in range(users)))
    used = waiting = limit = 0.0
    crowded: list[Snapshot] = []  # the readings at which requests waited
    while not sent.done():
        await asyncio.sleep(0.2)
        now = REGISTRY.collect()
        limit = of(now, catalog.SLOT_LIMIT)
        used = max(used, of(now, catalog.SLOT_USAGE))
        waiting = max(waiting, of(now, catalog.QUEUE_SIZE))
        if of(now, catalog.QUEUE_SIZE):
            crowded.append(now)
    took = time.perf_counter() - begun
    await sent
    after = REGISTRY.collect()

    at_once = on_time(after) - on_time(before)
    saturated = of(after, catalog.SLOT_SATURATED_TIME) - of(before, catalog.SLOT_SATURATED_TIME)
    print(f"{what}, each {HOLD:g} s in a thread: answered in {took:.2f} s")
    print(f"  tokens in use, at most        {used:.0f} of {limit:.0f}")
    print(f"  requests waiting, at most     {waiting:.0f}")
    print(f"  got a token within 0.5 s     {at_once:.0f}")
    print(f"  waited longer for one         {users * requests - at_once:.0f}")
    print(f"  every token taken for         {saturated:.2f} s")
    if len(crowded) > 1:
        first, last = crowded[0], crowded[-1]
        passed = of(last, catalog.EXECUTOR_TIME) - of(first, catalog.EXECUTOR_TIME)
        mean = (of(last, catalog.SLOT_TIME) - of(first, catalog.SLOT_TIME)) / passed
        share = (of(last, catalog.SLOT_SATURATED_TIME) - of(first, catalog.SLOT_SATURATED_TIME)) / passed
        print(f"  while there were waits        {mean:.1f} tokens in use, all of them {share:.0%} of the time")


def show(port: int | None) -> None:
    """The lines of /metrics to look at."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(SHOWN) and not line.endswith(" 0.0"):
                print(line)


def main() -> None:
    telemetry = configure(service_name="fastapi-forty-tokens", prometheus_port=0)
    AnyioInstrumentor().instrument()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_keep_alive=600))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    async def drive() -> None:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60) as client:
            await load(client, "40 requests at once", 40, 1)
            await load(client, "80 requests at once", 80, 1)
            await load(client, "70 users with 2 requests each", 70, 2)

    try:
        asyncio.run(drive())
    finally:
        server.should_exit = True
        thread.join()
    show(telemetry.prometheus_port)


if __name__ == "__main__":
    main()
