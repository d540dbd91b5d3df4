"""The figures of the last ten minutes, kept in memory while somebody looks.

A thread takes a snapshot every two seconds. When nobody has looked for a minute it ends, and all is dropped.
"""

from __future__ import annotations

import bisect
import logging
import threading
import time
from array import array
from collections.abc import Callable

from .flat import Entity, Flat, SeriesKey

__all__ = ["EVERY", "IDLE", "KEPT", "History"]

logger = logging.getLogger("glasspool")

EVERY = 2.0
"""Seconds between two samples: two minutes are 60 points of a sparkline, and a snapshot takes milliseconds."""

KEPT = 600.0
"""Seconds that are kept."""

IDLE = 60.0
"""Seconds without a look after which nothing is kept."""

_PATIENCE = 5.0
"""Seconds that closing waits for a sample under way."""

_TRIMMED = 30
"""Samples that are dropped at once, so that columns are not moved for each."""


class History:
    """Columns of numbers: of each series that was ever not 0, its value in each sample.

    :param take: all numbers of all processes now.
    :param clock: monotonic seconds.
    """

    def __init__(
        self, take: Callable[[], dict[Entity, Flat]], *, clock: Callable[[], float] = time.monotonic,
        every: float = EVERY, kept: float = KEPT, idle: float = IDLE,
    ) -> None:  # fmt: skip
        self._take = take
        self._clock = clock
        self._every, self._idle = every, idle
        self._most = round(kept / every)
        self.lock = threading.RLock()  # guards all mutable state, which follows
        self.times = array("d")  # of the samples, by ``clock``
        self.columns: dict[Entity, dict[SeriesKey, array[float]]] = {}
        self._looked = 0.0
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def look(self) -> tuple[float, dict[Entity, Flat]]:
        """The instant and all numbers now. Samples are taken from the first look on."""
        found = self._take()
        with self.lock:
            now = self._looked = self._clock()
            if self._thread is None and not self._over.is_set():
                self.add(now, found)
                self._thread = threading.Thread(target=self._sample, name="glasspool-live", daemon=True)
                self._thread.start()
        return now, found

    def close(self) -> None:
        """Drop everything and take no more samples."""
        self._over.set()
        with self.lock:
            thread = self._thread
        if thread is not None:
            thread.join(_PATIENCE)

    def base(self, at: float) -> int | None:
        """The index of the last sample at or before this instant, or of the first one; None if there is none.

        The caller holds ``lock``.
        """
        return max(0, bisect.bisect_right(self.times, at) - 1) if self.times else None

    def at(self, entity: Entity, key: SeriesKey, index: int) -> float:
        """The value of a series in a sample. The caller holds ``lock``."""
        column = self.columns.get(entity, {}).get(key)
        return 0.0 if column is None else column[index]

    def _sample(self) -> None:
        try:
            while not self._over.wait(self._every):
                if self._clock() - self._looked > self._idle:
                    with self.lock:
                        if self._clock() - self._looked > self._idle:  # nobody has come in between
                            self._thread = None
                            self._drop()
                            return
                found = self._take()
                with self.lock:
                    self.add(self._clock(), found)
        except Exception:
            logger.exception("the live page keeps no history any more")
        with self.lock:
            self._thread = None
            self._drop()

    def _drop(self) -> None:
        self.times = array("d")
        self.columns = {}

    def add(self, now: float, found: dict[Entity, Flat]) -> None:
        """Add a sample. The caller holds ``lock``."""
        before = len(self.times)
        self.times.append(now)
        for entity, flat in found.items():
            columns = self.columns.setdefault(entity, {})
            for key, value in flat.items():
                column = columns.get(key)
                if column is None:
                    if not value:
                        continue
                    column = columns[key] = array("d", bytes(8 * before))
                column.append(value)
        for columns in self.columns.values():  # what is no longer there is 0
            for column in columns.values():
                if len(column) == before:
                    column.append(0.0)
        if before >= self._most + _TRIMMED:
            self._trim()

    def _trim(self) -> None:
        del self.times[:_TRIMMED]
        for entity, columns in list(self.columns.items()):
            for key, column in list(columns.items()):
                del column[:_TRIMMED]
                if not any(column):
                    del columns[key]
            if not columns:
                del self.columns[entity]
