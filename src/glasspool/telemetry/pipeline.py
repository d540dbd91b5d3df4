"""OpenTelemetry's SDK as ``configure()`` sets it up: providers, exporters, flush and close within a deadline, forks.

Imported only when the SDK is wanted; without it the import fails.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from . import providers
from .exporting import PeriodicExports, Renewed, SpanExports

__all__ = ["Pipeline", "make_resource"]

logger = logging.getLogger("glasspool")

_INSTANCE_ID = "service.instance.id"


def make_resource(attributes: Mapping[str, Any]) -> Resource:
    """``attributes`` where the standard variables say nothing else, and an instance id of this process."""
    given = OTELResourceDetector().detect().attributes
    chosen = {key: value for key, value in attributes.items() if key not in given}
    resource = Resource.create(chosen)
    if _INSTANCE_ID not in resource.attributes:
        resource = resource.merge(Resource({_INSTANCE_ID: _new_instance_id()}))
    return resource


def _new_instance_id() -> str:
    # Newer SDKs have one for each process, older ones none.
    given = OTELResourceDetector().detect().attributes.get(_INSTANCE_ID)
    sdks = Resource.create().attributes.get(_INSTANCE_ID)
    return str(sdks) if sdks and sdks != given else str(uuid.uuid4())


class Pipeline:
    """The providers that we have set for this process, and what becomes of them in forked children."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._tracers: TracerProvider | None = None
        self._meters: list[MeterProvider] = []
        self._readers: Sequence[Callable[[], MetricReader]] = ()
        self._exports: list[Renewed[Any]] = []
        self._closer: _Closer | None = _Closer(self._shut_down)

    def trace(self, exporters: Sequence[SpanExports]) -> None:
        """Set the global tracer provider."""
        self._tracers = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        for exporter in exporters:
            self._exports.append(exporter.renewed)
            self._tracers.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(self._tracers)

    def measure(self, readers: Sequence[Callable[[], MetricReader]]) -> None:
        """Set the global meter provider; ``readers`` make its readers, here and again in forked children."""
        self._readers = readers
        metrics.set_meter_provider(self._meter_provider())
        providers.renew = self._renew

    def flush(self, timeout: float) -> bool:
        """Export everything now; True if it arrived. ``timeout`` in seconds."""
        deadline = time.monotonic() + timeout
        before = self._failures()
        done = True
        for provider in (self._tracers, *self._meters):
            if provider is not None:
                try:
                    done &= provider.force_flush(max(1, int((deadline - time.monotonic()) * 1000)))
                except Exception:  # noqa: BLE001 - the SDK raises a bare Exception when a reader runs out of time
                    done = False
        # The SDK says True for an export that failed: only the exporters know.
        return done and self._failures() == before and time.monotonic() <= deadline

    def close(self, timeout: float) -> bool:
        """Export what there is and stop; False if that took more than ``timeout`` seconds and goes on behind."""
        if self._closer is None:  # a forked child without metrics of its own
            self._shut_down()
            return True
        return self._closer.run(timeout)

    def _shut_down(self) -> None:
        for provider in (self._tracers, *self._meters):
            try:
                if provider is not None:
                    provider.shutdown()
            except Exception:
                logger.exception("the last export failed")

    def watch_forks(self) -> None:
        """To be called when the providers are set: their own hooks must run before ours."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        # An instance of its own. The child's own meter provider is made when it first has metrics (see _renew).
        self._closer = None
        old = self._resource
        renewed = self._tracers.resource if self._tracers is not None else old
        if renewed.attributes.get(_INSTANCE_ID) == old.attributes.get(_INSTANCE_ID):
            renewed = old.merge(Resource({_INSTANCE_ID: _new_instance_id()}))
            if self._tracers is not None:
                # SDKs that do not renew it themselves have no public way; tracers made from now on carry the new one.
                self._tracers._resource = renewed
        self._resource = renewed

    def _meter_provider(self) -> MeterProvider:
        readers = [make() for make in self._readers]
        self._exports += [reader.exports.renewed for reader in readers if isinstance(reader, PeriodicExports)]
        provider = MeterProvider(readers, resource=self._resource, shutdown_on_exit=False)
        self._meters.append(provider)
        return provider

    def _renew(self) -> metrics.MeterProvider:
        # In a forked child. The inherited provider goes on for the application's own instruments (see MetricExports).
        try:
            if self._closer is None:
                self._closer = _Closer(self._shut_down)
            return self._meter_provider()
        except Exception:
            logger.exception("metrics of this forked process are not exported")
            return metrics.NoOpMeterProvider()

    def _failures(self) -> int:
        return sum(exports.failures for exports in self._exports)


class _Closer:
    """A thread that closes while the caller waits no longer than it wants to.

    It is made early, because at interpreter exit no thread can be started, and is a daemon: a process that leaves
    does not wait for an exporter that goes on trying.
    """

    def __init__(self, job: Callable[[], None]) -> None:
        self._job = job
        self._begin = threading.Event()
        self._done = threading.Event()
        threading.Thread(target=self._run, name="glasspool-telemetry-closer", daemon=True).start()

    def run(self, timeout: float) -> bool:
        """Do the job; False if it is not done within ``timeout`` seconds."""
        self._begin.set()
        return self._done.wait(timeout)

    def _run(self) -> None:
        self._begin.wait()
        self._job()
        self._done.set()
