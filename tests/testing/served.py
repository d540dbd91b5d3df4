"""A service for the tests of servers: accepted work ends only after it stops accepting, and is recorded."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from glasspool import HybridExecutor
from glasspool.signals import shutdown_on_signals

JOURNAL = Path(os.environ.get("JOURNAL", os.devnull))


def note(line: str) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(line + "\n")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with HybridExecutor("jobs", max_in_flight=8) as executor:
        async with shutdown_on_signals(executor, grace=3600, signals=(SIGINT, SIGTERM)) as stop:
            yield {"executor": executor}
        note(f"left: {stop.received.name if stop.received else None}, {stop.report}")


async def accept(request: Request) -> Response:
    executor = request.state.executor

    async def job() -> None:
        while " open " in repr(executor):
            await anyio.sleep(0.005)
        await anyio.sleep(0.005)  # and a little longer than that
        note("job done")

    await executor.submit(job)
    note(f"accepted by {os.getpid()}")
    return PlainTextResponse("accepted")


app = Starlette(routes=[Route("/", accept, methods=["POST"])], lifespan=lifespan)
