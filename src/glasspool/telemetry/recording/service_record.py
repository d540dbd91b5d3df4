"""The services of one executor, in its record. Each update is a turn of the identity."""

from __future__ import annotations

from collections.abc import Callable

from .executor_record import ExecutorRecord

__all__ = ["ServiceRecord"]


class ServiceRecord:
    """Enters what happens to the services of one open executor."""

    def __init__(self, record: ExecutorRecord) -> None:
        self._record = record

    def starts(self, name: str) -> None:
        """A service starts for the first time."""
        self._in_turn(self._starts, name)

    def moved(self, name: str, before: str, after: str) -> None:
        """A service has changed its state. ``after`` is empty for one that has never been ready and is given up."""
        self._in_turn(self._moved, name, before, after)

    def ready(self, name: str, seconds: float) -> None:
        """A service is ready, so many seconds after the call of its function."""
        self._in_turn(self._ready, name, seconds)

    def restarts(self, name: str, error_type: str) -> None:
        """A service has ended, by an error of this type or normally (empty), and will be started again."""
        self._in_turn(self._restarts, name, error_type)

    def _in_turn(self, update: Callable[..., None], *args: object) -> None:
        if not self._record.dormant:  # else this is a forked child, where no service runs
            self._record.in_turn(update, *args)

    def _starts(self, name: str) -> None:
        self._record.services[self._record.totals.services.shown(name), "starting"] += 1

    def _moved(self, name: str, before: str, after: str) -> None:
        services, totals = self._record.services, self._record.totals.services
        shown = totals.shown(name)
        services[shown, before] -= 1
        if after == "failed":
            totals.failed[shown] += 1
        elif after:
            services[shown, after] += 1

    def _ready(self, name: str, seconds: float) -> None:
        totals = self._record.totals
        shown = totals.services.shown(name)
        totals.services.failed[shown] = 0
        self._record.measure(totals.service_ready_of(shown), seconds)

    def _restarts(self, name: str, error_type: str) -> None:
        totals = self._record.totals.services
        totals.restarted(totals.shown(name), error_type)
