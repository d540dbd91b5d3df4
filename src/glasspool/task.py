"""The public view of a task: the submitted call (WorkItem), its state (TaskHandle), and its outcome (Completed).

``_core/task_state.py`` keeps the state itself; a ``TaskHandle`` is a view of it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar, cast

from . import _checks as checks
from ._core.interfaces import TaskView
from ._foreign.guarded import class_name, context_of, is_a, set_context, text, traceback_of
from .rates import Hold

__all__ = ["Completed", "Outcome", "TaskHandle", "TaskState", "WorkItem", "task_of", "unless_cancelled"]

T_co = TypeVar("T_co", covariant=True)


class Outcome(str, enum.Enum):
    """How a task ended; exactly one per accepted task."""

    SUCCESS = "success"
    """The function returned."""
    ERROR = "error"
    """The function raised an exception other than a cancellation."""
    TIMEOUT = "timeout"
    """The task's own ``timeout=`` or ``deadline=`` ended it."""
    CANCELLED = "cancelled"
    """The task was cancelled, for whatever reason."""


class TaskState(enum.Enum):
    """The state of a task."""

    # Accepted, waits for a slot (queue.size). Next: ACTIVE, TIMED_OUT, CANCELLED.
    QUEUED = "queued"
    # Holds a slot from the moment that one was assigned (task.active, slot.usage). Next: any end.
    ACTIVE = "active"
    # Ended; never moves again (task.completed).
    SUCCEEDED = "success"
    FAILED = "error"
    TIMED_OUT = "timeout"
    CANCELLED = "cancelled"


_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


class WorkItem(NamedTuple):
    """The submitted call. ``id`` counts the process's tasks from 1; ``metadata`` belongs to the submitter."""

    id: int
    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    metadata: Mapping[str, Any] | None = None


class Completed(Generic[T_co]):
    """How one task ended: ``value`` if it returned, else ``error``.

    ``error`` is the task's own exception, or ``TaskTimeout`` or ``TaskCancelled``.
    """

    __slots__ = ("__weakref__", "_context", "_traceback", "error", "item", "outcome", "value")

    def __init__(self, value: T_co | None, error: BaseException | None, item: WorkItem, outcome: str) -> None:
        self.value = value
        self.error = error
        self.item = item
        self.outcome = _OUTCOMES[outcome]
        self._traceback: TracebackType | None = None if error is None else traceback_of(error)
        self._context: BaseException | None = None if error is None else context_of(error)

    def unwrap(self) -> T_co:
        """The value, or raise the error as the task left it, however often this is called.

        :raises BaseException: the task's own error, ``TaskTimeout`` or ``TaskCancelled``.
        :raises RuntimeError: from the task's ``StopIteration`` or ``StopAsyncIteration``, since raising either here
            would end the caller's loop.
        """
        error = self.error
        if error is None:
            return self.value  # type: ignore[return-value]  # typing.cast would be a call on the way of every task
        if is_a(error, (StopIteration, StopAsyncIteration)):
            raise RuntimeError(f"task {self.item.name!r} raised {class_name(error)[1]}") from error
        try:
            raise BaseException.with_traceback(error, self._traceback)
        finally:
            # Raising inside an `except` block of the caller has just set this to what the caller handles.
            set_context(error, self._context)
            # Every frame that the error passes is kept by its traceback. None of ours may lead back to the error: it
            # would live, and all that the task used with it, until the collector comes.
            del error, self

    def __repr__(self) -> str:
        what = text(self.error) if self.error is not None else class_name(self.value)[1]
        return f"<Completed {self.item.name!r} {self.outcome.value}: {what}>"


class TaskHandle(Generic[T_co]):
    """An accepted task. ``await handle`` returns its value or raises its error; ``cancel()`` asks it to end.

    Cancelling a caller that awaits a handle does not cancel the task. ``state``, ``hold``, ``done`` and ``repr`` may be
    read from any thread.
    """

    __slots__ = ("__weakref__", "_task")

    def __init__(self, task: TaskView) -> None:
        self._task = task
        task.shown_by(self)

    @property
    def id(self) -> int:
        """Number of the task in its process, from 1 (``glasspool.task.id``)."""
        return self.item.id

    @property
    def name(self) -> str:
        """``name=``, else the function's qualified name."""
        return self.item.name

    @property
    def item(self) -> WorkItem:
        """The submitted call."""
        return cast("WorkItem", self._task.item)

    @property
    def state(self) -> TaskState:
        """The task's current state."""
        return TaskState(self._task.state)

    @property
    def hold(self) -> Hold | None:
        """Why it may not start yet, though a slot were free; None if nothing but a slot is missing, or it has one."""
        return self._task.host.hold_of(self._task) if self._task.state == "queued" else None

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._task.completed is not None

    def cancel(self, message: str | None = None) -> bool:
        """Ask the task to end.

        A queued task leaves the queue at once, a running one is cancelled through its own scope, a thread is
        abandoned unless ``abandon=False``.

        :param message: free text for the span and for the ``TaskCancelled`` that waiting raises; default None.
        :returns: True if the request was recorded: the task had not ended, and this is the first request.
        :raises TypeError: ``message`` is neither a str nor None.
        :raises WrongThread: from another thread or event loop; nothing is touched then.
        """
        message = checks.message(message)
        host = self._task.host
        host.check_caller("handle.cancel")
        return host.request_cancel(self._task, "explicit", message)

    async def outcome(self) -> Completed[T_co]:
        """Wait until the task has ended and say how; never raises the task's error.

        :raises NestedWait: inside a task, where this closes a circle of waits, or is nested over 1,000 deep. A task
            of the same executor lends its slot while it waits.
        :raises WrongThread: from another thread or event loop.
        """
        task = self._task
        if task.completed is None:
            await task.host.wait("await handle", task.until_ended, task.needs, task)
        else:
            task.host.check_caller("await handle")
        return task.completed  # type: ignore[no-any-return]  # see Completed.unwrap

    def __await__(self) -> Generator[Any, Any, T_co]:
        outcome = self.outcome().__await__()
        del self  # see Completed.unwrap
        completed = yield from outcome
        try:
            if completed.outcome is Outcome.CANCELLED:
                yield from unless_cancelled().__await__()
            return completed.unwrap()
        finally:
            del completed  # likewise

    def __repr__(self) -> str:
        hold = self.hold
        held = "" if hold is None else f", held: {hold.reason}"
        if hold is not None and hold.until is not None:
            held += f" until {hold.until:.3f}"
        return f"<TaskHandle {self.id} {self.name!r} {self._task.state}{held}>"


def task_of(handle: TaskHandle[Any]) -> Any:
    """The task that the handle shows (``_core.task_state.Task``), for the rest of the package."""
    return handle._task


async def unless_cancelled() -> None:
    """Raise the cancellation of the caller, if there is one: who is cancelled is not told that the task was, too."""
    from anyio.lowlevel import checkpoint_if_cancelled  # bound late: what only looks at tasks needs no backend

    await checkpoint_if_cancelled()
