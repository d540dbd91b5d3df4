"""Every test starts and ends without instrumentation; spans are kept in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import glasspool_instrumentation as gi
from glasspool.telemetry.recording.identity import Totals
from glasspool.telemetry.recording.registry import REGISTRY

from . import work
from .keeping import Compare, Run

_exporter = InMemorySpanExporter()


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    gi.uninstrument()
    REGISTRY.reset()
    _exporter.clear()
    yield
    gi.uninstrument()


@pytest.fixture
def everything() -> Iterator[None]:
    """All instrumentors are on."""
    gi.instrument()
    yield
    gi.uninstrument()


@pytest.fixture(params=list(work.BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """asyncio, uvloop and trio, for ``work.run``."""
    return str(request.param)


@pytest.fixture(autouse=True)
def every_counter_is_expected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is done to an observed executor makes no counter: those of all that can happen exist at 0 from open."""
    born: list[object] = []
    count = Totals.count

    def watched(totals: Totals, family: dict[Any, int], key: Any) -> None:
        if key not in family:
            born.append((totals.name, totals.type, key))
        count(totals, family, key)

    monkeypatch.setattr(Totals, "count", watched)
    yield
    assert born == []


@pytest.fixture(scope="session")
def provider() -> TracerProvider:
    """A real SDK: the process's one tracer provider (there can only be one), recording into memory."""
    current = trace.get_tracer_provider()
    if not isinstance(current, TracerProvider):
        current = TracerProvider(resource=Resource({"service.name": "tests"}))
        trace.set_tracer_provider(current)
    current.add_span_processor(SimpleSpanProcessor(_exporter))
    return current


@pytest.fixture
def spans(provider: TracerProvider) -> InMemorySpanExporter:
    """The spans that ended in this process since the test began."""
    _exporter.clear()
    return _exporter


@pytest.fixture
def tracer(provider: TracerProvider) -> trace.Tracer:
    return provider.get_tracer("tests")


@pytest.fixture(scope="module")
def bare_runs() -> Iterator[dict[str, Run]]:
    """The scenarios of a module that have run bare."""
    gc.collect()
    gc.freeze()  # what is there already need not be looked at after every run
    yield {}
    gc.unfreeze()


@pytest.fixture(params=["untraced", "traced"])
def compare(
    request: pytest.FixtureRequest,
    bare_runs: dict[str, Run],
    tracer: trace.Tracer,
    spans: InMemorySpanExporter,
    tmp_path: Path,
) -> Compare:
    """Runs a scenario bare, and then observed: see ``keeping``."""
    traced = request.param == "traced"
    same = {
        name: value for name, value in request.node.callspec.params.items() if name not in ("how", "loops", "compare")
    }
    key = f"{request.node.originalname} {same}"

    def span() -> AbstractContextManager[Any]:
        return tracer.start_as_current_span("request") if traced else nullcontext()

    return Compare(bare_runs, key, span, tmp_path)


@pytest.fixture(params=[None, "*"], ids=["tasks without spans", "tasks with spans"])
def loops(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Turns on the instrumentors of event loops."""

    def turn_on() -> None:
        gi.FuturesInstrumentor().instrument()
        for instrumentor in (gi.AsyncioInstrumentor, gi.AnyioInstrumentor, gi.TrioInstrumentor):
            instrumentor().instrument(monitor=False, spans=request.param)

    return turn_on
