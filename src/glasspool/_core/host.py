"""The executor, for its tasks, handles and waiters: it checks callers and performs their waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from glasspool._foreign.guarded import is_a
from glasspool.errors import WrongThread
from glasspool.rates import Hold

from .backend import Backend
from .interfaces import NOTHING, Needs, Slots
from .lending import Lending
from .task_state import CURRENT, Task, current_task
from .waiting import in_steps, refuse_chain, waiting
from .waits import Wait

__all__ = ["ExecutorHost"]

T = TypeVar("T")


def _nothing(_: Task) -> None:
    """Nothing is held."""


def _none(_: Task) -> Sequence[Task]:
    """Nothing depends on anything."""
    return ()


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
        self.needed: Callable[[Task], Sequence[Task]] = _none  # where there are dependencies, their own
        self._running, self._loop = backend.running, backend.loop
        self.lending: Lending  # set by the engine

    def hold_of(self, task: Task) -> Hold | None:
        """See Host."""
        return self.holds(task)

    def permits(self, task: Task) -> Any:
        """See Host."""
        return self.limits(task)

    def needed_by(self, task: Task) -> Sequence[Task]:
        """See Host."""
        return self.needed(task)

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
        wait = Wait(current, self, what, needs, key, closing)
        perform = self.lending.lend if current.host is self else in_steps
        return await waiting(wait, partial(perform, wait, body))

    async def check_waiter(self, what: str) -> None:
        """Refuse a caller that is a task which may not wait for a new task of this executor.

        :raises WrongThread: the executor's own event loop does not run the caller.
        :raises NestedWait: a wait of the caller for such a task would close a circle, or be nested too deep.
        """
        self.check_caller(what)
        current = current_task()
        if current is None:
            return
        if current.host is self:
            self.lending.check_depth(current, what)
        else:
            await refuse_chain(Wait(current, self, what, lambda: NOTHING, None, closing=False))
