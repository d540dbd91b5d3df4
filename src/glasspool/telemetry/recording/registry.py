"""The process's identities and event loops, and the one snapshot that every exporter reads.

``collect()`` visits each identity once, under its lock, and gives plain points; the OpenTelemetry callbacks and the
Prometheus collector only spell them. After a fork the child starts with nothing.
"""

from __future__ import annotations

import abc
import os
import weakref
from collections.abc import Callable
from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import OTHER, PROCESS, Key

from .executor_figures import ExecutorFigures
from .histograms import Holder
from .identity import Totals
from .reading import read_identity
from .series_budget import Budget
from .snapshot import Gathering, Points, Snapshot
from .turns import Turns

__all__ = ["REGISTRY", "Registry", "Source", "listen"]

# What the process itself can get wrong, at 0 from the first executor on: the caps always, the rest (but for observers,
# who belong to an executor, and the endpoint's, which are for those who share a port) where OpenTelemetry listens.
_EXPORT = tuple(
    kind for kind in catalog.FAILURE_KINDS if kind not in (*catalog.CAP_KINDS, "observer", *catalog.PORT_KINDS)
)


class Source(Holder):
    """Something besides executors that has series (the event-loop monitors)."""

    @abc.abstractmethod
    def collect(self, out: Gathering) -> None:
        """Gather its gauges and histograms."""
        ...


class Registry(Turns):
    """All identities of a process. Thread-safe; no thread waits for another lock while it holds this one's."""

    def __init__(self) -> None:
        self._recorders: weakref.WeakSet[ExecutorFigures] = weakref.WeakSet()
        self.listening: Callable[[], bool] = lambda: False  # whether OpenTelemetry does; set by a listener
        self.reset()

    def reset(self) -> None:
        """Forget everything (a forked child, or a test)."""
        super().__init__()
        self.budget = Budget()
        self._identities: dict[tuple[str, str], Totals] = {}
        self._names: dict[str, object] = {}
        self.sources: dict[type[Source], Any] = {}  # one of each kind
        self._failures = dict.fromkeys(catalog.FAILURE_KINDS, 0)
        for recorder in list(self._recorders):
            recorder.after_fork()

    def attach(self, recorder: ExecutorFigures) -> Totals:
        """The totals of this recorder's identity; beyond the caps those of the name ``_OTHER``."""
        shape, names = recorder.shape, recorder.max_task_names
        with self.lock:
            self._recorders.add(recorder)
            name, series = recorder.name, shape.series(names)
            totals = self._identities.get((name, recorder.type))
            if totals is None and not self._enter(name, series):
                self.telemetry_failed("name_cap")
                name, series = OTHER, shape.series(names, gauges=False)
                totals = self._identities.get((name, recorder.type))
                if totals is None:
                    self.budget.use(series)
            if totals is None:
                made = Totals(name, recorder.type, shape, self.budget, names)
                totals = self._identities.setdefault((name, recorder.type), made)
                if totals is not made:  # something that re-entered was faster
                    self.budget.use(-series)
            return totals

    def _enter(self, name: str, series: int) -> bool:
        mine = object()
        if self._names.setdefault(name, mine) is not mine:  # under another type
            return self.budget.take(series)
        if self.budget.enter(series):
            return True
        del self._names[name]
        return False

    def joined(self, holder: Holder) -> None:
        """Something that has series has begun to exist: tell those who hand its measurements on."""
        for listener in _listeners:
            listener(self, holder)

    def telemetry_failed(self, kind: str, count: int = 1) -> None:
        """Count failures that belong to no single executor."""
        self.take(self._fail, kind, count)

    def _fail(self, kind: str, count: int) -> None:
        self._failures[kind] += count

    def lost(self) -> int:
        """How many spans and metric points were thrown away on their way out."""
        return sum(self._failures[kind] for kind in catalog.LOSS_KINDS)

    def holders(self) -> list[Holder]:
        """Everything that has histograms now."""
        return [*list(self._identities.values()), *list(self.sources.values())]

    def look_at_live(self, reading: Callable[[ExecutorFigures], object]) -> None:
        """Call ``reading`` with each open executor's figures, in a turn of its identity."""
        for totals in list(self._identities.values()):
            for recorder in totals.live:
                recorder.catch_up()
                totals.look(reading, recorder)

    def collect(self) -> Snapshot:
        """One snapshot of every series."""
        out = Points()
        self.read(out)
        return out.snapshot()

    def read(self, out: Gathering) -> None:
        """Gather every series. Each identity is read whole, in a turn; no event loop is touched."""
        identities = list(self._identities.values())
        sources = list(self.sources.values())
        failures = dict(self._failures)
        for totals in identities:
            for recorder in totals.live:
                recorder.catch_up()
            with totals.lock:
                totals.look(read_identity, totals, out, not totals.busy)
        for source in sources:
            source.collect(out)
        expected = (*catalog.CAP_KINDS, *(_EXPORT if self.listening() else ())) if identities or sources else ()
        add = out.of({Key.EXECUTOR_NAME: PROCESS, Key.EXECUTOR_TYPE: "process"})
        for kind, count in failures.items():
            if count or kind in expected:
                add(catalog.TELEMETRY_FAILURES, count, kind)


_listeners: list[Callable[[Registry, Holder], None]] = []


def listen(listener: Callable[[Registry, Holder], None]) -> None:
    """Have ``listener`` called with the registry and each executor's identity, or other source, that joins it."""
    _listeners.append(listener)


REGISTRY = Registry()
"""The process's own registry. ``os.register_at_fork`` empties it in every forked child."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=REGISTRY.reset)
