"""What ``configure()`` has set up: flushed, shut down, and carried over a fork."""

from __future__ import annotations

import logging
import os
import threading
from multiprocessing import util as process_util
from typing import TYPE_CHECKING

from glasspool.errors import ConfigurationError

from . import loop_monitors, providers
from .export import worker_exit
from .export.shared_port import SharedPort
from .recording.registry import REGISTRY

if TYPE_CHECKING:
    from .export.sdk import Pipeline

__all__ = ["TelemetryHandle", "flush_when_worker_exits"]

logger = logging.getLogger("glasspool")


class TelemetryHandle:
    """What ``configure()`` has set up, to be flushed or shut down.

    ``notes`` is everything that was said about it: what could not be had, what was there already.
    """

    def __init__(self, service_name: str) -> None:
        self.notes: list[str] = []
        self._service = os.environ.get("OTEL_SERVICE_NAME", "").strip() or service_name
        self._port: SharedPort | None = None
        self._port_lock = threading.RLock()
        self._asked = 0  # for this port, by the last call
        self._inherited = False  # that call was the parent's
        self._pipeline: Pipeline | None = None
        self._shut_down = False
        self._lost = 0  # by the last flush
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)
        # Workers of multiprocessing leave without atexit; their own exit functions are run instead.
        process_util.register_after_fork(self, flush_when_worker_exits)

    @property
    def prometheus_port(self) -> int | None:
        """The port on which this process's series are shown, by itself or by another one that shares it; or None."""
        if self._port is None or not self._port.shown:
            return None
        return self._port.endpoint.port if self._port.endpoint is not None else self._asked

    @property
    def may_serve(self) -> bool:
        """Whether this process can still ask for a port: it has none, or only shares the one of its parent."""
        return self._inherited or self.prometheus_port is None

    @property
    def exporting(self) -> bool:
        """Whether exporters of OpenTelemetry's SDK were set up here."""
        return self._pipeline is not None

    def force_flush(self, timeout: float = 10.0) -> bool:
        """Export everything now, within ``timeout`` seconds.

        True if all of it arrived, and no span or metric point was lost since the last flush (or the start):
        False as soon as one was thrown away because too many waited, its export failed, the collector refused it or
        telemetry was shut down. A metric export that failed loses nothing once a later one brings the totals.

        Providers that the application has set are not flushed: they are the application's to flush. What they were
        seen to lose makes this False, too.
        """
        arrived = self._pipeline is None or self._pipeline.flush(timeout)
        lost = REGISTRY.lost()
        whole = lost == self._lost
        self._lost = lost
        return arrived and whole

    def flush_for_exit(self) -> None:
        """Export everything, and stop nothing, within the seconds that ``shutdown()`` takes."""
        if self._pipeline is not None:
            self._pipeline.flush(None)

    def shutdown(self, timeout: float | None = None) -> None:
        """Export everything, within ``timeout`` seconds, then stop exports, endpoint and monitors for good. Idempotent.

        ``None`` is 5 seconds for an exporter that has ever succeeded, and 1 for one that never has: a collector that
        is not there holds up no exit. In the worker of a pool of processes it is half a second, or what
        ``GLASSPOOL_WORKER_EXIT_SECONDS`` says: whoever leaves the pool waits for all of them.
        """
        if self._shut_down:
            return
        self._shut_down = True
        loop_monitors.watch_executors(False)
        if timeout is None and worker_exit.is_worker():
            timeout = worker_exit.seconds_left()
        unsent = self._pipeline.close(timeout) if self._pipeline is not None else None
        if unsent is not None:
            spans = f"; {unsent.spans} spans were not sent" if unsent.spans else ""
            self.note(
                f"the last export did not end within {unsent.seconds:g} s: is the collector reachable? "
                f"Leaving without it{spans}"
            )
        with self._port_lock:
            self._leave_port()

    def serve(self, port: int) -> None:
        """Be shown on this port, with the other processes that share it; a note says why if that cannot be."""
        with self._port_lock:
            if not (self._inherited and self._port is not None and port == self._asked):
                self._leave_port()
                self._share(port)
            self._inherited = False

    def use(self, pipeline: Pipeline) -> None:
        """Flush and close this one from now on."""
        self._pipeline = pipeline

    def note(self, text: str, level: int = logging.WARNING, *, error: Exception | None = None) -> None:
        """Say something, and keep it."""
        self.notes.append(text)
        logger.log(level, "%s", text, exc_info=error)

    def _share(self, port: int) -> None:
        self._asked = port
        host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "").strip() or "127.0.0.1"
        try:
            self._port = SharedPort(port, host, self._service, self.note)
        except ConfigurationError as error:
            self.note(f"no Prometheus endpoint: {error}")

    def _leave_port(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def _after_fork(self) -> None:
        self._lost = 0
        self._port_lock = threading.RLock()
        if self._port is not None:  # its threads have stayed with the parent
            self._port.abandon()
            self._port = None
        if self._asked:  # any free port is its parent's alone
            self._inherited = True
            providers.first_use = self._share_again

    def _share_again(self) -> None:
        with self._port_lock:
            if self._inherited and self._port is None and not self._shut_down:
                self._share(self._asked)


def flush_when_worker_exits(handle: TelemetryHandle) -> None:
    """Have the handle shut down when this worker of multiprocessing exits."""
    process_util.Finalize(handle, handle.shutdown, exitpriority=0)
