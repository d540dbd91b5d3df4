"""Policies: the part of an engine that makes what holds tasks, or runs them again, when a first task asks for it."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

from glasspool.rates import Rate

from .backend import Backend
from .closing import Closing
from .dependencies import Dependencies
from .host import ExecutorHost
from .lending import Lending
from .nursery import Nursery
from .policies.gate import Gate
from .policies.limiter import Limiter
from .queue import AdmissionQueue, Producer
from .reporter import Reporter
from .retry_reporter import RetryReporter
from .retrying import Retrying
from .settings import Settings
from .task_state import Task
from .time_limits import TimeLimits

__all__ = ["Policies"]


class Policies(abc.ABC):
    """The base of the engine. What they ask of it is in the protocols of their modules."""

    name: str
    backend: Backend
    nursery: Nursery
    reporter: Reporter
    limits: TimeLimits
    host: ExecutorHost
    closing: Closing
    queue: AdmissionQueue[Task, Producer[Task]]
    lending: Lending

    @abc.abstractmethod
    def frees_slot(self, task: Task) -> None: ...

    @abc.abstractmethod
    def dispatch(self) -> None: ...

    @abc.abstractmethod
    def crashed(self, error: BaseException) -> None: ...

    @abc.abstractmethod
    def settle(
        self, task: Task, outcome: str, value: Any = None, error: BaseException | None = None, reason: str = ""
    ) -> None: ...

    @abc.abstractmethod
    def settle_cancelled(self, task: Task, reason: str, cause: BaseException | None = None) -> None: ...

    def make_policies(self, settings: Settings) -> None:
        """Make those that the executor is made with."""
        self.gate: Gate | None = None  # what holds tasks back, where something does
        if settings.limits or settings.rates:
            self.gate = self._gate(settings.limits, settings.rates)
        self.dependencies: Dependencies | None = None  # tasks that wait for others, where there have been some
        self.retries: Retrying | None = None  # tasks that may run again, where there have been some
        self._retry_budget = settings.retry_budget

    def depending(self) -> Dependencies:
        """The tasks that wait for others; from now on there may be some."""
        if self.dependencies is None:
            self.dependencies = Dependencies(self, self.gated())
            self.host.needed = self.dependencies.of
        return self.dependencies

    def retrying(self) -> Retrying:
        """The tasks that may run again; from now on there may be some."""
        if self.retries is None:
            self.retries = Retrying(self, RetryReporter(self.reporter), self._retry_budget)
        return self.retries

    def gated(self, *, places: bool = True) -> Gate:
        """The gate; from now on there is one.

        :param places: whether what it is to hold takes places in the queue.
        """
        if places and self.queue.bound == 0:
            raise ValueError("what is held waits in the queue: max_queued must be at least 1 for this")
        if self.gate is None:
            self.gate = self._gate({}, ())
            for task in self.queue.tasks():
                self.gate.push(task)
            self.lending.order.gated()
        return self.gate

    def _gate(self, limits: Mapping[str, Limiter], rates: tuple[Rate, ...]) -> Gate:
        gate = Gate(self.name, limits, rates, self.backend, self.nursery.wake, self.reporter.was_held)
        self.reporter.gated(gate)
        self.limits.also = gate.next
        self.host.holds, self.host.limits = gate.hold_of, gate.limiter_of
        return gate
