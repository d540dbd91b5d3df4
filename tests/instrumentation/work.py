"""Functions that tests run in pools of every kind, and helpers that read the figures."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import anyio
from opentelemetry import baggage, trace

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key, Metric
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot import Snapshot

T = TypeVar("T")

LIMIT = 300.0
"""Seconds after which something that must happen is taken for lost."""


BACKENDS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
"""By name what ``anyio.run`` is given."""


def run(main: Callable[..., Awaitable[T]], *args: Any, backend: str) -> T:
    """``anyio.run`` on one of them."""
    return anyio.run(main, *args, **BACKENDS[backend])


class Inline(Executor):
    """A custom executor, which runs its calls within submit()."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def seen() -> tuple[int, int, str]:
    """Trace id, span id and the baggage entry ``user``, as the task sees them."""
    context = trace.get_current_span().get_span_context()
    return context.trace_id, context.span_id, str(baggage.get_baggage("user"))


def seen_in_thread() -> tuple[int, str]:
    return trace.get_current_span().get_span_context().trace_id, threading.current_thread().name


def add(left: int, right: int = 1) -> int:
    return left + right


def fail(text: str) -> None:
    raise KeyError(text)


class Stubborn(Exception):
    """An exception whose pickling is its own."""

    def __init__(self, first: str, second: int) -> None:
        super().__init__(first)
        self.second = second

    def __reduce__(self) -> Any:
        return Stubborn, (str(self), self.second)


def fail_stubbornly() -> None:
    raise Stubborn("no", 7) from ValueError("the cause")


def time_out() -> None:
    raise TimeoutError("the function's own")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def wait_for_file(path: str) -> str:
    """In a process that shares nothing with the creator of the file but the file."""
    until(lambda: os.path.exists(path), path)
    return "found"


def unpicklable() -> Any:
    return threading.Lock()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"waited {LIMIT:g} s for {what}"
        time.sleep(0.005)


def value(metric: Metric, name: str, at: Snapshot | None = None, **labels: str) -> float:
    """The sum of a metric's series of one executor, over series with these labels (dots as underscores).

    Read now, or from the snapshot ``at``.
    """
    return sum(
        point.value
        for point in (at or REGISTRY.collect()).points.get(metric.name, [])
        if _matches(point.attributes, name, labels)
    )


def histogram(metric: Metric, name: str, **labels: str) -> tuple[int, float]:
    """Count and sum of a histogram over the series of one executor with these labels."""
    found = [
        point
        for point in REGISTRY.collect().histograms.get(metric.name, [])
        if _matches(point.attributes, name, labels)
    ]
    return sum(point.count for point in found), sum(point.sum for point in found)


class Share:
    """How much of an executor's slots was in use between two readings, by its time counters."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = REGISTRY.collect()

    def read(self) -> tuple[float, float]:
        """Mean slots in use, and the share of the time at the limit, from the first reading to now."""
        now = REGISTRY.collect()

        def grown(metric: Metric) -> float:
            return value(metric, self._name, now) - value(metric, self._name, self._begun)

        passed = grown(catalog.EXECUTOR_TIME)  # of the same instants as the others
        return grown(catalog.SLOT_TIME) / passed, grown(catalog.SLOT_SATURATED_TIME) / passed


def _matches(attributes: dict[str, Any], name: str, labels: dict[str, str]) -> bool:
    plain = {key.removeprefix("glasspool.").replace(".", "_"): found for key, found in attributes.items()}
    return attributes.get(Key.EXECUTOR_NAME) == name and all(plain.get(k) == v for k, v in labels.items())


def outcomes(name: str) -> dict[str, int]:
    """Completed tasks by outcome, those at 0 left out."""
    counts = {o: int(value(catalog.TASK_COMPLETED, name, task_outcome=o)) for o in catalog.OUTCOMES}
    return {outcome: count for outcome, count in counts.items() if count}


def executors() -> set[tuple[str, str]]:
    """Names and types of all executors that have submitted something."""
    return {
        (point.attributes[Key.EXECUTOR_NAME], point.attributes[Key.EXECUTOR_TYPE])
        for point in REGISTRY.collect().points.get(catalog.TASK_SUBMITTED.name, [])
        if point.value
    }


plain_variable: contextvars.ContextVar[str] = contextvars.ContextVar("plain_variable", default="unset")
