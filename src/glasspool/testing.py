"""Helpers for tests of code that uses glasspool: the counts and the spans of a block.

with recorded() as seen, captured_spans() as spans:
    anyio.run(send_all_mail)
assert seen.completed("mail") == {"success": 3, "error": 1, "timeout": 0, "cancelled": 0}
assert seen.total(catalog.TASK_REJECTED, executor_name="mail", error_type="queue_full") == 1
assert seen.histogram(catalog.QUEUE_WAIT, executor_name="mail").count == 4
assert [span.name for span in spans] == ["mail send"] * 4
"""

from __future__ import annotations

import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
from opentelemetry import trace

from .errors import ConfigurationError
from .task import TaskHandle, task_of
from .telemetry import catalog
from .telemetry.catalog import Metric
from .telemetry.recording.registry import REGISTRY
from .telemetry.recording.snapshot import HistogramPoint, Snapshot
from .telemetry.recording.snapshot_queries import merged, total

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["Recorded", "captured_spans", "recorded", "run_out_of_time"]


@contextmanager
def recorded() -> Generator[Recorded, None, None]:
    """Record how the process's glasspool metrics change inside the block.

    :returns: a context manager that gives the figures, to be read inside the block and after it.
    """
    seen = Recorded()
    try:
        yield seen
    finally:
        seen.freeze()


class Recorded:
    """The figures since ``recorded()`` was entered, up to now or to the end of its block.

    Attributes are given as keywords: the catalog's keys without ``glasspool.`` and with underscores for dots
    (``executor_name="mail"``, ``task_outcome="error"``, ``error_type="ValueError"``). All series that carry them are
    added up.
    """

    def __init__(self) -> None:
        self._before = REGISTRY.collect()
        self._after: Snapshot | None = None

    def total(self, metric: Metric, **attributes: str) -> float:
        """The growth of a counter, or the current value of a gauge.

        :param metric: the metric, a constant of ``glasspool.telemetry.catalog``.
        :param attributes: the attributes of the series to add up; default all series.
        :returns: the sum over these series.
        :raises TypeError: the metric has no such attribute, or is a histogram.
        """
        if metric.kind == "histogram":
            raise TypeError(f"{metric.name} is a histogram; ask histogram() for its count and sum")
        wanted = _keys(metric, attributes)
        now = total(self._now(), metric, wanted)
        return now - total(self._before, metric, wanted) if metric.kind == "counter" else now

    def histogram(self, metric: Metric, **attributes: str) -> HistogramPoint:
        """The measurements of a histogram.

        :param metric: the metric, a constant of ``glasspool.telemetry.catalog``.
        :param attributes: the attributes of the series to add up; default all series.
        :returns: ``count``, ``sum`` in seconds, and ``counts`` by bucket.
        :raises TypeError: the metric has no such attribute, or is not a histogram.
        """
        if metric.kind != "histogram":
            raise TypeError(f"{metric.name} is a {metric.kind}; ask total() for it")
        wanted = _keys(metric, attributes)
        before, now = merged(self._before, metric, wanted), merged(self._now(), metric, wanted)
        counts = tuple(new - old for new, old in zip(now.counts, before.counts, strict=True))
        return HistogramPoint(dict(wanted), counts, now.sum - before.sum, ())

    def completed(self, executor_name: str) -> dict[str, int]:
        """The number of tasks that ended, by outcome.

        :param executor_name: the name of the executor.
        :returns: a count for each of the four outcomes.
        """
        return {
            outcome: int(self.total(catalog.TASK_COMPLETED, executor_name=executor_name, task_outcome=outcome))
            for outcome in catalog.OUTCOMES
        }

    def freeze(self) -> None:
        """Keep the figures as they are now. The end of ``recorded()``'s block calls this."""
        if self._after is None:
            self._after = REGISTRY.collect()

    def _now(self) -> Snapshot:
        return self._after if self._after is not None else REGISTRY.collect()


def run_out_of_time(handle: TaskHandle[Any], after: float = 0.0) -> None:
    """Let the timeout or deadline of a running task pass now, or after some seconds.

    A test submits the task with a distant time limit and calls this when the task has reached the point of interest; a
    near limit might pass before.

    :param handle: a task that runs and was submitted with ``timeout=`` or ``deadline=``.
    :param after: seconds from now; default 0.
    :raises ValueError: the task has no time limit, has not begun, or has ended.
    """
    task = task_of(handle)
    if task.scope is None or (task.plan.timeout is None and task.plan.deadline is None):
        raise ValueError(f"{handle!r} does not run under a time limit: submit it with timeout= and wait for its start")
    task.scope.deadline = anyio.current_time() + after


@contextmanager
def captured_spans() -> Generator[list[ReadableSpan], None, None]:
    """Collect the spans that end inside the block, in this order, glasspool's and others.

    It uses the process's tracer provider, or sets one if there is none yet. Exporters of that provider still export.

    :returns: a context manager that gives the list of spans.

    :raises ConfigurationError: OpenTelemetry's SDK is not installed, or the provider is not the SDK's.
    """
    spans: list[ReadableSpan] = []
    listeners = _listeners()
    listeners.append(spans)
    try:
        yield spans
    finally:
        # By identity: other blocks' lists may be equal.
        listeners[:] = [other for other in listeners if other is not spans]


def _listeners() -> list[list[ReadableSpan]]:
    """The lists that get every span of the current provider. Processors cannot be removed: one is added, once."""
    try:
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    except ImportError as error:
        raise ConfigurationError(
            "captured_spans() needs OpenTelemetry's SDK, which is not installed: pip install 'glasspool[otlp]'"
        ) from error
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(TracerProvider())
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        raise ConfigurationError(f"captured_spans() needs a tracer provider of OpenTelemetry's SDK, not {provider!r}")
    if provider not in _LISTENERS:
        listeners: list[list[ReadableSpan]] = []

        class Capture(SpanProcessor):
            def on_end(self, span: ReadableSpan) -> None:
                for spans in listeners:
                    spans.append(span)

        provider.add_span_processor(Capture())
        _LISTENERS[provider] = listeners
    return _LISTENERS[provider]


_LISTENERS: weakref.WeakKeyDictionary[Any, list[list[ReadableSpan]]] = weakref.WeakKeyDictionary()


def _keys(metric: Metric, attributes: dict[str, str]) -> dict[str, str]:
    known = {key.removeprefix("glasspool.").replace(".", "_"): key for key in metric.labels}
    for name in attributes:
        if name not in known:
            raise TypeError(f"{metric.name} has no attribute {name!r}; it has {', '.join(sorted(known))}")
    return {known[name]: value for name, value in attributes.items()}
