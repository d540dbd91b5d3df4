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
import urllib.request

import httpx
import uvicorn
from fastapi import FastAPI

from glasspool.telemetry import catalog, configure
from glasspool.telemetry.reading import merged, total
from glasspool.telemetry.registry import REGISTRY
from glasspool_instrumentation import AnyioInstrumentor
from glasspool_instrumentation.anyio import DEFAULT_LIMITER

HOLD = float(os.environ.get("HOLD", "1.5"))
"""Seconds that the endpoint blocks its thread: a database without an async driver. More on a slow machine, where the
first answers would otherwise be there before all requests have been sent."""

SHOWN = (
    catalog.TASK_SUBMITTED.prometheus_name,
    catalog.SLOT_SATURATED_TIME.prometheus_name,
    catalog.QUEUE_WAIT.prometheus_name + "_count",
)
"""What is shown of /metrics."""

app = FastAPI()


@app.get("/report", response_model=None)  # a response model would be checked in a thread as well
def report() -> dict[str, bool]:
    """A sync endpoint, as most are."""
    time.sleep(HOLD)
    return {"ok": True}


async def burst(client: httpx.AsyncClient, requests: int) -> None:
    """Send so many requests at once and print what was seen while they ran, and after."""
    name = {catalog.Key.EXECUTOR_NAME: DEFAULT_LIMITER}
    before = REGISTRY.collect()
    begun = time.perf_counter()
    sent = asyncio.gather(*(client.get("/report") for _ in range(requests)))
    used = waiting = limit = 0.0
    while not sent.done():
        await asyncio.sleep(0.2)
        now = REGISTRY.collect()
        limit = total(now, catalog.SLOT_LIMIT, name)
        used = max(used, total(now, catalog.SLOT_USAGE, name))
        waiting = max(waiting, total(now, catalog.QUEUE_SIZE, name))
    took = time.perf_counter() - begun
    assert all(answer.status_code == 200 for answer in await sent)
    after = REGISTRY.collect()

    bounds = 1 + catalog.QUEUE_WAIT.buckets.index(0.5)
    counts = [sum(merged(seen, catalog.QUEUE_WAIT, name).counts[:bounds]) for seen in (before, after)]
    at_once = counts[1] - counts[0]
    saturated = total(after, catalog.SLOT_SATURATED_TIME, name) - total(before, catalog.SLOT_SATURATED_TIME, name)
    print(f"{requests} requests at once, each {HOLD:g} s in a thread: answered in {took:.2f} s")
    print(f"  tokens in use, at most        {used:.0f} of {limit:.0f}")
    print(f"  requests waiting, at most     {waiting:.0f}")
    print(f"  got a token within 0.5 s     {at_once:.0f}")
    print(f"  waited longer for one         {requests - at_once:.0f}")
    print(f"  every token taken for         {saturated:.2f} s")


def show(port: int | None) -> None:
    """The lines of /metrics to look at."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(SHOWN) and not line.endswith(" 0.0"):
                print(line)


def main() -> None:
    telemetry = configure(service_name="fastapi-forty-tokens", prometheus_port=0)
    AnyioInstrumentor().instrument()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    async def drive() -> None:
        limits = httpx.Limits(max_connections=200)
        for requests in (40, 80):
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60) as client:
                await burst(client, requests)

    try:
        asyncio.run(drive())
    finally:
        server.should_exit = True
        thread.join()
    show(telemetry.prometheus_port)


if __name__ == "__main__":
    main()
