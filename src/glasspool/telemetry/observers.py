"""Observers: plain callables that are called with every event of an executor's tasks.

Use an observer for what metrics and spans cannot do: an audit line, a test's assertion, a counter of your own. It runs
synchronously on the event loop, after the task's state has changed, so statistics are consistent inside it.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from glasspool._foreign.guarded import is_coroutine_function, log, text

__all__ = ["EventKind", "FailureCounter", "Observer", "Observers", "TaskEvent", "checked_observers"]

logger = logging.getLogger("glasspool")

EventKind = Literal["submitted", "started", "settled", "rejected"]
"""``submitted`` and ``settled`` occur once for every accepted task, ``started`` once for every task whose function is
called, ``rejected`` for calls that never became a task."""


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """An event of one task. Fields that do not apply to the event have their default.

    :param kind: ``"submitted"``, ``"started"``, ``"settled"`` or ``"rejected"``.
    :param executor: the executor's name, as in metrics and spans.
    :param type: the executor's type, such as ``"hybrid"``.
    :param task_id: number of the task in its process, from 1; 0 for ``rejected``.
    :param name: the task's name, also if metrics fold it into ``_OTHER``.
    :param runner: how the function is run, such as ``"thread"``.
    :param wait: seconds from acceptance to start, or to leaving the queue; for ``rejected`` the seconds that submit had
        blocked. None before the task has started or left the queue.
    :param duration: seconds of running; None if the function was never called.
    :param outcome: success, error, timeout or cancelled; empty unless ``settled``.
    :param error_type: the attribute ``error.type``; for ``rejected`` the reason (``queue_full``, …).
    :param reason: the reason of a cancellation (``explicit``, ``shutdown``, …); else empty.
    :param context: the task's own context, with the values that the task has set so far. It need *not* be current in
        the observer; read a variable with ``event.context[variable]``, or enter the context with
        ``event.context.run(...)``.
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
    """A callable that takes a ``TaskEvent``. Its result is ignored; if it raises, it is not called again."""

    def __call__(self, event: TaskEvent, /) -> object:
        """Handle one event. It must not block; it may submit to the executor and read its statistics.

        :param event: the event.
        """


class FailureCounter(Protocol):
    """Counts failures of observers: the interface of an executor's recorder."""

    def telemetry_failed(self, kind: str) -> None:
        """Count one failure of this kind, ``"observer"``."""


class Observers:
    """The observers of one executor. It is false if there are none, so that no event is made without a receiver.

    :param observers: the callables.
    :param failures: counts the observers that fail.
    :raises TypeError: an observer is not callable or is a coroutine function.
    """

    __slots__ = ("_failures", "_observers")

    def __init__(self, observers: Iterable[Observer], failures: FailureCounter) -> None:
        self._observers = tuple(observers)
        self._failures = failures
        for observer in self._observers:
            _check(observer)

    def __bool__(self) -> bool:
        return bool(self._observers)

    def __len__(self) -> int:
        return len(self._observers)

    def __iter__(self) -> Iterator[Observer]:
        return iter(self._observers)

    def notify(self, event: TaskEvent) -> None:
        """Call every observer. One that raises is dropped, logged once and counted; the task is not affected.

        :param event: the event.
        :raises KeyboardInterrupt, SystemExit: an observer raised it; this does not count as its failure.
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
            except BaseException:  # noqa: BLE001 - a plain call that raises CancelledError has a bug: it cancels nothing
                self._drop(observer)

    def _drop(self, observer: Observer) -> None:
        # Events caused inside the observer may have dropped it already: it is logged and counted once.
        if self._knows(observer):
            self._observers = tuple(known for known in self._observers if known is not observer)
            self._failures.telemetry_failed("observer")
            log(logger.exception, "observer %r failed and will not be called again", observer)

    def _knows(self, observer: Observer) -> bool:
        return any(known is observer for known in self._observers)


def checked_observers(value: object) -> tuple[Observer, ...]:
    """The observers that an executor was given.

    :raises TypeError: they are not an iterable of callables, or a coroutine function is among them.
    """
    if not isinstance(value, Iterable):
        raise TypeError(f"observers must be an iterable of callables, not {value!r}; write observers=[...]")
    found: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType]  # anything
    for observer in found:
        _check(observer)
    return tuple(found)


def _check(observer: object) -> None:
    """Check that this can be an observer.

    :raises TypeError: it is not callable or is a coroutine function.
    """
    if not callable(observer):
        raise TypeError(f"observers: {text(observer)} is not callable; pass a function that takes one TaskEvent")
    if is_coroutine_function(observer) or is_coroutine_function(type(observer).__call__):
        raise TypeError(
            f"observers: {text(observer)} is a coroutine function, which nobody would await; pass a plain function "
            "(it may submit the asynchronous part to the executor)"
        )
