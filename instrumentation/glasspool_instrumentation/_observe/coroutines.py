"""An observed coroutine: it passes every step through and records the start and the end.

It is not an ``async def`` around the coroutine: such a wrapper never runs if its task is cancelled before the first
step, and would hide the coroutine from code that inspects tasks.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from glasspool._foreign.awaited import StandIn
from glasspool._foreign.guarded import class_name, is_a, leaves
from glasspool._recorded_calls import own_calls, submitting
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.recording.error_types import error_text
from glasspool.telemetry.recording.recorder import TaskRecord
from glasspool.telemetry.tracing.spans import Entered, TaskTracer, attach, capture, detach, enter

from .observation import Observed
from .thread_calls import hide_frames, ours
from .whereabouts import OfTask, begins

__all__ = [
    "EndingOf",
    "ObservedCoroutine",
    "SteppedCoroutine",
    "cancellation_in",
    "failure_text",
    "start_task",
]

EndingOf = Callable[[BaseException], Ending]
"""The ending of a coroutine that raised this exception."""


def cancellation_in(error: BaseException) -> BaseException | None:
    """The event loop's cancellation, if ``error`` is one or a group of nothing else (a nursery was left by it)."""
    members = leaves(error)
    return members[0] if all(map(_cancels, members)) else None


def _cancels(error: BaseException) -> bool:
    # trio's has no subclasses, and sys.modules may know its module no longer.
    return is_a(error, asyncio.CancelledError) or class_name(error) == ("trio", "Cancelled")


def failure_text(name: str, error: BaseException) -> str:
    """The text about a failed sibling for the spans of the tasks that were cancelled because of it. Never raises."""
    return f"{name} failed: {error_text(error)}"[:1024]


def start_task(observed: Observed, name: str, full: str, parent: Context | None, *, span: bool) -> TaskRecord:
    """The record of a task that runs from now on: tasks of an event loop wait in no visible queue."""
    task: TaskRecord = observed.recorder.task(name, observed.runner)
    if span:
        task.span = observed.start_span(task, full, parent)
    observed.recorder.accept(task, queued=False)
    observed.recorder.begin(task)
    if task.span is not None:
        TaskTracer.begin(task.span)
    return task


def _is_error_of_trios(value: Any) -> bool:
    """Does trio raise an exception in the coroutine by sending this? Its library is not imported only to be asked."""
    outcome = sys.modules.get("outcome")
    return outcome is not None and type(value) is getattr(outcome, "Error", None)


class PassedThrough(Coroutine[Any, Any, Any], OfTask, StandIn):
    """Behaves as the coroutine does that it stands around."""

    __slots__ = ("__weakref__",)

    def close(self) -> None:
        self.around.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            return self.send(None)
        except BaseException as error:
            hide_frames(error)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.around, name)  # cr_frame, cr_await, gi_code, __name__ …: for those who inspect tasks

    def __repr__(self) -> str:
        return repr(self.around)


class SteppedCoroutine(PassedThrough):
    """Makes its span current only during its own steps, since other tasks may share its context.

    A span that it makes current itself is current in its later steps. Its other changes of the context (such as
    baggage) are visible to all tasks in the context.
    """

    __slots__ = ("_span",)

    def __init__(self, coro: Coroutine[Any, Any, Any], span: Span) -> None:
        super().__init__(coro)
        self._span = span

    def send(self, value: Any) -> Any:
        entered = enter(self._span)
        try:
            return self.around.send(value)
        except BaseException as error:
            hide_frames(error)
            del value  # see ObservedCoroutine.send
            raise
        finally:
            self._leave(entered)
            del entered

    def throw(self, *error: Any) -> Any:
        entered = enter(self._span)
        try:
            return self.around.throw(*error)
        except BaseException as raised:
            hide_frames(raised)
            del error
            raise
        finally:
            self._leave(entered)
            del entered

    def _leave(self, entered: Entered) -> None:
        found = capture()
        if found is entered.context:
            detach(entered.token)
        else:
            self._span = trace.get_current_span(found)
            attach(found, entered.outside)


class ObservedCoroutine(PassedThrough):
    """Settles its task when ``coro`` ends, however it ends."""

    __slots__ = ("_ending", "_observed", "_span", "_task", "_token")

    def __init__(self, coro: Coroutine[Any, Any, Any], observed: Observed, task: TaskRecord, ending: EndingOf) -> None:
        super().__init__(coro)
        self._observed = observed
        self._task: TaskRecord | None = task
        self._ending: EndingOf | None = ending
        self._span: Span | None = task.span
        self._token: Any = None

    @property
    def ended(self) -> bool:
        """Whether its task has been settled."""
        return self._task is None

    def of_task(self) -> TaskRecord | None:
        """See OfTask."""
        return self._task

    def send(self, value: Any) -> Any:
        if value is not None and _is_error_of_trios(value):
            self._look_for_request()
        own = own_calls().enter() if submitting.inside else None  # it starts at once, within the call that made it
        if self._span is not None:
            self._make_current(self._span)
        try:
            return self.around.send(value)
        except BaseException as error:
            self._end(error)
            del value  # trio sends exceptions, which lead to this frame
            raise
        finally:
            if own is not None:
                own.leave()

    def throw(self, *error: Any) -> Any:
        self._look_for_request()
        own = own_calls().enter() if submitting.inside else None
        try:
            return self.around.throw(*error)
        except BaseException as raised:
            self._end(raised)
            del error
            raise
        finally:
            if own is not None:
                own.leave()

    def close(self) -> None:
        try:
            self.around.close()
        finally:
            self._settle(Ending.cancelled("shutdown"))

    def __del__(self) -> None:
        # Destroyed before its end: the loop is gone. The awaited object is closed by its own garbage collection.
        self._settle(Ending.cancelled("shutdown"))

    def _look_for_request(self) -> None:
        """An exception is raised in the coroutine: perhaps because it is asked to end."""
        record = self._observed.record
        if record.shape.requests and self._task is not None and cast("Any", self._ending).asked():
            record.ask(self._task, record.clock())

    def _make_current(self, span: Span) -> None:
        # In the task's own context, from its first step to its end: no other code runs in it.
        self._span = None
        self._token = attach(None, span)

    def _end(self, error: BaseException) -> None:
        if is_a(error, StopIteration):
            self._settle(SUCCESS)
            return
        if self._task is not None and self._ending is not None:
            self._settle(self._ending(error))
            hide_frames(error)

    def _settle(self, ending: Ending) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        # A reference to the coroutine (by a task, or a task's handle) keeps nothing else alive.
        token, self._token, self._ending = self._token, None, None
        if token is not None:
            detach(token)
        self._observed.settle(task, ending)


ours(PassedThrough.__next__, ObservedCoroutine.send, ObservedCoroutine.throw)
begins(ObservedCoroutine.send, ObservedCoroutine.throw)
ours(SteppedCoroutine.send, SteppedCoroutine.throw)
