"""The sibling whose failure cancelled a task: task groups of anyio and asyncio, trio's nurseries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key

from .work import histogram, outcomes, value

trio = pytest.importorskip("trio")

Start = Callable[..., object]
Group = Callable[[], Any]
"""Makes an async context manager whose value has ``start_soon`` or ``create_task``."""


async def _wait() -> None:
    await anyio.sleep_forever()


async def _nest(group: Group) -> None:
    async with group() as inner:
        _start(inner, _wait)


async def _boom() -> None:
    await anyio.sleep(0)
    raise ValueError("boom")


def _start(group: Any, function: Callable[..., Awaitable[None]], *args: Any) -> None:
    if hasattr(group, "start_soon"):
        group.start_soon(function, *args)
    else:
        group.create_task(function(*args))


CASES = [
    pytest.param("anyio", "asyncio", gi.AnyioInstrumentor, anyio.create_task_group, id="anyio-asyncio"),
    pytest.param("anyio", "uvloop", gi.AnyioInstrumentor, anyio.create_task_group, id="anyio-uvloop"),
    pytest.param("anyio", "trio", gi.AnyioInstrumentor, anyio.create_task_group, id="anyio-trio"),
    pytest.param("trio", "trio", gi.TrioInstrumentor, trio.open_nursery, id="trio"),
]
if hasattr(asyncio, "TaskGroup"):
    for loop in ("asyncio", "uvloop"):
        CASES.append(pytest.param("asyncio", loop, gi.AsyncioInstrumentor, asyncio.TaskGroup, id=f"asyncio-{loop}"))


def _run(main: Callable[[], Awaitable[None]], loop: str) -> None:
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    error: BaseException | None = None
    try:
        anyio.run(main, backend="trio" if loop == "trio" else "asyncio", backend_options=options)
    except BaseException as raised:
        error = raised
    while (inner := getattr(error, "exceptions", None)) is not None:
        (error,) = inner  # the one error in its groups
    assert type(error) is ValueError


def _reasons(name: str) -> dict[str, int]:
    counts = {r: int(value(catalog.TASK_CANCELLATIONS, name, cancel_reason=r)) for r in catalog.CANCEL_REASONS}
    return {reason: count for reason, count in counts.items() if count}


@pytest.mark.parametrize(("name", "loop", "instrumentor", "group"), CASES)
def test_the_cancelled_name_the_sibling(
    name: str, loop: str, instrumentor: type[gi.Instrumentor], group: Group, tracer: Tracer,
    spans: InMemorySpanExporter,
) -> None:  # fmt: skip
    instrumentor().instrument(include=["*_wait", "*_nest", "*_boom"], spans="*")

    async def main() -> None:
        with tracer.start_as_current_span("request"):
            async with group() as outer:
                _start(outer, _wait)
                _start(outer, _wait)
                _start(outer, _nest, group)
                await anyio.sleep(0)
                _start(outer, _boom)

    _run(main, loop)
    assert outcomes(name) == {"error": 1, "cancelled": 4}
    assert _reasons(name) == {"sibling_failure": 3, "parent_scope": 1}
    cancelled = [span for span in spans.get_finished_spans() if _of(span, Key.TASK_OUTCOME) == "cancelled"]
    reasons = sorted((str(_of(span, Key.CANCEL_REASON)), span.name) for span in cancelled)
    assert reasons == [
        ("parent_scope", f"{name} _wait"),
        ("sibling_failure", f"{name} _nest"),
        ("sibling_failure", f"{name} _wait"),
        ("sibling_failure", f"{name} _wait"),
    ]
    for span in cancelled:
        if _of(span, Key.CANCEL_REASON) == "sibling_failure":
            message = str(_of(span, Key.CANCEL_MESSAGE))
            assert message.endswith("_boom failed: ValueError: boom")
            assert span.status.status_code is StatusCode.ERROR
        else:
            assert span.status.status_code is StatusCode.UNSET


def _of(span: ReadableSpan, key: str) -> object:
    return (span.attributes or {}).get(key)


@pytest.mark.parametrize(("name", "loop", "instrumentor", "group"), CASES)
def test_an_error_of_the_groups_own_block_is_no_siblings(
    name: str, loop: str, instrumentor: type[gi.Instrumentor], group: Group
) -> None:
    instrumentor().instrument(include="*_wait")

    async def main() -> None:
        async with group() as outer:
            _start(outer, _wait)
            await anyio.sleep(0)
            raise ValueError("of the block")

    _run(main, loop)
    assert _reasons(name) == {"parent_scope": 1}


@pytest.mark.parametrize(
    ("name", "loop", "instrumentor", "group"), [case for case in CASES if case.values[0] != "anyio"]
)
def test_a_sibling_that_is_not_observed_counts_as_one(
    name: str, loop: str, instrumentor: type[gi.Instrumentor], group: Group, tracer: Tracer,
    spans: InMemorySpanExporter,
) -> None:  # fmt: skip
    instrumentor().instrument(include="*_wait", spans="*")

    async def main() -> None:
        with tracer.start_as_current_span("request"):
            async with group() as outer:
                _start(outer, _wait)
                await anyio.sleep(0)
                _start(outer, _boom)

    _run(main, loop)
    assert _reasons(name) == {"sibling_failure": 1}
    (span,) = [span for span in spans.get_finished_spans() if span.name == f"{name} _wait"]
    assert "boom" in str(_of(span, Key.CANCEL_MESSAGE))


class Unspeakable(Exception):
    """An error that cannot be turned into text."""

    def __str__(self) -> str:
        raise LookupError("no words")


async def _speechless() -> None:
    await anyio.sleep(0)
    raise Unspeakable


@pytest.mark.parametrize(("name", "loop", "instrumentor", "group"), CASES)
def test_an_error_without_text_stays_the_error_it_is(
    name: str, loop: str, instrumentor: type[gi.AnyioInstrumentor], group: Group
) -> None:
    async def main() -> None:
        async with group() as made:
            _start(made, _wait)
            _start(made, _speechless)

    instrumentor().instrument(monitor=False)
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    with pytest.raises(BaseException) as caught:
        anyio.run(main, backend="trio" if loop == "trio" else "asyncio", backend_options=options)
    error: Any = caught.value
    while getattr(error, "exceptions", None):
        (error,) = error.exceptions
    assert type(error) is Unspeakable
    assert value(catalog.TASK_ACTIVE, name) == 0
    assert histogram(catalog.TASK_DURATION, name, task_name="_speechless", task_outcome="error")[0] == 1
