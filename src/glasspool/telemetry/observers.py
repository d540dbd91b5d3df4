"""User hooks: plain callables that are told what becomes of every task.

An observer is for what metrics and spans cannot do: an audit line, a test's assertion, a counter of one's own. It
runs synchronously on the event loop, after the task's move is complete, so statistics add up inside it.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from glasspool._foreign.guarded import is_coroutine_function, log, text

__all__ = ["EventKind", "FailureCounter", "Observer", "Observers", "TaskEvent", "check_observer"]

logger = logging.getLogger("glasspool")

EventKind = Literal["submitted", "started", "settled", "rejected"]
"""``submitted`` and ``settled`` happen once for every accepted task, ``started`` for those whose function is called;
``rejected`` is for calls that never became a task."""


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """What an observer is told. Fields that the event knows nothing of keep their default.

    ``executor``, ``type``, ``name``, ``runner``: as metrics and spans spell them, the task's name uncapped.
    ``task_id``: number of the task in its process, from 1; 0 for ``rejected``.
    ``wait``: seconds from acceptance to start, or to leaving the queue; for ``rejected`` how long submit had blocked.
    ``duration``: seconds of running, ``None`` if the function was never called.
    ``outcome``: success, error, timeout or cancelled; only when ``settled``.
    ``error_type``: the contract's ``error.type``; for ``rejected`` the reason (``queue_full``, …).
    ``reason``: who asked for a cancellation (``explicit``, ``shutdown``, …).
    ``context``: the task's own context variables, with what it has set until then. They need *not* be current in the
    observer; read one by ``event.context[variable]`` or enter them with ``event.context.run(...)``.
    """

    kind: EventKind
    executor: str
    type: str
    task_id: int = 0
    name: str = ""
    runner: str = ""
    wait: float | None = None
    duration: float | None = None
    outcome: str = ""
    error_type: str = ""
    reason: str = ""
    context: contextvars.Context | None = None


class Observer(Protocol):
    """Anything that takes a ``TaskEvent``. What it returns is ignored; if it raises, it is not called again."""

    def __call__(self, event: TaskEvent, /) -> object:
        """Be told. Must neither block nor await; may submit to the executor and read its statistics."""


class FailureCounter(Protocol):
    """Where failing observers are counted: an executor's recorder."""

    def telemetry_failed(self, kind: str) -> None:
        """Count one failure of this kind."""


class Observers:
    """The observers of one executor. False when there are none, so that nobody builds an event for nobody.

    Raises ``TypeError`` for an observer that is not callable or is a coroutine function.
    """

    __slots__ = ("_failures", "_observers")

    def __init__(self, observers: Iterable[Observer], failures: FailureCounter) -> None:
        self._observers = tuple(observers)
        self._failures = failures
        for observer in self._observers:
            check_observer(observer)

    def __bool__(self) -> bool:
        return bool(self._observers)

    def __len__(self) -> int:
        return len(self._observers)

    def __iter__(self) -> Iterator[Observer]:
        return iter(self._observers)

    def notify(self, event: TaskEvent) -> None:
        """Tell every observer. One that fails is dropped, logged once and counted; the work never notices.

        ``KeyboardInterrupt`` and ``SystemExit`` are no failures of an observer: they pass through.
        """
        # The tuple is replaced, never changed: an observer may cause further events, and those may drop one that this
        # event has not reached yet.
        observers = self._observers
        for observer in observers:
            if self._observers is not observers and not self._knows(observer):
                continue
            try:
                observer(event)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # noqa: BLE001 - a CancelledError raised by a plain call cancels nobody: its bug
                self._drop(observer)

    def _drop(self, observer: Observer) -> None:
        # Events caused inside the observer may have dropped it already: it is logged and counted once.
        if self._knows(observer):
            self._observers = tuple(known for known in self._observers if known is not observer)
            self._failures.telemetry_failed("observer")
            log(logger.exception, "observer %r failed and will not be called again", observer)

    def _knows(self, observer: Observer) -> bool:
        return any(known is observer for known in self._observers)


def check_observer(observer: object) -> None:
    """Raise ``TypeError`` for what cannot be an observer."""
    if not callable(observer):
        raise TypeError(f"observers: {text(observer)} is not callable; pass a function that takes one TaskEvent")
    if is_coroutine_function(observer) or is_coroutine_function(type(observer).__call__):
        raise TypeError(
            f"observers: {text(observer)} is a coroutine function, which nobody would await; pass a plain function "
            "(it may submit the asynchronous part to the executor)"
        )
