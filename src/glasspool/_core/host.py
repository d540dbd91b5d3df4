"""The executor, for its tasks, handles and waiters: it checks callers and performs their waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from glasspool._foreign.guarded import is_a
from glasspool.errors import WrongThread
from glasspool.rates import Hold

from .backend import Backend
from .interfaces import Needs, Slots
from .task_state import CURRENT, Task, current_task
from .waits import WAITS, Wait, refuse_chain, waiting

__all__ = ["ExecutorHost"]

T = TypeVar("T")


def _nothing(_: Task) -> None:
    """Nothing is held."""


class Cancel(Protocol):
    """See ``interfaces.Host.request_cancel``."""

    def __call__(self, task: Task, reason: str, message: str | None = None) -> bool: ...


class ExecutorHost:
    """The Host of one executor's tasks (interfaces.py). Every wait for the executor or one of its tasks is its own."""

    def __init__(self, name: str, backend: Backend, slots: Slots, request_cancel: Cancel) -> None:
        self.name = name
        self.backend = backend
        self.slots = slots
        self.request_cancel = request_cancel
        # Where there is a gate, its own.
        self.holds: Callable[[Task], Hold | None] = _nothing
        self.limits: Callable[[Task], Any] = _nothing
        self._running, self._loop = backend.running, backend.loop

    def hold_of(self, task: Task) -> Hold | None:
        """See Host."""
        return self.holds(task)

    def permits(self, task: Task) -> Any:
        """See Host."""
        return self.limits(task)

    def check_caller(self, what: str) -> None:
        """See Host."""
        if self._running() is not self._loop:
            raise WrongThread(
                f"{what} on executor {self.name!r} was called from another thread or event loop than the executor's; "
                f"from a worker thread of the loop use anyio.from_thread.run(executor.submit, …)"
            )

    def is_destroying(self, error: BaseException | None) -> bool:
        """Whether a block is left because its coroutine is being destroyed where its loop does not run."""
        return is_a(error, GeneratorExit) and not self.backend.is_current()

    async def wait(
        self, what: str, body: Callable[[], Awaitable[T]], needs: Callable[[], Needs], key: object = None, *,
        closing: bool = False,
    ) -> T:  # fmt: skip
        """See Host."""
        self.check_caller(what)
        if CURRENT.get() is None or (current := current_task()) is None:
            return await body()
        return await waiting(Wait(current, self, what, needs, key, closing), body)

    async def check_waiter(self, what: str) -> None:
        """Refuse a caller that is a task of this executor, or a task that one of those waits for.

        :raises WrongThread: the executor's own event loop does not run the caller.
        :raises NestedWait: a wait of the caller for a task of this executor would close a circle.
        """
        self.check_caller(what)
        current = current_task()
        if current is not None and WAITS.chain(current, self):
            await refuse_chain(current, self, what)
