"""A program under other vendors' instrumentation that prints the names of its calls. Run by test_vendors.py, in
processes.

    python -m tests.instrumentation.vendor_program ORDER VENDOR…

Vendors patch the same methods as we do, for good: so each combination has a process of its own. Prints JSON.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import anyio
import anyio.to_thread
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY

EXPORTER = InMemorySpanExporter()


def fetch(number: int) -> int:
    return number + 1


def render(number: int) -> int:
    return number + 1


async def fetch_later(number: int) -> int:
    await asyncio.sleep(0)
    return number + 1


class Shop:
    def sell(self, number: int) -> int:
        return number + 1

    @functools.cache  # noqa: B019 - one object
    def look(self, number: int) -> int:
        return number + 1


def retried(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def logfire() -> None:
    import logfire

    logfire.configure(
        send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(EXPORTER)], metrics=False
    )


def sentry() -> None:
    import sentry_sdk
    from sentry_sdk.integrations.threading import ThreadingIntegration

    sentry_sdk.init(
        dsn="http://a@127.0.0.1:9/1", transport=lambda _: None, traces_sample_rate=1.0,
        integrations=[ThreadingIntegration()],
    )  # fmt: skip


async def sentry_in_loop() -> None:
    if "sentry" in sys.argv:
        from sentry_sdk.integrations.asyncio import enable_asyncio_integration

        enable_asyncio_integration()


def otel() -> None:
    from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
    from opentelemetry.instrumentation.threading import ThreadingInstrumentor

    ThreadingInstrumentor().instrument()
    AsyncioInstrumentor().instrument()


def ours() -> None:
    for instrumentor in (gi.FuturesInstrumentor, gi.LokyInstrumentor, gi.AnyioInstrumentor):
        instrumentor().instrument()
    gi.AsyncioInstrumentor().instrument(spans=["*fetch*", "*render*"], monitor=False)


# -- what is called, and under which name ------------------------------------------------------------------------------

CALLS: list[tuple[Any, str]] = [
    (fetch, "fetch"),
    (functools.partial(fetch), "fetch"),
    (retried(render), "render"),
    (Shop().sell, "Shop.sell"),
    (functools.partial(Shop().look), "Shop.look"),
]


def submit(pool: Executor) -> list[str]:
    assert [pool.submit(function, 1).result(60) for function, _ in CALLS] == [2] * len(CALLS)
    assert list(pool.map(fetch, [1, 2])) == [2, 3]
    return [*(name for _, name in CALLS), "fetch", "fetch"]


def threads(wrapped: bool) -> tuple[str, list[str]]:
    name = "wrapped" if wrapped else "threads"
    pool = ThreadPoolExecutor(2, name)
    with gi.wrap_executor(pool, name) if wrapped else pool:
        return name, submit(pool)


def processes(method: str) -> tuple[str, list[str]]:
    with gi.wrap_executor(ProcessPoolExecutor(1, mp_context=get_context(method)), method) as pool:
        assert [pool.submit(f, 1).result(60) for f in (fetch, functools.partial(render))] == [2, 2]
        assert list(pool.map(fetch, range(4), chunksize=2)) == [1, 2, 3, 4]
    return method, ["fetch", "render", "fetch", "fetch"]


def loky() -> tuple[str, list[str]]:
    from loky import ProcessPoolExecutor as Loky

    with gi.wrap_executor(Loky(1), "loky") as pool:
        assert [pool.submit(f, 1).result(60) for f in (fetch, functools.partial(render))] == [2, 2]
        assert list(pool.map(fetch, range(4), chunksize=2)) == [1, 2, 3, 4]
    return "loky", ["fetch", "render", "fetch", "fetch"]


def joblib() -> tuple[str, list[str]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor, wrap_non_picklable_objects

    functions = [render, functools.partial(fetch), wrap_non_picklable_objects(fetch)]
    assert Parallel(n_jobs=2, batch_size=1)(delayed(function)(1) for function in functions) == [2, 2, 2]
    get_reusable_executor().shutdown(wait=True)
    return __name__, ["render", "fetch", "fetch"]


def in_loop(main: Callable[[], Coroutine[Any, Any, list[str]]]) -> tuple[str, list[str]]:
    return "loop's", asyncio.run(main())


async def executor() -> list[str]:
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, "loop's")
    loop.set_default_executor(pool)
    for function, _ in CALLS:
        assert await loop.run_in_executor(pool, function, 1) == 2
        assert await asyncio.to_thread(function, 1) == 2
    return [name for _, name in CALLS for _ in range(2)]


async def limiter() -> list[str]:
    for function, _ in CALLS:
        assert await anyio.to_thread.run_sync(function, 1) == 2
    return [name for _, name in CALLS]


async def tasks() -> list[str]:
    await sentry_in_loop()
    assert await asyncio.create_task(fetch_later(1)) == 2
    assert await asyncio.ensure_future(fetch_later(1)) == 2
    assert await asyncio.gather(fetch_later(1), fetch_later(1)) == [2, 2]
    found = ["fetch_later"] * 4
    if hasattr(asyncio, "TaskGroup"):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(fetch_later(1))
        assert task.result() == 2
        found.append("fetch_later")
    return found


PATHS: dict[str, Callable[[], tuple[str, list[str]]]] = {
    "threads": lambda: threads(wrapped=False),
    "wrapped threads": lambda: threads(wrapped=True),
    "fork": lambda: processes("fork"),
    "spawn": lambda: processes("spawn"),
    "loky": loky,
    "joblib": joblib,
    "run_in_executor, to_thread": lambda: in_loop(executor),
    "anyio.to_thread": lambda: ("anyio.to_thread", asyncio.run(limiter())),
    "asyncio": lambda: ("asyncio", asyncio.run(tasks())),
}


def names_of(executor: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for point in REGISTRY.collect().histograms.get(catalog.TASK_DURATION.name, []):
        if point.attributes[Key.EXECUTOR_NAME] == executor:
            name = point.attributes.get(Key.TASK_NAME, "")
            found[name] = found.get(name, 0) + point.count
    return found


def codes_of(executor: str) -> list[str]:
    spans = [span for span in EXPORTER.get_finished_spans() if span.name.startswith(f"{executor} ")]
    return sorted({str((span.attributes or {}).get(Key.CODE_FUNCTION)) for span in spans})


def main(order: str, *vendors: str) -> None:
    logging.disable(logging.CRITICAL)
    steps = [globals()[vendor] for vendor in vendors]
    for step in [ours, *steps] if order == "ours-first" else [*steps, ours]:
        step()
    if "logfire" not in vendors:
        from opentelemetry.sdk.trace import TracerProvider

        trace.set_tracer_provider(TracerProvider())
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(EXPORTER))  # type: ignore[attr-defined]
    found: dict[str, Any] = {}
    for path, run in PATHS.items():
        EXPORTER.clear()
        with trace.get_tracer("program").start_as_current_span("request"):
            name, expected = run()
        found[path] = {"expected": sorted(expected), "names": names_of(name), "codes": codes_of(name)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
