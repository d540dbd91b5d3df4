"""Limiter: what may run of the tasks of one key: its permits, its rates, and a pause. Plain and synchronous.

One may be shared by several executors of one event loop. Each of them has a *lane* of queued tasks here; all lanes are
told when something has changed for them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple, Protocol
from weakref import ref

from glasspool._core.backend import Backend
from glasspool.errors import WrongThread
from glasspool.rates import Rate

from .meter import ONE, Meter, billionths, nanoseconds

__all__ = ["Block", "Lane", "Limiter", "name_of"]


class Block(NamedTuple):
    """Why nothing may run now: ``hold.reason``, and the instant in nanoseconds until which, where that is known."""

    reason: str
    until: int | None


class Lane(Protocol):
    """The queued tasks of one executor that one limiter holds back."""

    def changed(self) -> None:
        """More may run now, or less."""


class Limiter:
    """The state behind a ``glasspool.Limit``, or of the rates and the pause of a whole executor.

    :param in_flight: how many may run at a time; None for no bound.
    :param rates: how many may start, or how much cost may be spent, over time.
    :param max_queued: how many queue places its tasks may have in each executor; None for no bound.
    """

    __slots__ = (
        "__weakref__", "_backend", "_keys", "_loop", "_pid", "_users", "_uses", "holders", "in_flight", "lanes",
        "max_queued", "meters", "paused_until", "rates",
    )  # fmt: skip

    def __init__(self, in_flight: int | None, rates: tuple[Rate, ...], max_queued: int | None = None) -> None:
        self.in_flight = in_flight
        self.rates = rates
        self.max_queued = max_queued
        self._keys: dict[Hashable, Limiter] = {}
        self._uses = 0  # lanes that were made for it, if it is that of a key
        self._users = 0  # open executors
        self._loop: ref[object] | None = None
        self._backend: Backend | None = None  # while an executor is open
        self._pid = 0
        self._start()

    def _start(self) -> None:
        self.meters = [Meter(rate.count, rate.per, rate.burst) for rate in self.rates]
        self.paused_until: int | None = None
        self.lanes: dict[Lane, None] = {}  # those with queued tasks
        self.holders: dict[Any, None] = {}  # tasks that have a permit

    # -- whose it is -----------------------------------------------------------------------------------------------

    def opened(self, backend: Backend) -> bool:
        """An executor that uses it opens on this event loop. Returns whether it may: all must be of one loop."""
        known = None if self._loop is None else self._loop()
        if known is not backend.loop or self._pid != os.getpid():
            if self._users and self._pid == os.getpid() and known is not None and not _is_closed(known):
                return False
            self._loop, self._pid, self._users = ref(backend.loop), os.getpid(), 0
            self._keys.clear()
            self._start()  # instants of another loop say nothing here, and its tasks hold nothing
        self._users += 1
        self._backend = backend
        return True

    def closed(self) -> None:
        """An executor that uses it has closed."""
        self._users -= 1
        if not self._users:
            self._backend = None

    def of_key(self, key: Hashable) -> Limiter:
        """One with the same bounds for this key alone, until ``drop_key`` was called as often."""
        found = self._keys.get(key)
        if found is None:
            found = self._keys[key] = Limiter(self.in_flight, self.rates, self.max_queued)
        found._uses += 1
        return found

    def drop_key(self, key: Hashable, limiter: Limiter) -> None:
        """The one that was made for this key is used once less."""
        limiter._uses -= 1
        if not limiter._uses and self._keys.get(key) is limiter:
            del self._keys[key]

    # -- what may run ----------------------------------------------------------------------------------------------

    def block(self, cost: int, now: int) -> Block | None:
        """What keeps a task of this cost from starting now; None if nothing does."""
        if self.paused_until is not None:
            if now < self.paused_until:
                return Block("pause", self.paused_until)
            self.paused_until = None
        if self.in_flight is not None and len(self.holders) >= self.in_flight:
            return Block("limit", None)
        until = 0
        for meter, rate in zip(self.meters, self.rates, strict=True):
            until = max(until, meter.ready_at(cost if rate.of == "cost" else ONE))
        return Block("rate", until) if until > now else None

    @property
    def used(self) -> int:
        """Permits that are held."""
        return len(self.holders)

    def claim(self, task: object, cost: int, now: int) -> None:
        """The task, of this cost, starts now: it takes a permit, and spends of every rate."""
        self.holders[task] = None
        for meter, rate in zip(self.meters, self.rates, strict=True):
            meter.claim(cost if rate.of == "cost" else ONE, now)

    def release(self, task: object) -> None:
        """The task has ended, with its thread: its permit is free, if it has one."""
        if task in self.holders:
            del self.holders[task]
            if self.in_flight is not None:
                self._tell()

    def pause(self, until: int) -> None:
        """Nothing starts before this instant; it replaces an earlier pause."""
        self.paused_until = until
        self._tell()

    def resize(self, in_flight: int | None, rates: tuple[Rate, ...]) -> None:
        """Other bounds from now on, also for the keys. A rate that stays in its place keeps what was spent.

        :raises WrongThread: an executor uses it on another thread or event loop than the caller's.
        """
        backend = self._backend
        if backend is not None and not backend.is_current():
            raise WrongThread(
                "resize on a Limit was called from another thread or event loop than that of the executors that use it"
            )
        self._resize(in_flight, rates, 0 if backend is None else nanoseconds(backend.now()))

    def _resize(self, in_flight: int | None, rates: tuple[Rate, ...], now: int) -> None:
        before = self.meters
        self.in_flight = in_flight
        self.meters = [Meter(rate.count, rate.per, rate.burst) for rate in rates]
        for place, (old, rate) in enumerate(zip(before, rates, strict=False)):
            if rate.of == self.rates[place].of:
                old.resize(rate.count, rate.per, rate.burst, now)
                self.meters[place] = old
        self.rates = rates
        self._tell()
        for of_key in list(self._keys.values()):
            of_key._resize(in_flight, rates, now)

    def keys(self) -> list[Limiter]:
        """Those that it has made for keys, and that are used. From any thread."""
        return list(self._keys.values())

    def available(self, now: int) -> float:
        """How many tasks of cost 1 could start now. From any thread."""
        if self.paused_until is not None and now < self.paused_until:
            return 0.0
        free = [meter.available(now) for meter in self.meters]
        if self.in_flight is not None:
            free.append(float(max(0, self.in_flight - len(self.holders))))
        return min(free, default=math.inf)

    def idle(self, now: int) -> bool:
        """Whether it could be forgotten: a new one would allow the same."""
        if self.holders or self.lanes or (self.paused_until is not None and now < self.paused_until):
            return False
        return all(meter.rests(now) for meter in self.meters)

    def most(self) -> tuple[int, Rate] | None:
        """The highest cost that a task may have, and the rate that says so; None if none counts costs."""
        bounds = [(billionths(rate.burst), rate) for rate in self.rates if rate.of == "cost"]
        return min(bounds, key=lambda found: found[0], default=None)

    def _tell(self) -> None:
        for lane in list(self.lanes):
            lane.changed()


def name_of(key: Hashable, limits: Mapping[str, Limiter]) -> str | None:
    """The configured name of the limit that holds for this key; None if there is none."""
    name = str.__str__(key) if isinstance(key, str) else "*"
    return name if name in limits else "*" if "*" in limits else None


def _is_closed(loop: Any) -> bool:
    return bool(getattr(loop, "is_closed", bool)())
