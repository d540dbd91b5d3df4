"""A FastAPI application with an executor of its own, to copy as a whole.

uvicorn fastapi_lifespan:app
gunicorn fastapi_lifespan:app --worker-class uvicorn_worker.UvicornWorker
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from glasspool import ExecutorClosed, HybridExecutor, QueueFull
from glasspool.signals import shutdown_on_signals
from glasspool.telemetry import configure


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    configure(service_name="reports", prometheus_port=9464)
    async with (
        HybridExecutor("reports", max_in_flight=8, max_queued=100) as executor,
        # At SIGTERM: no more tasks, 20 seconds for those that were accepted. The server stops as it does without this.
        shutdown_on_signals(executor, grace=20),
    ):
        yield {"executor": executor}


app = FastAPI(lifespan=lifespan)


def write_report(name: str) -> None:
    """Blocks; it runs in a thread of the executor's own, not in one of the 40 that sync endpoints share."""
    time.sleep(0.1)


@app.post("/reports/{name}", status_code=202)
async def order(name: str, request: Request) -> dict[str, int]:
    executor: HybridExecutor = request.state.executor
    try:
        task = executor.submit_nowait(write_report, name, timeout=30.0)
    except (QueueFull, ExecutorClosed) as refused:
        raise HTTPException(503, "too much to do; try again", headers={"Retry-After": "5"}) from refused
    return {"task": task.id}
