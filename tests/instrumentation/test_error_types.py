"""The error type of task groups that fail in observed calls is that of their errors, however they are observed."""

from __future__ import annotations

import asyncio
import copyreg
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_process
import anyio.to_thread
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key

from . import work
from .work import LIMIT, value

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

trio = pytest.importorskip("trio")

Way = Callable[[], "tuple[str, BaseException | None]"]


async def connect() -> None:
    raise ConnectionRefusedError("db:5432")


async def session() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(connect)
        group.start_soon(anyio.sleep, LIMIT)


def sync_session() -> None:
    anyio.run(session)


def _pool(make: Callable[[], Executor]) -> Way:
    def way() -> tuple[str, BaseException | None]:
        with gi.wrap_executor(make(), "pool") as pool:
            return "pool", pool.submit(sync_session).exception(LIMIT)

    return way


def _loky() -> Executor:
    found: Executor = pytest.importorskip("loky").ProcessPoolExecutor(1)
    return found


def _caught(run: Callable[..., Any], *args: Any, **options: Any) -> BaseException | None:
    try:
        run(*args, **options)
    except BaseException as error:
        return error
    return None


def _anyio(function: Any, name: str, *args: Any) -> Way:
    return lambda: (name, _caught(anyio.run, function, *args))


async def _in_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(session)


async def _into_the_loop() -> None:
    await anyio.to_thread.run_sync(anyio.from_thread.run, session)


async def _in_process() -> None:
    await anyio.to_process.run_sync(sync_session)


def _asyncio() -> tuple[str, BaseException | None]:
    async def main() -> None:
        await asyncio.create_task(session())

    return "asyncio", _caught(asyncio.run, main())


def _trio() -> tuple[str, BaseException | None]:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session)

    return "trio", _caught(trio.run, main)


def _decorated(function: Any) -> Way:
    made = gi.instrumented(name="decorated")(function)
    return lambda: ("decorated", _caught(anyio.run, made) if function is session else _caught(made))


WAYS: dict[str, Way] = {
    "thread pool": _pool(lambda: ThreadPoolExecutor(1)),
    "forked processes": _pool(lambda: ProcessPoolExecutor(1, mp_context=get_context("fork"))),
    "spawned processes": _pool(lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn"))),
    "loky": _pool(_loky),
    "a custom executor": _pool(work.Inline),
    "asyncio": _asyncio,
    "anyio": _anyio(_in_group, "anyio"),
    "trio": _trio,
    "anyio.to_thread": _anyio(anyio.to_thread.run_sync, "anyio.to_thread", sync_session),
    "anyio.from_thread": _anyio(_into_the_loop, "anyio.from_thread"),
    "anyio.to_process": _anyio(_in_process, "anyio.to_process"),
    "trio.to_thread": lambda: ("trio.to_thread", _caught(trio.run, trio.to_thread.run_sync, sync_session)),
    "@instrumented, sync": _decorated(sync_session),
    "@instrumented, async": _decorated(session),
}


@pytest.fixture(autouse=True)
def _groups_can_be_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    # distributed, once imported, has all exceptions pickled by tblib, which before Python 3.11 loses the arguments of
    # a group: a forked process sends then what the pool cannot read.
    monkeypatch.delitem(copyreg.dispatch_table, ExceptionGroup, raising=False)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("way", WAYS)
def test_a_group_of_one_type_goes_by_it(way: str, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    gi.AsyncioInstrumentor().instrument(monitor=False, spans="*session")
    gi.AnyioInstrumentor().instrument(monitor=False, spans="*session")
    gi.TrioInstrumentor().instrument(monitor=False, spans="*session")
    with tracer.start_as_current_span("request"):
        name, error = WAYS[way]()
    assert isinstance(error, BaseExceptionGroup)  # it stays what it is
    work.until(lambda: value(catalog.TASK_COMPLETED, name, task_outcome="error") >= 1, "the outcome")
    assert value(catalog.TASK_COMPLETED, name, error_type="ConnectionRefusedError") >= 1
    assert value(catalog.TASK_COMPLETED, name, error_type="ExceptionGroup") == 0
    work.until(lambda: _failed(spans, name) != [], "the span")
    for span in _failed(spans, name):
        assert (span.attributes or {})[Key.ERROR_TYPE] == "ConnectionRefusedError"
        assert span.status.description == "ConnectionRefusedError: db:5432"


def _failed(spans: InMemorySpanExporter, name: str) -> list[Any]:
    ended = spans.get_finished_spans()
    return [s for s in ended if s.name.startswith(f"{name} ") and s.status.status_code is StatusCode.ERROR]
