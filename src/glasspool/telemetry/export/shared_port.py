"""The Prometheus port of ``configure()``: one process serves it, for all processes that share it.

Each process keeps its own figures, and has a thread that sends them to the serving process on request. When that one
ends, another takes the port over within about a second.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glasspool.errors import ConfigurationError
from glasspool.telemetry import prometheus
from glasspool.telemetry.live.answers import Live
from glasspool.telemetry.live.processes import Processes, tasks_line
from glasspool.telemetry.live.wsgi import beside
from glasspool.telemetry.recording.registry import REGISTRY

from .joined_scrape import Joined
from .sibling_requests import TASKS, request_on
from .snapshot_json import to_line

if TYPE_CHECKING:
    from .losses import Note
    from .siblings import Siblings

__all__ = ["NO_ENDPOINT", "SharedPort"]

NO_ENDPOINT = "no Prometheus endpoint: "
"""How the note begins that says why the port is not served."""

logger = logging.getLogger("glasspool")

_PAUSE = 1.0  # seconds between two looks whether the port is free: one system call each
_REFUSED_PAUSE = 10.0  # the same where something else has the port
_ANSWER_SECONDS = 1.0  # for sending an answer; the asking process gives up earlier


class SharedPort:
    """This process's share in a port. ``note`` is called with the reason if its series cannot be shown.

    ``live_page``: whether the live page is served beside them; None: where only this machine can reach it.

    Raises ``ConfigurationError`` when prometheus_client is not installed.
    """

    def __init__(self, port: int, host: str, service: str, note: Note, live_page: bool | None = None) -> None:
        collector = prometheus.register()
        self.endpoint: prometheus.Endpoint | None = None
        self._note = note
        self._refused = False
        self._said = False  # that it is, since the port was last had
        self._patience = 0  # refusals that are not reported: an ending process releases its lock before its port
        self._closed = False
        self._lock = threading.Lock()  # guards endpoint and _closed
        self._siblings = self._meet(port, host, service) if port else None
        own = prometheus.default_registry()
        shown = Joined(own, collector, self._siblings) if port else own  # port 0 is not shared
        self._live = None if live_page is False else Live(Processes(self._siblings))
        anywhere = bool(live_page)

        def page(scrapes: Any, port: int) -> Any:
            return beside(scrapes, self._live, host, port, anywhere=anywhere)

        self._listen: Callable[[], prometheus.Endpoint] = lambda: prometheus.listen(port, host, shown, page)
        self._take()
        self._thread: threading.Thread | None = None
        if self._siblings is not None:
            self._patience = 1
            self._thread = threading.Thread(target=self._attend, args=(self._siblings,), name="glasspool-port")
            self._thread.daemon = True
            self._thread.start()

    @property
    def shown(self) -> bool:
        """Whether a process serves this process's series, as far as it knows."""
        return self.endpoint is not None or (self._siblings is not None and not self._refused)

    def close(self) -> None:
        """Stop serving and answering; another process may take the port over."""
        with self._lock:
            self._closed = True
        if self.endpoint is not None:
            self.endpoint.close()
        if self._live is not None:
            self._live.close()
        if self._siblings is not None and self._thread is not None:
            _touch(self._siblings.path)
            self._thread.join(_PAUSE + _ANSWER_SECONDS)
            self._siblings.leave()
            for path in self._siblings.others().values():  # the port is free: one of them need not wait to see that
                _touch(path)

    def abandon(self) -> None:
        """Close what a forked child has inherited, where the threads do not exist."""
        if self.endpoint is not None:
            self.endpoint.abandon()
        if self._siblings is not None:
            self._siblings.abandon()

    def _meet(self, port: int, host: str, service: str) -> Siblings | None:
        try:
            from .siblings import Siblings
        except ImportError:  # on this platform processes cannot find each other
            return None
        try:
            return Siblings(port, host, service)
        except ConfigurationError as error:
            self._note(f"processes that share the Prometheus port {port} are not shown together: {error}")
            return None

    def _take(self) -> None:
        with self._lock:
            if self._closed or self.endpoint is not None:
                return
            if self._siblings is not None and not self._siblings.lead():
                self._refused = False  # another one serves it
                return
            try:
                self.endpoint = self._listen()
            except ConfigurationError as error:
                if self._siblings is not None:
                    self._siblings.follow()
                self._refuse(error)
                return
        if self._said:
            self._refused = self._said = False
            logger.info("the Prometheus endpoint listens now, on port %d", self.endpoint.port)

    def _refuse(self, error: ConfigurationError) -> None:
        if self._patience:
            self._patience -= 1
            return
        self._refused = True
        if not self._said:
            self._said = True
            REGISTRY.telemetry_failed("port_taken")
            again = "; tried again as long as this process lives" if self._siblings is not None else ""
            self._note(f"{NO_ENDPOINT}{error}{again}")

    def _attend(self, siblings: Siblings) -> None:
        siblings.listener.settimeout(_PAUSE)
        due = time.monotonic() + _PAUSE
        while not self._closed:
            try:
                connection, _ = siblings.listener.accept()
            except TimeoutError:
                pass
            except OSError:  # too many open files: that may end
                time.sleep(_PAUSE)
            else:
                with connection:
                    self._answer(connection, siblings)
                due = 0.0  # it may have been told that the port is free
            if time.monotonic() >= due:
                siblings.stay()
                self._take()
                due = time.monotonic() + (_REFUSED_PAUSE if self._refused else _PAUSE)

    def _answer(self, connection: socket.socket, siblings: Siblings) -> None:
        try:
            request = request_on(connection)
            if not request:  # it was only woken
                return
            connection.settimeout(_ANSWER_SECONDS)
            connection.sendall(tasks_line(siblings.number) if request == TASKS else to_line(REGISTRY.collect()))
        except OSError:  # the asking process has ended
            pass
        except Exception:
            logger.exception("the figures of this process could not be handed to the one that serves them")


def _touch(path: Path) -> None:
    """Wake the thread that listens there."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        connection.connect_ex(str(path))
