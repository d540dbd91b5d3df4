"""One task: what was asked for (WorkItem), where it stands (TaskHandle), how it ended (Completed).

State moves in one place, ``TaskHandle._move``, along ``_MOVES``; everything else derives from it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Mapping
from contextvars import Context, ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast
from weakref import ref

from . import _checks as checks
from ._core.interfaces import NOTHING
from ._foreign.guarded import class_name, context_of, is_a, set_context, text, traceback_of
from .errors import TaskCancelled, TaskTimeout

if TYPE_CHECKING:
    from anyio import Event

    from ._core.interfaces import Host, Needs, Sink

__all__ = [
    "CURRENT",
    "CancelRequest",
    "Completed",
    "Outcome",
    "Plan",
    "TaskHandle",
    "TaskState",
    "WorkItem",
    "current_task",
    "unless_cancelled",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Outcome(str, enum.Enum):
    """How a task ended; exactly one per accepted task."""

    SUCCESS = "success"
    """The function returned."""
    ERROR = "error"
    """The function raised, a cancellation excepted."""
    TIMEOUT = "timeout"
    """The task's own ``timeout=`` or ``deadline=`` ended it."""
    CANCELLED = "cancelled"
    """Cancelled, whoever asked."""


class TaskState(enum.Enum):
    """Where a task stands."""

    # Accepted, waits for a slot (queue.size). Next: ACTIVE, TIMED_OUT, CANCELLED.
    QUEUED = "queued"
    # Holds a slot from the moment that one was assigned (task.active, slot.usage). Next: any end.
    ACTIVE = "active"
    # Ended; never moves again (task.completed).
    SUCCEEDED = "success"
    FAILED = "error"
    TIMED_OUT = "timeout"
    CANCELLED = "cancelled"


_MOVES: dict[str, frozenset[str]] = {
    "new": frozenset({"queued", "active"}),
    "queued": frozenset({"active", "timeout", "cancelled"}),
    "active": frozenset({"success", "error", "timeout", "cancelled"}),
}
_ENDED: frozenset[str] = frozenset()
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


class WorkItem(NamedTuple):
    """What was submitted. ``id`` counts the process's tasks from 1; ``metadata`` is the submitter's own."""

    id: int
    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    metadata: Mapping[str, Any] | None = None


class Completed(Generic[T_co]):
    """How one task ended: ``value`` if it returned, else ``error``.

    ``error`` is the task's own exception, or :class:`TaskTimeout` or :class:`TaskCancelled`.
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

        A ``StopIteration`` or ``StopAsyncIteration`` is raised as ``RuntimeError`` from it, since raising either
        here would end the caller's loop.
        """
        error = self.error
        if error is None:
            return cast("T_co", self.value)
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


class Plan:
    """How tasks are run: the checked options of one submission, or of all those of one map."""

    __slots__ = ("abandon", "deadline", "label", "link", "metadata", "name", "runner", "runner_name", "timeout")

    def __init__(self, name: str, label: str, runner: Any, runner_name: str) -> None:
        self.name = name
        self.label = label  # the name as metrics show it
        self.runner = runner  # None: a coroutine function, called on the loop
        self.runner_name = runner_name
        self.timeout: float | None = None
        self.deadline: float | None = None
        self.abandon = True
        self.link = False
        self.metadata: Mapping[str, Any] | None = None


class CancelRequest(NamedTuple):
    """The first request to end a task early: a reason of the contract, free text, an instant of its clock."""

    reason: str
    message: str | None
    at: float


class TaskHandle(Generic[T_co]):
    """An accepted task. ``await handle`` gives its value or raises its error; ``cancel()`` asks it to end.

    Cancelling whoever awaits a handle does not cancel the task. ``state``, ``done`` and ``repr`` may be read from
    any thread.
    """

    # Slots, and no defaults on the class: every task reads all of these, and from a slot that takes a tenth.
    __slots__ = (
        "__weakref__", "_began", "_completed", "_context", "_event", "_host", "_item", "_late", "_left_counted",
        "_left_running", "_native", "_plan", "_record", "_request", "_scope", "_sink", "_state",
    )  # fmt: skip

    def __init__(
        self, host: Host, item: WorkItem, plan: Plan, context: Context, sink: Sink | None, record: Any
    ) -> None:  # fmt: skip
        # All of them are written on the event loop only; state and completed may be read from anywhere.
        self._host = host
        self._item = item
        self._plan = plan
        self._context: Context | None = context
        self._sink = sink
        self._record = record  # telemetry's own view of the task
        self._state = "new"  # a key of _MOVES or an outcome
        self._completed: Completed[T_co] | None = None
        self._request: CancelRequest | None = None
        self._scope: Any = None  # the backend's cancel scope while the function runs, if it has one
        self._late = False  # the scope was put around the running task from outside
        self._native: Any = None  # the backend's task, where the spawner knows it
        self._began = False
        self._left_running = False  # settled, but its thread is still busy
        self._left_counted = False  # and counted as abandoned
        self._event: Event | None = None  # made only when someone really waits

    @property
    def id(self) -> int:
        """Number of the task in its process, from 1 (``glasspool.task.id``)."""
        return self._item.id

    @property
    def name(self) -> str:
        """``name=``, else the function's qualified name."""
        return self._item.name

    @property
    def item(self) -> WorkItem:
        """What was submitted."""
        return self._item

    @property
    def state(self) -> TaskState:
        """Where the task stands now."""
        return TaskState(self._state)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._completed is not None

    def cancel(self, message: str | None = None) -> bool:
        """Ask the task to end; True if the request was recorded: it had not ended and this is the first request.

        A queued task leaves the queue at once, a running one is cancelled through its own scope, a thread is
        abandoned unless ``abandon=False``. ``message`` is free text for the span.

        :raises WrongThread: from another thread or event loop; nothing is touched then.
        """
        message = checks.message(message)
        self._host.check_caller("handle.cancel")
        return self._host.request_cancel(self, "explicit", message)

    async def outcome(self) -> Completed[T_co]:
        """Wait until the task has ended and say how; never raises the task's error.

        :raises NestedWait: inside a task, where this closes a circle of waits.
        :raises WrongThread: from another thread or event loop.
        """
        if self._completed is None:
            await self._host.wait("await handle", self._ended().wait, self._needs, self)
        else:
            self._host.check_caller("await handle")
        return cast("Completed[T_co]", self._completed)

    def _ended(self) -> Event:
        """What is set when the task ends, if it has not ended yet."""
        if self._event is None:
            from anyio import Event  # bound late: tasks that nobody waits for need no backend

            self._event = Event()
        return self._event

    async def _until_ended(self) -> None:
        if self._completed is None:
            await self._ended().wait()

    def _needs(self) -> Needs:
        return NOTHING if self._completed is not None else (1, (self,))

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

    def _move(self, state: str) -> None:
        if state not in _MOVES.get(self._state, _ENDED):
            raise RuntimeError(f"illegal move of task {self.name!r}: {self._state} to {state}")
        self._state = state

    def __repr__(self) -> str:
        return f"<TaskHandle {self.id} {self.name!r} {self._state}>"


CURRENT: ContextVar[ref[TaskHandle[Any]] | None] = ContextVar("glasspool_current_task", default=None)
"""The task that this context belongs to, as ``current_task`` gives it. Referred to weakly: contexts are copied, and
kept by whoever likes, long after their task has ended."""


async def unless_cancelled() -> None:
    """Raise the cancellation of the caller, if there is one: who is cancelled is not told that the task was, too."""
    from anyio.lowlevel import checkpoint_if_cancelled  # bound late, as above

    await checkpoint_if_cancelled()


def current_task() -> TaskHandle[Any] | None:
    """The task within which the caller runs, as long as it holds its slot: until it has ended, or, if it was left
    behind in a thread, until that has."""
    reference = CURRENT.get()
    current = None if reference is None else reference()
    return None if current is None or (current._completed is not None and not current._left_running) else current


def cancelled_error(item: WorkItem, request: CancelRequest | None, reason: str) -> TaskCancelled:
    """What waiting for a cancelled task raises."""
    message = request.message if request is not None else None
    text = f"task {item.name!r} was cancelled ({reason})"
    return TaskCancelled(f"{text}: {message}" if message else text, reason=reason, message=message)


def timeout_error(item: WorkItem, timeout: float | None, began: bool) -> TaskTimeout:
    """What waiting for a task that ran out of time raises."""
    if not began:
        return TaskTimeout(f"task {item.name!r} ran out of time before it started")
    limit = f" of {timeout} s" if timeout is not None else " (deadline)"
    return TaskTimeout(f"task {item.name!r} ran out of its time{limit}")
