"""Executors in fixtures and lifespans, blocks left in the wrong task, and loops that stop."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from glasspool import HybridExecutor, TaskCancelled, TaskState

from .support import Gate, echo, forever

pytestmark = pytest.mark.anyio


@pytest.fixture
async def executor(anyio_backend):
    async with HybridExecutor("fixture", max_in_flight=2) as opened:
        yield opened
    assert opened.stats().in_flight == 0


async def test_an_executor_in_a_plugin_fixture(executor):
    assert await executor.run(echo, 4) == 4
    await executor.submit(echo, 5)  # finished when the fixture is left


async def test_an_executor_in_a_starlette_lifespan():
    made = []

    async def double(request):
        return JSONResponse(await request.state.executor.run(echo, int(request.query_params["n"]) * 2))

    @asynccontextmanager
    async def lifespan(app):
        async with HybridExecutor("lifespan", max_in_flight=2) as opened:
            made.append(opened)
            yield {"executor": opened}

    app = Starlette(routes=[Route("/", double)], lifespan=lifespan)
    state: dict[str, object] = {}
    answers: dict[int, bytes] = {}

    async def serve(started, stop):
        async def receive():
            if not started.is_set():
                return {"type": "lifespan.startup"}
            await stop.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message):
            assert message["type"] in ("lifespan.startup.complete", "lifespan.shutdown.complete"), message
            started.set()

        await app({"type": "lifespan", "state": state}, receive, send)

    async def get(number):
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            answers[number] = answers.get(number, b"") + message.get("body", b"")

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": f"n={number}".encode(), "headers": []}
        await app({**scope, "state": dict(state)}, receive, send)

    started, stop = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as server:
        server.start_soon(serve, started, stop)
        await started.wait()
        async with anyio.create_task_group() as requests:
            for number in range(5):
                requests.start_soon(get, number)
        stop.set()
    assert answers == {number: str(number * 2).encode() for number in range(5)}
    assert made[0].stats().succeeded == 5
    assert repr(made[0]).startswith("<HybridExecutor 'lifespan' closed")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_leaving_in_another_task_is_a_clear_error(anyio_backend):
    gate = Gate()
    executor = HybridExecutor("elsewhere", max_in_flight=1)
    stay = asyncio.Event()
    caught = []

    async def enters():
        await executor.__aenter__()
        stay.set()
        await anyio.sleep_forever()

    async def leaves():
        with pytest.raises(RuntimeError, match=r"entered in one task and left in another.*anyio pytest plugin") as info:
            await executor.__aexit__(None, None, None)
        caught.append(info.value)

    entering = asyncio.ensure_future(enters())
    await stay.wait()
    running, queued = await executor.submit(gate.hold), await executor.submit(gate.hold)
    await anyio.wait_all_tasks_blocked()
    await asyncio.ensure_future(leaves())
    assert len(caught) == 1
    for handle in (running, queued):
        with pytest.raises(TaskCancelled) as cancelled:
            await handle
        assert cancelled.value.reason == "shutdown"
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering


STOPPED = """
import asyncio, sys
import anyio
from glasspool import HybridExecutor
from glasspool._executor_block import block_of

loop = asyncio.new_event_loop()

def observe(event):
    if event.kind == "settled":
        print(event.name, event.outcome, event.reason, executor_stats().queued, executor_stats().in_flight)

async def main():
    global executor_stats
    async with HybridExecutor("stopped", max_in_flight=2, observers=[observe]) as executor:
        executor_stats = block_of(executor, "the test").engine.reporter.stats
        for number in range(5):
            executor.submit_nowait(anyio.sleep_forever, name=f"task {number}")
        await anyio.wait_all_tasks_blocked()
        loop.stop()
        await anyio.sleep_forever()

task = loop.create_task(main())
loop.run_forever()
if sys.argv[1] == "close":
    loop.close()
print("stopped", executor_stats().in_flight, executor_stats().queued)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("close", ["close", "leave"])
def test_a_stopped_loop_loses_no_outcome(anyio_backend, close):
    """anyio keeps the tasks of a stopped loop alive, so the finalizer's moment is the end of the process."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, close],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *settled = done.stdout.splitlines()
    assert first == "stopped 2 3"
    assert sorted(line.split(" cancelled")[0] for line in settled) == [f"task {number}" for number in range(5)]
    assert all("cancelled shutdown" in line for line in settled)
    assert settled[-1].endswith("0 0")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_all_tasks_cancelled_natively(anyio_backend):
    handles = []

    async def main():
        async with HybridExecutor("all", max_in_flight=2) as executor:
            handles.extend([executor.submit_nowait(forever) for _ in range(5)])
            await anyio.wait_all_tasks_blocked()
            for task in asyncio.all_tasks():
                task.cancel()
            await anyio.sleep_forever()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert [handle.state for handle in handles] == [TaskState.CANCELLED] * 5


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_the_owner_cancelled_natively(anyio_backend):
    handles = []

    async def owner():
        async with HybridExecutor("owner", max_in_flight=2) as executor:
            handles.extend([executor.submit_nowait(forever) for _ in range(5)])
            await anyio.sleep_forever()

    async def main():
        task = asyncio.ensure_future(owner())
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [(await handle.outcome()).error.reason for handle in handles]

    assert asyncio.run(main()) == ["parent_scope"] * 5


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_an_executor_nobody_refers_to_any_more_settles_its_tasks(anyio_backend):
    async def main():
        executor = HybridExecutor("lost", max_in_flight=1)
        await executor.__aenter__()
        handles = [executor.submit_nowait(forever) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        stats = executor.stats
        del executor, stats
        gc.collect()
        assert [handle.state for handle in handles] == [TaskState.CANCELLED] * 3

    asyncio.run(main())
