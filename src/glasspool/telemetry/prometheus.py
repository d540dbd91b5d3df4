"""The recorder's figures for prometheus_client: a custom collector, and a small /metrics endpoint.

Any server of the registry reads the collector. prometheus_client writes the text and OpenMetrics formats, with
exemplars in OpenMetrics only. No series appears twice in a registry: beside OpenTelemetry's PrometheusMetricReader, or
in a registry that adds up several processes, the collector yields nothing and logs a warning.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from glasspool._foreign.prometheus_registry import collectors_of
from glasspool.errors import ConfigurationError

from . import catalog
from .catalog import Key, Metric, prometheus_label
from .http_server import threading_server
from .recording.registry import REGISTRY, Registry
from .recording.snapshot import HistogramPoint, Point, Snapshot

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

__all__ = ["Collector", "Endpoint", "default_registry", "listen", "register", "serve"]

logger = logging.getLogger("glasspool")

Beside = Callable[[Any, int], Any]
"""Puts a WSGI application around the one that answers scrapes, on this port."""

_RIVALS = {
    "opentelemetry.exporter.prometheus": (
        "OpenTelemetry's PrometheusMetricReader is on the same prometheus_client registry and shows the glasspool_* "
        "series already; glasspool's own collector stays away, so that no series appears twice. The reader writes no "
        "exemplars: remove it, or give one of the two a registry of its own"
    ),
    "prometheus_client.multiprocess": (
        "this prometheus_client registry adds up several processes from files (multiprocess mode), which a custom "
        "collector cannot write; glasspool's stays away. Let the workers share a port of glasspool's "
        "(glasspool.telemetry.configure(prometheus_port=...)) or export by OTLP"
    ),
}
"""The modules of collectors beside which ours yields nothing, each with the warning that is logged then."""


def register(registry: CollectorRegistry | None = None, *, source: Registry = REGISTRY) -> Collector:
    """Add all ``glasspool_*`` series to a prometheus_client registry.

    ``registry.unregister(collector)`` removes them.

    :param registry: the registry; default prometheus_client's process-wide one.
    :param source: glasspool's own registry; default the process's.
    :returns: the collector; a second call for the same registry returns the same one.
    :raises ConfigurationError: prometheus_client is not installed.
    """
    client = _client()
    target = default_registry() if registry is None else registry
    with _lock:
        for known in collectors_of(target):
            if isinstance(known, Collector) and known.source is source:
                return known
        collector = Collector(target, source, client)
        collector.stands_aside()  # warns now, not only at the first scrape
        target.register(collector)
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ or "prometheus_multiproc_dir" in os.environ:
        logger.warning(
            "PROMETHEUS_MULTIPROC_DIR is set: prometheus_client's multiprocess mode cannot carry glasspool's series, "
            "which are those of the process that answers the scrape. Let the workers share a port of glasspool's "
            "(configure(prometheus_port=...)) or export by OTLP"
        )
    return collector


class Collector:
    """A prometheus_client collector for one glasspool registry; made by ``register``.

    :param registry: the prometheus_client registry that it is added to.
    :param source: glasspool's registry.
    :param client: the module ``prometheus_client``.
    """

    def __init__(self, registry: CollectorRegistry, source: Registry, client: Any) -> None:
        self.source = source
        self._registry = registry
        self._core = client.core
        self._bounds = {
            metric.name: [*map(client.utils.floatToGoString, metric.buckets), "+Inf"]
            for metric in catalog.ALL_METRICS
            if metric.buckets
        }
        self._said: set[str] = set()

    def describe(self) -> Iterable[Family]:
        """The families without series: prometheus_client refuses a second collector of the same names."""
        return [self._family(metric) for metric in catalog.ALL_METRICS]

    def collect(self) -> Iterator[Family]:
        """All series that exist, from one snapshot, family by family in the catalog's order."""
        if not self.stands_aside():
            yield from self.families(self.source.collect())

    def families(self, snapshot: Snapshot) -> Iterator[Family]:
        """The series of a snapshot as prometheus_client's families, in the catalog's order.

        :param snapshot: the figures of one moment.
        """
        for metric in (*catalog.ALL_METRICS, *catalog.PORT_METRICS):
            points = snapshot.points.get(metric.name, ())
            histograms = snapshot.histograms.get(metric.name, ())
            if points or histograms:
                family = self._family(metric)
                for point in points:
                    self._add_point(family, metric, point)
                for histogram in histograms:
                    self._add_histogram(family, metric, histogram)
                yield family

    def stands_aside(self) -> bool:
        """Whether another collector of this registry makes this one yield nothing; logs a warning once for each
        kind."""
        for known in collectors_of(self._registry):
            for module, message in _RIVALS.items():
                if type(known).__module__.startswith(module):
                    if module not in self._said:
                        self._said.add(module)
                        logger.warning("%s", message)
                    return True
        return False

    def _family(self, metric: Metric) -> Family:
        kind = "gauge" if metric.kind == "updowncounter" else metric.kind
        name = metric.prometheus_name.removesuffix("_total")
        family: Family = self._core.Metric(name, metric.help, kind, "seconds" if metric.unit == "s" else "")
        return family

    def _add_point(self, family: Family, metric: Metric, point: Point) -> None:
        # Families of the public helper classes have a fixed set of labels; ours leave out absent labels.
        family.samples.append(self._core.Sample(metric.prometheus_name, _labels(point.attributes), point.value))

    def _add_histogram(self, family: Family, metric: Metric, point: HistogramPoint) -> None:
        sample = self._core.Sample
        name = metric.prometheus_name
        labels = _labels(point.attributes)
        total = 0
        exemplars = point.exemplars or (None,) * len(point.counts)
        for bound, count, found in zip(self._bounds[metric.name], point.counts, exemplars, strict=True):
            total += count
            exemplar = None
            if found is not None:
                value, trace_id, span_id, at = found
                ids = {"trace_id": f"{trace_id:032x}", "span_id": f"{span_id:016x}"}
                exemplar = self._core.Exemplar(ids, value, round(at, 3))
            family.samples.append(sample(f"{name}_bucket", {**labels, "le": bound}, total, None, exemplar))
        family.samples.append(sample(f"{name}_count", labels, total))
        family.samples.append(sample(f"{name}_sum", labels, point.sum))


class Endpoint:
    """An HTTP server for /metrics in its own thread, so that scrapes work while the event loop is blocked.

    ``port`` is the port that it listens on.
    """

    def __init__(self, server: Any, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def abandon(self) -> None:
        """Close the inherited socket in a forked child, where the thread does not exist."""
        self._server.socket.close()


def serve(
    port: int, host: str = "127.0.0.1", registry: CollectorRegistry | None = None, *, source: Registry = REGISTRY
) -> Endpoint:
    """Add glasspool's series to a registry, and serve it over HTTP.

    :param port: the port; 0 is any free one.
    :param host: the address, default 127.0.0.1.
    :param registry: the prometheus_client registry; default the process-wide one.
    :param source: glasspool's own registry; default the process's.
    :returns: the endpoint, with its ``port`` and ``close()``.
    :raises ConfigurationError: prometheus_client is not installed, or the port is not available.
    """
    register(registry, source=source)
    return listen(port, host, default_registry() if registry is None else registry)


def listen(port: int, host: str, registry: Any, beside: Beside | None = None) -> Endpoint:
    """Serve a registry over HTTP.

    :param port: the port; 0 is any free one.
    :param host: the address.
    :param registry: a prometheus_client registry, or an object with its ``collect()``.
    :param beside: makes, of the application that answers scrapes and the port, the one that is served; default None,
        which serves the scrapes alone.
    :returns: the endpoint.
    :raises ConfigurationError: prometheus_client is not installed, or the port is not available.
    """
    client = _client()
    try:
        server = threading_server(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"the Prometheus endpoint cannot listen on {host}:{port} ({error.strerror or error}); free the port, "
            "choose another one or pass prometheus_port=0 for any free one"
        ) from error
    scrapes = client.make_wsgi_app(registry)
    server.set_app(scrapes if beside is None else beside(scrapes, server.server_port))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    return Endpoint(server, thread)


def default_registry() -> CollectorRegistry:
    """prometheus_client's process-wide registry.

    :returns: the registry.
    :raises ConfigurationError: prometheus_client is not installed.
    """
    found: CollectorRegistry = _client().REGISTRY
    return found


def _labels(attributes: dict[str, Any]) -> dict[str, str]:
    return {_label_names[key]: value for key, value in attributes.items()}


def _client() -> Any:
    try:
        import prometheus_client
        import prometheus_client.core  # pyright: ignore[reportUnusedImport]
        import prometheus_client.utils  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise ConfigurationError(
            "the Prometheus endpoint needs prometheus_client, which is not installed: "
            "pip install 'glasspool[prometheus]'"
        ) from error
    return prometheus_client


_lock = threading.RLock()
_label_names = {key: prometheus_label(key) for metric in catalog.ALL_METRICS for key in metric.labels}
_label_names[Key.PROCESS_NUMBER] = prometheus_label(Key.PROCESS_NUMBER)
