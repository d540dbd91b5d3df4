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
from .export.shared_port import NO_ENDPOINT, SharedPort
from .recording.registry import REGISTRY

if TYPE_CHECKING:
    from .export.sdk import Pipeline

__all__ = ["TelemetryHandle", "flush_when_worker_exits"]

logger = logging.getLogger("glasspool")


class TelemetryHandle:
    """The telemetry that ``configure()`` has set up, to be flushed or shut down.

    ``notes`` lists the messages about it: what could not be set up, and which providers existed already.
    """

    def __init__(self, service_name: str, live_page: bool | None = None) -> None:
        self.notes: list[str] = []
        self._service = os.environ.get("OTEL_SERVICE_NAME", "").strip() or service_name
        self._live_page = live_page
        self._port: SharedPort | None = None
        self._port_lock = threading.RLock()
        self._asked = 0  # for this port, by the last call
        self._inherited = False  # that call was the parent's
        self._pipeline: Pipeline | None = None
        self._shut_down = False
        self._lost = 0  # by the last flush
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)
        # Workers of multiprocessing end without atexit; multiprocessing's own exit functions are run instead.
        process_util.register_after_fork(self, flush_when_worker_exits)

    @property
    def prometheus_port(self) -> int | None:
        """The port that shows this process's series, served by it or by a process that shares the port; or None."""
        if self._port is None or not self._port.shown:
            return None
        return self._port.endpoint.port if self._port.endpoint is not None else self._asked

    @property
    def may_serve(self) -> bool:
        """Whether this process can still request a port: it has none, or only shares its parent's."""
        return self._inherited or self.prometheus_port is None

    @property
    def exporting(self) -> bool:
        """Whether this call of ``configure()`` has set up exporters of OpenTelemetry's SDK."""
        return self._pipeline is not None

    def force_flush(self, timeout: float = 10.0) -> bool:
        """Export everything now.

        Providers that the application has set are not flushed; the application must do that. A loss that was seen in
        their logs also makes the result False.

        :param timeout: seconds that the export may take in all, default 10.
        :returns: True if everything arrived, and no span or metric point was lost since the last flush (or the start).
            False if one was dropped because too many waited, its export failed, the collector refused it or telemetry
            was shut down. A failed metric export loses nothing if a later one delivers the totals.
        """
        arrived = self._pipeline is None or self._pipeline.flush(timeout)
        lost = REGISTRY.lost()
        whole = lost == self._lost
        self._lost = lost
        return arrived and whole

    def flush_for_exit(self) -> None:
        """Export everything without stopping anything, within the time limit of ``shutdown()``."""
        if self._pipeline is not None:
            self._pipeline.flush(None)

    def shutdown(self, timeout: float | None = None) -> None:
        """Export everything, then stop exports, endpoint and monitors permanently. Idempotent.

        :param timeout: seconds that the last export may take. None (default): 5 seconds for an exporter that has ever
            succeeded and 1 for one that never has, so that a missing collector does not delay the exit. In the worker
            of a process pool it is half a second, or ``GLASSPOOL_WORKER_EXIT_SECONDS``, since leaving the pool waits
            for all its workers.
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
        """Show this process's series on this port, with the other processes that share it; a note reports a failure.

        :param port: the port; 0 is any free one.
        """
        with self._port_lock:
            if not (self._inherited and self._port is not None and port == self._asked):
                self._leave_port()
                self._share(port)
            self._inherited = False

    def use(self, pipeline: Pipeline) -> None:
        """Use this pipeline in ``force_flush()`` and ``shutdown()``."""
        self._pipeline = pipeline

    def note(self, text: str, level: int = logging.WARNING, *, error: Exception | None = None) -> None:
        """Log a message and add it to ``notes``.

        :param text: the message.
        :param level: its level in the log; default ``logging.WARNING``.
        :param error: an exception to log with it; default None.
        """
        self.notes.append(text)
        logger.log(level, "%s", text, exc_info=error)

    def _share(self, port: int) -> None:
        self._asked = port
        host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "").strip() or "127.0.0.1"
        try:
            self._port = SharedPort(port, host, self._service, self.note, self._live_page)
        except ConfigurationError as error:
            self.note(f"{NO_ENDPOINT}{error}")

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
        if self._asked:  # port 0 was the parent's alone
            self._inherited = True
            providers.first_use = self._share_again

    def _share_again(self) -> None:
        with self._port_lock:
            if self._inherited and self._port is None and not self._shut_down:
                self._share(self._asked)


def flush_when_worker_exits(handle: TelemetryHandle) -> None:
    """Have the handle shut down when this worker of multiprocessing exits."""
    process_util.Finalize(handle, handle.shutdown, exitpriority=0)
