"""FastAPI's sync endpoints and the 40-token cliff, in numbers.

Sync endpoints run on anyio's default thread limiter: 40 tokens for the whole process. This program serves one such
endpoint on a real port, sends it 40 and then 80 requests at once, and prints what /metrics says about the limiter.

    python examples/fastapi_forty_tokens.py
"""

from __future__ import annotations

import asyncio
import os
import threading
import time

import httpx
import uvicorn
from _shown import Metrics, start_telemetry
from fastapi import FastAPI

from glasspool.telemetry import catalog
from glasspool_instrumentation import AnyioInstrumentor
from glasspool_instrumentation.anyio import DEFAULT_LIMITER

HOLD = float(os.environ.get("HOLD", "1.5"))
"""Seconds that the endpoint blocks its thread: a database without an async driver. More on a slow machine, where the
first answers would otherwise be there before all requests have been sent."""

app = FastAPI()


@app.get("/report", response_model=None)  # a response model would be checked in a thread as well
def report() -> dict[str, bool]:
    """A sync endpoint, as most are."""
    time.sleep(HOLD)
    return {"ok": True}


async def burst(client: httpx.AsyncClient, requests: int, metrics: Metrics) -> None:
    """Send so many requests at once and print what was seen while they ran, and after."""
    name = {"glasspool_executor_name": DEFAULT_LIMITER}
    before = await asyncio.to_thread(metrics.read)
    begun = time.perf_counter()
    sent = asyncio.gather(*(client.get("/report") for _ in range(requests)))
    used = waiting = limit = 0.0
    while not sent.done():
        await asyncio.sleep(0.2)
        now = await asyncio.to_thread(metrics.read)
        limit = now.value(catalog.SLOT_LIMIT, **name)
        used = max(used, now.value(catalog.SLOT_USAGE, **name))
        waiting = max(waiting, now.value(catalog.QUEUE_SIZE, **name))
    took = time.perf_counter() - begun
    assert all(answer.status_code == 200 for answer in await sent)
    after = await asyncio.to_thread(metrics.read)

    at_once = after.within(catalog.QUEUE_WAIT, 0.5, **name) - before.within(catalog.QUEUE_WAIT, 0.5, **name)
    saturated = after.value(catalog.SLOT_SATURATED_TIME, **name) - before.value(catalog.SLOT_SATURATED_TIME, **name)
    print(f"{requests} requests at once, each {HOLD:g} s in a thread: answered in {took:.2f} s")
    print(f"  tokens in use, at most        {used:.0f} of {limit:.0f}")
    print(f"  requests waiting, at most     {waiting:.0f}")
    print(f"  got a token within 0.5 s     {at_once:.0f}")
    print(f"  waited longer for one         {requests - at_once:.0f}")
    print(f"  every token taken for         {saturated:.2f} s")


def main() -> None:
    metrics = start_telemetry("fastapi-forty-tokens")
    AnyioInstrumentor().instrument()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    async def drive() -> None:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60) as client:
            await burst(client, 40, metrics)
            await burst(client, 80, metrics)

    asyncio.run(drive())
    server.should_exit = True
    thread.join()
    metrics.show(catalog.TASK_SUBMITTED, catalog.SLOT_SATURATED_TIME, catalog.QUEUE_WAIT)


if __name__ == "__main__":
    main()
