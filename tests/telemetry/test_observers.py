"""Observers get every event, and their failures break nothing."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import logging

import pytest

from glasspool.telemetry.observers import Observers, TaskEvent

EVENT = TaskEvent("settled", "mail", "hybrid", 7, "send", "inline", wait=0.5, duration=1.5, outcome="success")


class Failures:
    def __init__(self) -> None:
        self.kinds: list[str] = []

    def telemetry_failed(self, kind: str) -> None:
        self.kinds.append(kind)


def test_every_observer_gets_the_same_event_in_order():
    seen = []
    failures = Failures()
    observers = Observers([lambda e: seen.append(("a", e)), lambda e: seen.append(("b", e))], failures)
    observers.notify(EVENT)
    assert seen == [("a", EVENT), ("b", EVENT)]
    assert failures.kinds == []
    assert len(observers) == 2


def test_no_observers_are_false():
    assert not Observers([], Failures())
    assert Observers([print], Failures())


@pytest.mark.parametrize("error", [ValueError("broken"), asyncio.CancelledError(), GeneratorExit()])
def test_a_failing_observer_is_dropped_logged_once_and_counted(caplog, error):
    def broken(event):
        calls.append("broken")
        raise error

    calls: list[str] = []
    failures = Failures()
    observers = Observers([broken, lambda e: calls.append("good")], failures)
    with caplog.at_level(logging.ERROR, "glasspool"):
        observers.notify(EVENT)
        observers.notify(EVENT)
    assert calls == ["broken", "good", "good"]
    assert failures.kinds == ["observer"]
    assert [record.getMessage() for record in caplog.records] == [
        f"observer {broken!r} failed and will not be called again"
    ]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_through_and_drop_nobody(interrupt):
    def interrupted(event):
        raise interrupt

    failures = Failures()
    observers = Observers([interrupted], failures)
    with pytest.raises(interrupt):
        observers.notify(EVENT)
    assert len(observers) == 1
    assert failures.kinds == []


def test_an_observer_may_cause_events_and_fails_once_however_deep(caplog):
    depth = 0

    def recursive(event):
        nonlocal depth
        depth += 1
        if depth < 3:
            observers.notify(EVENT)
        raise ValueError(depth)

    failures = Failures()
    observers = Observers([recursive], failures)
    observers.notify(EVENT)
    assert depth == 3
    assert failures.kinds == ["observer"]
    assert not observers
    assert len(caplog.records) == 1


def test_the_tasks_context_is_handed_over_not_entered():
    request = contextvars.ContextVar[str]("request")
    context = contextvars.copy_context()
    context.run(request.set, "r1")
    seen = []

    def observer(event):
        seen.append((event.context[request], request.get(None)))

    Observers([observer], Failures()).notify(dataclasses.replace(EVENT, context=context))
    assert seen == [("r1", None)]


def test_events_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EVENT.outcome = "error"  # type: ignore[misc]  # that it cannot be set is the test
    assert not hasattr(EVENT, "__dict__")


async def _coroutine_function(event):
    raise AssertionError("never awaited")


class _AsyncCallable:
    async def __call__(self, event):
        raise AssertionError("never awaited")


@pytest.mark.parametrize("observer", [_coroutine_function, _AsyncCallable(), functools.partial(_coroutine_function)])
def test_a_coroutine_function_is_refused(observer):
    with pytest.raises(TypeError, match=r"observers: .* is a coroutine function, which nobody would await"):
        Observers([observer], Failures())


def test_what_is_not_callable_is_refused():
    with pytest.raises(TypeError, match=r"observers: 42 is not callable; pass a function that takes one TaskEvent"):
        Observers([42], Failures())  # type: ignore[list-item]  # that it is refused is the test
