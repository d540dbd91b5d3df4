"""The nursery of an executor: it runs the backend tasks of its tasks, and two service tasks.

``serve`` runs the backend tasks. ``pace`` starts tasks that were held back, wakes for deadlines, and notices when the
nursery is cancelled from outside.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from .backend import Backend, Main, Scope, Spawner
from .closing import Closing
from .slot_limit import BURST
from .task_state import Task
from .time_limits import TimeLimits

__all__ = ["Nursery", "Owner"]

Body = Callable[[], Coroutine[Any, Any, None]]


class Owner(Protocol):
    """The engine, as its nursery sees it."""

    closing: Closing
    limits: TimeLimits

    def next_turn(self) -> None:
        """A loop turn has passed, or a queued deadline."""

    def interrupted(self, error: BaseException) -> None:
        """The nursery is being cancelled from outside."""


class Nursery:
    """Starts tasks in the executor's task group, at most ``BURST`` of them between two loop turns.

    ``base`` is the context of the services: the opener's context without its span. ``body`` runs one task.
    """

    def __init__(self, owner: Owner, backend: Backend, base: Context, body: Main) -> None:
        self._owner = owner
        self._body = body
        self._backend = backend
        self._base = base
        # All mutable state; touched on the event loop only.
        self.spawner: Spawner | None = None  # set when `serve` runs; until then tasks are held back
        self.services: set[Scope] = set()  # feeders' own; cancelled when everything is settled
        self._group: TaskGroup | None = None
        self._held_back: deque[Task] = deque()  # have a slot, wait for a loop turn to be started in
        self._burst = 0
        self._wake = anyio.Event()
        self._stop = anyio.Event()

    def open(self, group: TaskGroup) -> None:
        """``group`` was entered: run the service tasks in it."""
        self._group = group
        self._base.run(group.start_soon, self._serve)
        self._base.run(group.start_soon, self._pace)

    def start(self, task: Task) -> None:
        """Start the task that was granted a slot: now, or after a loop turn if too many have already started."""
        plan, spawner = task.plan, self.spawner
        if not plan.isolate and spawner is not None and spawner.hand_over(task):
            return  # that takes a loop turn between two tasks
        if self._burst >= BURST or spawner is None:
            self._held_back.append(task)
            self._wake.set()
            return
        self._burst += 1
        if self._burst == BURST // 2:
            self._wake.set()  # a new turn is noticed before the starts of this one are used up
        (spawner.spawn if plan.isolate else spawner.share)(self._body, task, task.context, plan.name)

    def start_service(self, body: Body, scope: Scope, context: Context) -> None:
        """Run ``body`` in the nursery, in ``context``; ``scope`` is its own cancel scope, entered by it."""
        self._owner.closing.check_open()
        assert self._group is not None, "an open executor's nursery was opened"  # noqa: S101 - for the type checker
        self.services.add(scope)
        context.run(self._group.start_soon, body)

    def service_ended(self, scope: Scope) -> None:
        """The service that was started with ``scope`` has ended and need not be cancelled."""
        self.services.discard(scope)

    def start_watch(self, body: Body) -> None:
        """Run ``body`` in the nursery, in the opener's context, until it ends by itself."""
        if self._group is not None:
            self.start_body(body, self._base.copy())

    def start_body(self, body: Body, context: Context, name: str | None = None) -> None:
        """Run ``body`` in the open nursery, in ``context``, until it ends by itself; the backend task has this name."""
        assert self._group is not None, "an open executor's nursery was opened"  # noqa: S101 - for the type checker
        context.run(partial(self._group.start_soon, body, name=name))

    def wake(self) -> None:
        """Have ``next_turn`` called in the next loop turn."""
        self._wake.set()

    def cancel(self) -> None:
        """Cancel everything in the nursery, the body of the executor's block too."""
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def end(self) -> None:
        """Everything has been settled, or is being cancelled: end the service tasks."""
        self._stop.set()
        self._wake.set()
        for scope in list(self.services):
            scope.cancel()

    async def _serve(self) -> None:
        await self._backend.serve(self._serving, self._until_stopped)

    async def _until_stopped(self) -> None:
        try:
            await self._stop.wait()
        except BaseException as error:
            if not self._stop.is_set():  # before a task can be started in a nursery that has ended
                self._owner.interrupted(error)
            raise

    def _serving(self, spawner: Spawner) -> None:
        self.spawner = spawner
        self._wake.set()  # what was submitted before is held back

    async def _pace(self) -> None:
        try:
            while not self._stop.is_set():
                deadline = self._owner.limits.wake_at()
                with anyio.CancelScope(deadline=math.inf if deadline is None else deadline):
                    await self._wake.wait()  # takes a loop turn even when it is set already
                if not self._stop.is_set():
                    self._next_turn()
        except anyio.get_cancelled_exc_class() as error:
            if not self._stop.is_set():
                self._owner.interrupted(error)
            raise

    def _next_turn(self) -> None:
        if self._wake.is_set():
            self._wake = anyio.Event()
        self._burst = 0
        while self._held_back and self._burst < BURST:
            task = self._held_back.popleft()
            if task.completed is None:
                self.start(task)
        self._owner.next_turn()
        if self._held_back:
            self._wake.set()
