"""A coroutine under observation: every step is passed through, its start and end are recorded.

Not an ``async def`` around it: such a wrapper never runs when its task is cancelled before the first step, and would
hide the coroutine from whoever inspects tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span

from glasspool.telemetry.recorder import TaskRecord
from glasspool.telemetry.tracing import TaskTracer

from .calls import hide_frames, ours
from .layers import submitting
from .observed import Observed

try:
    # How trio raises in a coroutine: sent, as a value.
    from outcome import Error as _TriosError
except ImportError:
    _TriosError = None  # type: ignore[assignment, misc]  # nobody sends one, then

__all__ = ["Ending", "ObservedCoroutine", "cancellation_in", "failure_text", "nursery_cancelled", "start_task"]

Ending = Callable[[BaseException], "tuple[str, str, str | None]"]
"""Outcome, cancel reason and message of a coroutine that ended with this exception."""


def cancellation_in(error: BaseException) -> BaseException | None:
    """The event loop's cancellation, if ``error`` is one or a group of nothing else (a nursery was left by it)."""
    inner: tuple[BaseException, ...] | None = getattr(error, "exceptions", None)
    if inner:
        found = [cancellation_in(each) for each in inner]
        return None if None in found else found[0]
    # trio's has no subclasses, and sys.modules may know its module no longer.
    trios = (type(error).__module__, type(error).__name__) == ("trio", "Cancelled")
    return error if trios or isinstance(error, asyncio.CancelledError) else None


def nursery_cancelled(nursery: Any) -> bool:
    """Whether what runs in this nursery of trio's is being cancelled, by its own scope or one around it."""
    return bool(getattr(getattr(nursery, "_cancel_status", None), "effectively_cancelled", False))


def failure_text(name: str, error: BaseException) -> str:
    """What is said of the sibling that failed on the spans of those that were cancelled for it. Never raises."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the user's own __str__
        text = "(no text)"
    return f"{name} failed: {type(error).__qualname__}: {text}"[:1024]


def start_task(observed: Observed, name: str, function: Any, *, span: bool = True) -> TaskRecord:
    """The record of a task that runs from now on: tasks of an event loop wait in no queue that we could see."""
    task = observed.recorder.task(name, observed.runner)
    if span:
        task.span = observed.start_span(task, function, None)
    observed.recorder.accept(task, queued=False)
    observed.recorder.begin(task)
    if task.span is not None:
        TaskTracer.begin(task.span)
    return task


class ObservedCoroutine(Coroutine[Any, Any, Any]):
    """Behaves as ``coro`` does; settles its task when it ends, however it ends."""

    __slots__ = ("__weakref__", "_coro", "_ending", "_observed", "_span", "_task", "_token")

    def __init__(self, coro: Coroutine[Any, Any, Any], observed: Observed, task: TaskRecord, ending: Ending) -> None:
        self._coro = coro
        self._observed = observed
        self._task: TaskRecord | None = task
        self._ending = ending
        self._span: Span | None = task.span
        self._token: Any = None

    @property
    def ended(self) -> bool:
        """Whether its task has been settled."""
        return self._task is None

    def send(self, value: Any) -> Any:
        if type(value) is _TriosError:
            self._look_for_request()
        inside = submitting.inside
        submitting.inside = False  # a task that starts eagerly runs within the call that made it
        if self._span is not None:
            self._make_current(self._span)
        try:
            return self._coro.send(value)
        except BaseException as error:
            self._end(error)
            raise
        finally:
            submitting.inside = inside

    def throw(self, *error: Any) -> Any:
        self._look_for_request()
        inside = submitting.inside
        submitting.inside = False
        try:
            return self._coro.throw(*error)
        except BaseException as raised:
            self._end(raised)
            raise
        finally:
            submitting.inside = inside

    def close(self) -> None:
        try:
            self._coro.close()
        finally:
            task, self._task = self._task, None
            if task is not None:
                self._observed.settle(task, "cancelled", reason="shutdown")

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def __del__(self) -> None:
        # Thrown away unfinished: the loop is gone. What it awaits is closed by its own collection.
        task = self._task
        if task is not None:
            self._task = None
            self._observed.settle(task, "cancelled", reason="shutdown")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coro, name)  # cr_frame, cr_await, gi_code, __name__ …: for those who inspect tasks

    def __repr__(self) -> str:
        return repr(self._coro)

    def _look_for_request(self) -> None:
        """An exception is raised in the coroutine: perhaps because it is asked to end."""
        recorder = self._observed.recorder
        if recorder.shape.requests and self._task is not None and cast("Any", self._ending).asked():
            recorder.ask(self._task, recorder.clock())

    def _make_current(self, span: Span) -> None:
        # In the task's own context, at its first step and for its whole life: nobody else runs in that.
        self._span = None
        self._token = otel_context.attach(trace.set_span_in_context(span))

    def _end(self, error: BaseException) -> None:
        if isinstance(error, StopIteration):
            self._settle("success")
            return
        if self._task is not None:
            outcome, reason, message = self._ending(error)
            self._settle(outcome, error if outcome == "error" else None, reason, message)
            hide_frames(error)

    def _settle(
        self, outcome: str, failure: BaseException | None = None, reason: str = "", message: str | None = None
    ) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        if self._token is not None:
            otel_context.detach(self._token)
        self._observed.settle(task, outcome, failure, reason=reason, message=message)


ours(ObservedCoroutine.send, ObservedCoroutine.throw)
