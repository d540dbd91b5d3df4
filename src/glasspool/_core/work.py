"""Work: the interface through which a pile or an iteration uses its executor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol

from glasspool.errors import TaskTimeout

from .backend import Backend, Scope
from .closing import Closing
from .interfaces import Feed, Host, Sink, Slots
from .policies.keys import Keyed
from .queue import Producer
from .task_state import Plan, Task

__all__ = ["Work"]


class WorkHost(Host, Protocol):
    """The executor, for its callers and waiters."""

    def is_destroying(self, error: BaseException | None) -> bool:
        """Whether a block is left because its coroutine is being destroyed where its loop does not run."""
        ...


class Work(Protocol):
    """Submit tasks to an executor, start a feeder in it, and learn of its closing."""

    since_yield: int
    """Submits since the last loop turn; code that submits without ``submit`` adds its own."""

    @property
    def host(self) -> WorkHost:
        """Checks callers, waits, and cancels tasks."""
        ...

    @property
    def backend(self) -> Backend:
        """The executor's event loop."""
        ...

    @property
    def closing(self) -> Closing:
        """Whether the executor takes tasks, and why not."""
        ...

    @property
    def slots(self) -> Slots:
        """The executor's slots now."""
        ...

    def plan(self, fn: Callable[..., Any], args: tuple[Any, ...] = (), /, **options: Any) -> Plan:
        """Check a function and its options.

        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        """
        ...

    def keyed(self, options: dict[str, Any]) -> Keyed | None:
        """Take ``key`` and ``cost`` out of the options of an iteration if one of them is a function of the item."""
        ...

    async def submit(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink | None, context: Context, *,
        feeding: bool = False,
    ) -> Task:  # fmt: skip
        """Accept a task, waiting for room; see ``admission.Submission.submit``."""
        ...

    def line_up(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink, context: Context,
        wake: Callable[[], object],
    ) -> Producer[Task] | None:  # fmt: skip
        """Accept a task, now or in its turn; see ``admission.Submission.line_up``."""
        ...

    def give_up(self, producer: Producer[Task], reason: str) -> None:
        """Stop waiting for room: the call is rejected for this reason."""

    def after_closing(self, sink: Sink | None) -> str:
        """The reason of a refusal after closing."""
        ...

    def out_of_time(self, producer: Producer[Task]) -> TaskTimeout:
        """The task's deadline has passed while it waited for room; what to raise."""
        ...

    def follow(self, feed: Feed) -> None:
        """Tell the iteration of changes of the number of slots, and of the closing of everything."""

    def start_feeder(self, body: Callable[[], Coroutine[Any, Any, None]], scope: Scope, context: Context) -> None:
        """Run ``body`` in the executor's nursery; ``scope`` is its own cancel scope, entered by it.

        :raises ExecutorClosed: the executor is closing.
        """

    def feeder_ended(self, scope: Scope) -> None:
        """The body that was started with ``scope`` is at its end."""

    def crashed(self, error: BaseException) -> None:
        """A source raised KeyboardInterrupt or SystemExit, and no consumer will receive it."""
