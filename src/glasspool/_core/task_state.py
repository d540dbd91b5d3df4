"""Task: the state of one task from its submission to its outcome.

Other modules read the attributes of a ``Task`` and change them only through its methods. Its states:

    new ──enqueue──▶ queued ──activate──▶ active ──settle──▶ success, error, timeout, cancelled
     └───────────────activate───────────────▲
                     queued ◀──send_back── active
                     queued ──settle──▶ timeout, cancelled; error, if an attempt has failed

While it is active, ``begin`` says that its function is about to be called, ``ask`` that it was asked to end,
``enclose`` that a cancel scope was put around it for that, and ``leave_running`` that its thread will outlive it.
``let_go`` comes last: it drops the references to the submitted function, arguments and context.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from glasspool._current import CARRIED, CurrentTask, idempotency_key
from glasspool.errors import TaskCancelled, TaskTimeout
from glasspool.retries import Retry
from glasspool.task import Completed, WorkItem
from glasspool.telemetry.recording.task_record import TaskRecord

from .interfaces import NOTHING, Host, Needs, Sink

if TYPE_CHECKING:
    from anyio import Event

__all__ = [
    "CURRENT",
    "MOVES",
    "AttemptRef",
    "Attempts",
    "CancelRequest",
    "Plan",
    "Task",
    "cancelled_error",
    "current",
    "current_task",
    "current_task_of",
    "has_ended",
    "timeout_error",
]

MOVES: dict[str, frozenset[str]] = {
    # from: to
    "new": frozenset({"queued", "active"}),
    "queued": frozenset({"active", "error", "timeout", "cancelled"}),
    "active": frozenset({"queued", "success", "error", "timeout", "cancelled"}),
    "success": frozenset(),
    "error": frozenset(),
    "timeout": frozenset(),
    "cancelled": frozenset(),
}
"""Every legal move of a task."""


class Plan:
    """How tasks are run: the checked options of one submission, or of all those of one map. Never changed later."""

    __slots__ = (
        "abandon", "after", "cost", "deadline", "isolate", "key", "label", "link", "metadata", "name", "retry",
        "runner", "runner_name", "timeout",
    )  # fmt: skip

    def __init__(self, name: str, label: str, runner: Any, runner_name: str, *, isolate: bool) -> None:
        self.name = name
        self.runner = runner  # None: a coroutine function, called on the loop
        self.runner_name = runner_name
        self.label = label  # the name, as metrics and spans show it
        self.isolate = isolate  # in a backend task of its own
        self.timeout: float | None = None
        self.deadline: float | None = None
        self.abandon = True
        self.link = False
        self.metadata: Mapping[str, Any] | None = None
        self.after: tuple[Task, ...] = ()  # what must succeed before; let go when the task is accepted
        self.key: Hashable = None  # whose limit holds for it
        self.cost = 1_000_000_000  # of rates, in billionths
        self.retry: Retry | None = None  # whether it runs again when it has failed

    def for_one(self, key: Hashable, cost: int) -> Plan:
        """The same for one task alone, with this key and cost."""
        made = Plan(self.name, self.label, self.runner, self.runner_name, isolate=self.isolate)
        made.timeout, made.deadline, made.abandon = self.timeout, self.deadline, self.abandon
        made.link, made.metadata, made.after = self.link, self.metadata, self.after
        made.key, made.cost, made.retry = key, cost, self.retry
        return made


class CancelRequest(NamedTuple):
    """The first request to end a task early: a reason of the catalog, free text, an instant of the executor's clock."""

    reason: str
    message: str | None
    at: float


class Attempts:
    """The attempts of a task that may run more than once.

    :param accepted: when it was accepted, by the recorder's clock.
    """

    __slots__ = ("accepted", "began", "context", "failed", "number", "ran", "span", "waited")

    def __init__(self, accepted: float) -> None:
        self.accepted = accepted
        self.number = 0  # of the one that runs, or has run last
        self.began = 0.0  # when that began, by the same clock
        self.waited = 0.0  # seconds until the first one began
        self.ran = 0.0  # seconds that those before have run
        self.context: Context | None = None  # the submitter's, of which each attempt gets a copy
        self.span: Any = None  # of the one that runs
        self.failed: tuple[str, BaseException] | None = None  # how the last one ended, until the next one begins


class Task:
    """One task. Written only on its executor's event loop, except ``left_running``; read from any thread."""

    # Slots, and no defaults on the class: every task reads all of these, and from a slot that takes a tenth.
    __slots__ = (
        "__weakref__", "attempts", "began", "completed", "context", "event", "handle", "host", "item", "late",
        "left_counted", "left_running", "native", "plan", "record", "request", "scope", "sink", "state",
    )  # fmt: skip

    def __init__(
        self, host: Host, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink | None, context: Context
    ) -> None:
        self.host = host
        self.plan = plan
        self.record = TaskRecord(plan.name, plan.runner_name, plan.label)
        self.item = WorkItem(self.record.id, plan.name, fn, args, plan.metadata)
        self.sink = sink
        self.context: Context | None = context
        self.state = "new"  # a key of MOVES
        self.began = False
        self.request: CancelRequest | None = None
        self.scope: Any = None  # the backend's cancel scope while the function runs, if it has one
        self.late = False  # the scope was put around the running task from outside
        self.completed: Completed[Any] | None = None
        self.event: Event | None = None  # made only when something waits for it
        self.handle: object = None  # the users' handle; kept until the end for weak references to it
        self.left_running = False  # settled, or about to be, but its thread is still busy
        self.left_counted = False  # and counted as abandoned
        self.native: Any = None  # the backend's task; written by the backend alone
        self.attempts: Attempts | None = None  # if it may run more than once

    @property
    def name(self) -> str:
        """``name=``, else the function's qualified name."""
        return self.plan.name

    # -- the moves -------------------------------------------------------------------------------------------------

    def enqueue(self) -> None:
        """Enter the queue: there is no free slot."""
        if self.state != "new":
            raise self._illegal("queued")
        self.state = "queued"

    def activate(self) -> None:
        """Take a slot."""
        if "active" not in MOVES[self.state]:
            raise self._illegal("active")
        self.state = "active"

    def settle(self, outcome: str, value: Any, error: BaseException | None) -> None:
        """End; the state does not change again."""
        if outcome not in MOVES[self.state] or outcome in ("active", "queued"):
            raise self._illegal(outcome)
        self.state = outcome
        self.completed = Completed(value, error, self.item, outcome)
        self.scope = None

    def _illegal(self, state: str) -> RuntimeError:
        return RuntimeError(f"illegal move of task {self.name!r}: {self.state} to {state}")

    def send_back(self, failed: tuple[str, BaseException], context: Context) -> None:
        """Give the slot back and be queued again, to run once more, in this context: an attempt has ended so."""
        if self.state != "active" or self.attempts is None:
            raise self._illegal("queued")
        self.state = "queued"
        self.attempts.failed = failed
        self.context = context
        self.scope = None
        self.began = self.late = False

    # -- within the active state -----------------------------------------------------------------------------------

    def begin(self, scope: Any) -> None:
        """Its function is about to be called, inside ``scope`` if that is not None."""
        self.scope = scope
        self.began = True

    def ask(self, request: CancelRequest) -> None:
        """Record the first request to end."""
        self.request = request

    def enclose(self, scope: Any) -> None:
        """A scope was put around the running task from outside; the task itself leaves it at its end."""
        self.scope = scope
        self.late = True

    @property
    def scope_cancelled(self) -> bool:
        """Whether its scope was cancelled: by a request, or else by its own timeout or deadline."""
        return self.scope is not None and self.scope.cancel_called

    # -- a thread that outlives its task ---------------------------------------------------------------------------

    def leave_running(self) -> None:
        """The task ends while its function still runs in a thread."""
        self.left_running = True

    def count_left(self) -> None:
        """The thread that goes on was counted as abandoned."""
        self.left_counted = True

    def thread_ended(self) -> bool:
        """The thread has ended (called on that thread); whether it was counted as abandoned before."""
        self.left_running = False
        return self.left_counted

    # -- its waiters -----------------------------------------------------------------------------------------------

    def shown_by(self, handle: object) -> None:
        """Users hold the task by this handle."""
        if self.completed is None:
            self.handle = handle

    async def until_ended(self) -> None:
        """Wait until the task has ended."""
        if self.completed is None:
            if self.event is None:
                from anyio import Event  # made late: a task without waiters needs no event

                self.event = Event()
            await self.event.wait()

    def needs(self) -> Needs:
        """The condition of a wait for the task's end."""
        return NOTHING if self.completed is not None else (1, (self,))

    # -- the end ---------------------------------------------------------------------------------------------------

    def forsake(self) -> None:
        """Drop the waiters without waking them: their event loop may be gone."""
        self.event = self.sink = None

    def let_go(self) -> None:
        """Drop the references to what was submitted, after everything was notified. This may run arbitrary
        finalizers."""
        self.sink = self.handle = None
        self.context = None
        if self.attempts is not None:
            self.attempts.context = self.attempts.failed = self.attempts.span = None

    def __repr__(self) -> str:
        return f"<Task {self.item.id} {self.name!r} {self.state}>"


class AttemptRef(ref[Task]):
    """A weak reference to a task, of its attempt ``number``."""

    __slots__ = ("number",)
    number: int

    def __new__(cls, task: Task, number: int) -> AttemptRef:
        """Make the reference."""
        made = super().__new__(cls, task)
        made.number = number
        return made


CURRENT: ContextVar[ref[Task] | None] = ContextVar("glasspool_current_task", default=None)
"""The task that this context belongs to, as ``current_task`` returns it; an ``AttemptRef`` if that may run more than
once. It is a weak reference, since copies of a context may be kept long after their task has ended."""


def current_task() -> Task | None:
    """The task within which the caller runs, as long as it holds its slot: until it has ended, or, if it was left
    behind in a thread, until that has. What an earlier attempt has left behind does not run within it."""
    reference = CURRENT.get()
    current = None if reference is None else reference()
    return None if current is None or has_ended(current, reference) else current


def has_ended(task: Task, reference: ref[Task] | None) -> bool:
    """Whether the task, or the attempt of it that ``reference`` is of, has ended and holds no slot."""
    if task.completed is not None and not task.left_running:
        return True
    attempts = task.attempts
    if attempts is None or type(reference) is not AttemptRef:
        return False
    return attempts.failed is not None or attempts.number != reference.number


def current() -> CurrentTask | None:
    """See ``glasspool.current_task``."""
    task = current_task()
    if task is None:
        return CARRIED.get()
    number = 1 if task.attempts is None else task.attempts.number
    return CurrentTask(task.name, number, idempotency_key(task.record.id))


def current_task_of(host: Host) -> Task | None:
    """The same, if it is a task of this executor."""
    current = current_task()
    return None if current is None or current.host is not host else current


def cancelled_error(task: Task, reason: str) -> TaskCancelled:
    """The exception that waiting for a cancelled task raises."""
    message = task.request.message if task.request is not None else None
    text = f"task {task.name!r} was cancelled ({reason})"
    return TaskCancelled(f"{text}: {message}" if message else text, reason=reason, message=message)


def timeout_error(task: Task) -> TaskTimeout:
    """The exception that waiting for a timed-out task raises."""
    if not task.began:
        return TaskTimeout(f"task {task.name!r} ran out of time before it started")
    limit = f" of {task.plan.timeout} s" if task.plan.timeout is not None else " (deadline)"
    return TaskTimeout(f"task {task.name!r} ran out of its time{limit}")
