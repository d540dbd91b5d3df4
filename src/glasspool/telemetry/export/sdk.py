"""OpenTelemetry's SDK as ``configure()`` sets it up: providers, exporters, flush and close within a deadline, forks.

This module is imported only if the SDK is used; without it the import fails.
"""

from __future__ import annotations

import functools
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider

from glasspool._foreign.otel_exporters import set_resource
from glasspool.telemetry import providers

from . import environment
from .background import Request
from .exporters import SpanExports
from .losses import Losses, Note
from .sdk_parts import Part, Reading
from .span_batches import SpanBatches

__all__ = ["EXIT_SECONDS", "UNREACHED_SECONDS", "Pipeline", "Unsent", "make_resource"]

logger = logging.getLogger("glasspool")

_INSTANCE_ID = "service.instance.id"
_DETECTORS = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"
_said: set[str] = set()


def make_resource(attributes: Mapping[str, Any]) -> Resource:
    """``attributes`` where the standard variables say nothing else, and an instance id of this process."""
    given = OTELResourceDetector().detect().attributes
    chosen = {key: value for key, value in attributes.items() if key not in given}
    resource = _created(chosen)
    if _INSTANCE_ID not in resource.attributes:
        resource = resource.merge(Resource({_INSTANCE_ID: _new_instance_id()}))
    return resource


def _new_instance_id() -> str:
    # Newer SDKs have one for each process, older ones none.
    given = OTELResourceDetector().detect().attributes.get(_INSTANCE_ID)
    sdks = _created({}).attributes.get(_INSTANCE_ID)
    return str(sdks) if sdks and sdks != given else str(uuid.uuid4())


def _created(attributes: Mapping[str, Any]) -> Resource:
    try:
        return Resource.create(attributes)
    except Exception:
        given = os.environ.pop(_DETECTORS, None)
        if given is None:
            raise
    # Older SDKs fail at the name of a detector that they do not have; newer ones log it.
    try:
        created = Resource.create(attributes)
    finally:
        os.environ[_DETECTORS] = given
    if given not in _said and given.strip():
        _said.add(given)
        logger.warning("%s=%r: not all can be had; all are ignored", _DETECTORS, given[:100])
    return created


EXIT_SECONDS = 5.0
"""Seconds for which a collector that does not answer may delay the end of the process."""

UNREACHED_SECONDS = 1.0
"""The same if no export has ever succeeded: a first export takes no longer, and most often there is no collector."""


class Unsent(NamedTuple):
    """The result of a close that was given up after ``seconds``: how many ``spans`` were not sent."""

    seconds: float
    spans: int


class Pipeline:
    """The providers that ``configure()`` has set for this process, and their renewal in forked children.

    ``note`` is called with each kind of failure once.
    """

    def __init__(self, resource: Resource, note: Note) -> None:
        self._resource = resource
        self._losses = Losses(note)
        self._tracers: TracerProvider | None = None
        self._meters: list[MeterProvider] = []
        self._readers: Sequence[Callable[[Losses], MetricReader]] = ()
        self._spans: list[SpanBatches] = []
        self._metrics: list[Reading] = []
        self._closed = False

    def trace(self, exporters: Sequence[SpanExports]) -> None:
        """Set the global tracer provider."""
        self._tracers = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        for exporter in exporters:
            self._spans.append(SpanBatches(exporter, self._losses))
            self._tracers.add_span_processor(self._spans[-1])
        providers.own.add("traces")
        trace.set_tracer_provider(self._tracers)

    def measure(self, readers: Sequence[Callable[[Losses], MetricReader]]) -> None:
        """Set the global meter provider; ``readers`` make its readers, here and again in forked children."""
        self._readers = readers
        made = self._meter_provider()
        providers.own.add("metrics")
        metrics.set_meter_provider(made)
        providers.renew = self._renew

    def flush(self, timeout: float | None) -> bool:
        """Export everything now; True if all of it arrived. ``timeout`` in seconds, ``None`` as in ``close``."""
        if self._closed:
            return True
        if timeout is None:
            timeout = EXIT_SECONDS if any(part.reached for part in self._parts) else UNREACHED_SECONDS
        deadline = time.monotonic() + timeout
        requests = [part.begin_flush(timeout) for part in self._parts]
        tracers = self._tracers
        if tracers is not None:  # the application may have added processors to our provider
            requests.append(self._spans[0].also(lambda: tracers.force_flush(int(timeout * 1000))))
        waited = [request.wait(max(0.0, deadline - time.monotonic())) for request in requests]
        return all(waited) and all(request.ok for request in requests)

    def close(self, timeout: float | None) -> Unsent | None:
        """Export everything and stop. Returns what was unsent if that took too long and continues in the background.

        ``timeout`` in seconds; ``None`` means ``EXIT_SECONDS``, or ``UNREACHED_SECONDS`` where no export has succeeded.
        """
        self._closed = True
        begun = time.monotonic()
        requests: list[tuple[Part, Request]] = [(part, part.begin_close()) for part in self._parts]
        # The application may have added processors and readers to our providers: they come last.
        last: list[tuple[Part, TracerProvider | MeterProvider]] = [(self._metrics[0], each) for each in self._meters]
        if self._tracers is not None:
            last.append((self._spans[0], self._tracers))
        requests += [(part, part.also(functools.partial(_shut_down, provider))) for part, provider in last]
        unsent: dict[Part, int] = {}
        seconds = 0.0
        for part, request in requests:
            while part not in unsent and not request.wait(0.02):
                limit = EXIT_SECONDS if part.reached else UNREACHED_SECONDS
                limit = limit if timeout is None else timeout
                if time.monotonic() - begun >= limit:
                    unsent[part] = part.give_up()
                    seconds = max(seconds, limit)
        for part in self._parts:
            part.end()
        return Unsent(seconds, sum(unsent.values())) if unsent else None

    def watch_forks(self) -> None:
        """To be called when the providers are set: their own hooks must run before ours."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        # An instance of its own. The child's own meter provider is made when it first has metrics (see _renew).
        old = self._resource
        renewed = self._tracers.resource if self._tracers is not None else old
        if renewed.attributes.get(_INSTANCE_ID) == old.attributes.get(_INSTANCE_ID):
            renewed = old.merge(Resource({_INSTANCE_ID: _new_instance_id()}))
            if self._tracers is not None:
                # SDKs that do not renew it themselves have no public way; tracers made from now on carry the new one.
                set_resource(self._tracers, renewed)
        self._resource = renewed
        if not self._closed:
            for part in self._parts:
                part.start_again()

    def _meter_provider(self) -> MeterProvider:
        readers = [make(self._losses) for make in self._readers]
        with environment.usable():  # in forked children, too
            provider = MeterProvider(readers, resource=self._resource, shutdown_on_exit=False)
        self._metrics += [Reading(reader) for reader in readers]
        self._meters.append(provider)
        return provider

    def _renew(self) -> metrics.MeterProvider:
        # In a forked child. The inherited provider goes on for the application's own instruments (see MetricExports).
        try:
            return self._meter_provider()
        except Exception:
            logger.exception("metrics of this forked process are not exported")
            return metrics.NoOpMeterProvider()

    @property
    def _parts(self) -> list[Part]:
        return [*self._spans, *self._metrics]


def _shut_down(provider: TracerProvider | MeterProvider) -> bool:
    try:
        provider.shutdown()
    except Exception:
        logger.exception("shutting down the OpenTelemetry SDK failed")
        return False
    return True
