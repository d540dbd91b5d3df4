"""Names and texts that cannot be encoded or are very long: metrics and spans can be exported in any case."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any

import anyio
import anyio.to_thread
import prometheus_client
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool.telemetry import prometheus
from glasspool.telemetry.eventloop import EventLoopMonitor
from glasspool.telemetry.recording.printable_text import NAME_LENGTH, SHOWN, TEXT_LENGTH, printable
from glasspool.telemetry.recording.registry import REGISTRY

from .work import LIMIT, until

NAMES = {
    "not UTF-8": "scan-" + os.fsdecode(b"caf\xe9"),
    "a line break": "scan\nmail\r\tx",
    "NUL and escape": "scan\0\x1b[31m",
    "endless": "scan" * 25_000,
    "endless, with a surrogate": "\udce9" * 100_000,
}


def named(name: str, error: BaseException | None = None) -> Callable[[], None]:
    def function() -> None:
        if error is not None:
            raise error

    function.__qualname__ = name
    return function


def failing(name: str) -> BaseException:
    # The name of a class is always UTF-8; that of its module is any text.
    return type("Error", (Exception,), {"__module__": name})(name)


async def executor(name: str) -> None:
    async with HybridExecutor(name, max_in_flight=1) as own:
        await own.submit(named(name), name=name)
        handle = await own.submit(named(name, failing(name)))
        assert await handle.outcome()
        waits = await own.submit(anyio.sleep, LIMIT)
        waits.cancel(name)
        assert await waits.outcome()


async def limiter(name: str) -> None:
    gi.AnyioInstrumentor().instrument(monitor=False)
    tokens = anyio.CapacityLimiter(1)
    gi.name_limiter(tokens, name)
    await anyio.to_thread.run_sync(named(name), limiter=tokens)


async def pool(name: str) -> None:
    for made in (
        gi.wrap_executor(ThreadPoolExecutor(1), name),
        gi.wrap_executor(ThreadPoolExecutor(1, thread_name_prefix=name[:1000])),
    ):
        with made:
            ended: Future[None] = made.submit(named(name))
            failed = made.submit(named(name, failing(name)))
            assert failed.exception(LIMIT) is not None
            ended.result(LIMIT)


async def decorated(name: str) -> None:
    gi.instrumented(name=name)(named(name))()


async def loop(name: str) -> None:
    async with EventLoopMonitor(name):
        pass


WAYS: dict[str, Callable[[str], Awaitable[None]]] = {
    "executor": executor, "pool": pool, "limiter": limiter, "@instrumented": decorated, "event loop": loop,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", WAYS)
def test_what_others_name_can_be_exported(way: str, name: str, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    with tracer.start_as_current_span("request"):
        anyio.run(WAYS[way], NAMES[name])
    client = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("orders", "The application's own.", registry=client).inc()
    prometheus.register(client, source=REGISTRY)
    text = prometheus_client.generate_latest(client).decode()
    assert "orders_total 1.0" in text
    assert max(map(len, text.splitlines())) < 2000
    metrics = REGISTRY.collect()
    for attributes in [
        point.attributes for family in (metrics.points, metrics.histograms) for point in chain(*family.values())
    ]:
        for found in attributes.values():
            assert AnyValue(string_value=str(found)).SerializeToString()
            assert len(str(found)) <= NAME_LENGTH
    until(lambda: len(spans.get_finished_spans()) > 0, "the spans")
    finished = spans.get_finished_spans()
    assert encode_spans(finished).SerializeToString()
    for span in finished:
        assert len(span.name) <= 128
        for found in (span.attributes or {}).values():
            assert not isinstance(found, str) or len(found) <= TEXT_LENGTH
        for event in span.events:
            texts = [str(found) for found in (event.attributes or {}).values()]
            assert max(map(len, texts), default=0) <= 65_536


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("orders", "orders"),
        ("Bestellungen für Käse", "Bestellungen für Käse"),
        ("注文", "注文"),
        ("a\tb\nc", "a b c"),
        ("\0x\x7f\x9f", "�x��"),
        ("caf\udce9", "caf�"),
        ("n" * NAME_LENGTH, "n" * NAME_LENGTH),
        ("n" * (NAME_LENGTH + 1), "n" * (NAME_LENGTH - 1) + "…"),
    ],
)
def test_what_is_shown_of_a_name(given: str, shown: str) -> None:
    assert printable(given) == shown
    assert printable(shown) == shown


def test_an_error_is_shown_in_its_own_words_and_so_is_its_cause(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    async def fails() -> None:
        raise LookupError("no such file") from OSError(os.fsdecode(b"caf\xe9"))

    async def run(function: Callable[[], Awaitable[None]]) -> None:
        async with HybridExecutor("own", max_in_flight=1) as own:
            assert await (await own.submit(function)).outcome()

    with tracer.start_as_current_span("request"):
        anyio.run(run, fails)
    (event,) = [event for span in spans.get_finished_spans() for event in span.events if event.name == "exception"]
    found = dict(event.attributes or {})
    assert (found["exception.type"], found["exception.message"]) == ("LookupError", "no such file")
    assert "caf?" in str(found["exception.stacktrace"])
    assert "test_printable" in str(found["exception.stacktrace"])


def test_what_is_known_of_names_is_bounded() -> None:
    for number in range(5000):
        assert SHOWN[f"name\n{number}"] == f"name {number}"
    assert len(SHOWN[("x" * 100_000)]) == NAME_LENGTH
    assert len(SHOWN) <= 1024
    assert max(map(len, SHOWN)) <= NAME_LENGTH


def test_names_that_are_shown_alike_are_counted_together() -> None:
    for name in ("x" * 300, "x" * 301):
        with gi.wrap_executor(ThreadPoolExecutor(1), name) as made:
            made.submit(int).result(LIMIT)
    found: list[Any] = [held for held in REGISTRY.holders() if getattr(held, "name", "").startswith("xxx")]
    assert [totals.name for totals in found] == ["x" * 199 + "…"]
