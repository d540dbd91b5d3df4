"""Print whether the submitter's trace reaches the function, for each way to submit, plain and instrumented.

    python tools/context_matrix.py

Each cell: ``kept`` (the function sees the submitter's trace), ``lost`` (it sees none), ``foreign`` (it sees another
request's, the worst of the three). Workers of process pools are started under another request's trace first.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_process
import anyio.to_thread
import loky  # type: ignore[import-untyped]  # it has no types
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import glasspool_instrumentation as gi


def seen() -> int:
    """The trace in which the function runs; 0 for none."""
    return trace.get_current_span().get_span_context().trace_id


def pool_side(make: Callable[[], Executor]) -> tuple[int, int, int]:
    """The submitter's trace, the other request's, and what the function saw."""
    tracer = trace.get_tracer("matrix")
    with make() as pool:
        with tracer.start_as_current_span("other") as other:
            pool.submit(seen).result()
        with tracer.start_as_current_span("request") as request:
            found = pool.submit(seen).result()
    return request.get_span_context().trace_id, other.get_span_context().trace_id, found


def loop_side(backend: str, call: Callable[[], Awaitable[int]]) -> tuple[int, int, int]:
    """The same for an awaitable."""

    async def main() -> tuple[int, int, int]:
        tracer = trace.get_tracer("matrix")
        with tracer.start_as_current_span("other") as other:
            await call()
        with tracer.start_as_current_span("request") as request:
            found = await call()
        return request.get_span_context().trace_id, other.get_span_context().trace_id, found

    return anyio.run(main, backend=backend)


def dask_side() -> tuple[int, int, int]:
    """The same through a local cluster."""
    from distributed import Client, LocalCluster

    tracer = trace.get_tracer("matrix")
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")  # type: ignore[no-untyped-call]  # it has no types
    with cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]  # it has no types
        with tracer.start_as_current_span("other") as other:
            client.submit(seen, pure=False).result()
        with tracer.start_as_current_span("request") as request:
            found = client.submit(seen, pure=False).result()
    return request.get_span_context().trace_id, other.get_span_context().trace_id, found


async def in_executor() -> int:
    return await asyncio.get_running_loop().run_in_executor(None, seen)


def processes(method: str) -> Callable[[], Executor]:
    return lambda: ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method))


SIDES: dict[str, Callable[[], tuple[int, int, int]]] = {
    "ThreadPoolExecutor.submit": lambda: pool_side(lambda: ThreadPoolExecutor(1)),
    "ProcessPoolExecutor, fork": lambda: pool_side(processes("fork")),
    "ProcessPoolExecutor, forkserver": lambda: pool_side(processes("forkserver")),
    "ProcessPoolExecutor, spawn": lambda: pool_side(processes("spawn")),
    "loop.run_in_executor": lambda: loop_side("asyncio", in_executor),
    "asyncio.to_thread": lambda: loop_side("asyncio", lambda: asyncio.to_thread(seen)),
    "anyio.to_thread, asyncio": lambda: loop_side("asyncio", lambda: anyio.to_thread.run_sync(seen)),
    "anyio.to_thread, trio": lambda: loop_side("trio", lambda: anyio.to_thread.run_sync(seen)),
    "anyio.to_process": lambda: loop_side("asyncio", lambda: anyio.to_process.run_sync(seen)),
    "trio.to_thread": lambda: loop_side("trio", lambda: trio.to_thread.run_sync(seen)),
    "loky": lambda: pool_side(lambda: loky.ProcessPoolExecutor(1)),
    "Dask Client.submit": dask_side,
}


def word(request: int, other: int, found: int) -> str:
    return "kept" if found == request else "lost" if not found else "foreign" if found == other else "?"


def main() -> None:
    trace.set_tracer_provider(TracerProvider())
    plain: dict[str, Any] = {name: word(*side()) for name, side in SIDES.items()}
    gi.instrument()
    ours = {name: word(*side()) for name, side in SIDES.items()}
    print(f"| {'submitted by':32} | {'before':7} | {'with glasspool':14} |")
    print(f"|{'-' * 34}|{'-' * 9}|{'-' * 16}|")
    for name in SIDES:
        print(f"| {name:32} | {plain[name]:7} | {ours[name]:14} |")


if __name__ == "__main__":
    main()
