"""A typical web application without metrics of its own; opentelemetry-instrument observes it.

Endpoints: an async one, a sync one, jobs on an executor of its own, a long poll, a stream of events. With START=slow
its start takes a minute: a model is loaded on the loop, caches are warmed in threads, indexes are built bit by bit.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from glasspool import HybridExecutor


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    if os.environ.get("START") == "slow":
        time.sleep(20)
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(anyio.to_thread.run_sync, time.sleep, 0.5)
        for _ in range(60):
            time.sleep(0.3)
            await asyncio.sleep(0.2)
    async with HybridExecutor("jobs", max_in_flight=8, wait_objective=0.5) as executor:
        app.state.jobs = executor
        yield


async def quick(_request: Request) -> PlainTextResponse:
    await asyncio.sleep(0.02)
    return PlainTextResponse("quick")


def sync(_request: Request) -> PlainTextResponse:
    time.sleep(0.05)  # in one of anyio's 40 threads
    return PlainTextResponse("sync")


def parse() -> int:
    time.sleep(0.05)
    return 1


async def job(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(await request.app.state.jobs.run(parse)))


async def poll(_request: Request) -> PlainTextResponse:
    await asyncio.sleep(random.uniform(1, 30))
    return PlainTextResponse("news")


async def events(_request: Request) -> StreamingResponse:
    async def stream() -> AsyncIterator[str]:
        while True:
            yield "data: tick\n\n"
            await asyncio.sleep(1)

    return StreamingResponse(stream(), media_type="text/event-stream")


app = Starlette(
    routes=[
        Route("/quick", quick), Route("/sync", sync), Route("/job", job), Route("/poll", poll),
        Route("/events", events),
    ],
    lifespan=lifespan,
)  # fmt: skip
