"""Backend tasks that are shared: each runs several tasks of the executor, one after another (``isolate=False``).

To make a backend task, and to wait a loop turn for its first step, costs more than all else that the executor does for
a tiny task. A shared worker is made once. It runs each task's coroutine in the context of that task, from step to step.

A task must not meet what the one before it has left behind: an open cancel scope, a cancellation that was requested and
not received, a count of cancellations. A worker in which something is left ends, as the backend task of an isolated
task ends then, and another one takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from types import coroutine
from typing import Any, Protocol, cast

from glasspool._foreign.guarded import drop_top_frame, is_a

from .base import Main

__all__ = ["SharedWorkers", "SharingSpawner", "Worker", "WorkerLoop"]


class Worker:
    """One shared worker. ``task`` is the one that it runs, and ``next`` the one after it, if that is known already;
    ``coming`` says whether it was called for the waiting ones and is on its way."""

    __slots__ = ("coming", "native", "next", "task", "waiter")

    def __init__(self) -> None:
        self.coming = True
        self.native: Any = None
        self.task: Any = None
        self.next: Any = None
        self.waiter: Any = None  # the loop's own, while it sleeps


class WorkerLoop(Protocol):
    """What shared workers need of their event loop."""

    pause: Awaitable[None] | None
    """See ``Backend.pause``."""
    changes_context: bool
    """Whether the ``context`` of a backend task may be replaced: from its next step on it runs in the new one."""

    def spawn(self, main: Main, task: Any, context: Any, name: str) -> None:
        """See ``Spawner``."""

    def finished(self, task: Any) -> None:
        """See ``Spawner``."""

    def current(self) -> Any:
        """The backend task that runs, or None."""

    async def sleep(self, worker: Worker) -> None:
        """Until ``wake``."""

    def wake(self, worker: Worker) -> None:
        """End its sleep."""

    def turn(self) -> Awaitable[None]:
        """Let the loop run others; no checkpoint of anyio's."""
        ...

    def is_clean(self, native: Any) -> bool:
        """Whether this backend task is as it was when it started: see above."""
        ...


class SharedWorkers:
    """Starts workers as they are needed, at most one for each task in flight, and keeps them.

    :param main: runs one task.
    :param context: that of the workers.
    """

    def __init__(self, loop: WorkerLoop, main: Main, context: Context) -> None:
        self._loop = loop
        self._main = main
        self._context = context
        self._ready: deque[Any] = deque()  # tasks that have a slot
        self._coming = 0  # workers on their way to them
        self._idle: dict[Worker, None] = {}
        self.all: dict[Any, Worker] = {}  # all that have begun, by backend task; only this class changes it
        self._ended = False

    def hand_over(self, task: Any) -> bool:
        """The caller is a worker that has just settled its task, which gave its slot to this one: it goes on with it.
        False: the caller is something else."""
        worker = self.all.get(self._loop.current())
        if worker is None or worker.task is None or worker.task.completed is None or worker.next is not None:
            return False
        worker.next = task
        return True

    def put(self, task: Any) -> None:
        """Have a worker run the task."""
        self._ready.append(task)
        if len(self._ready) > self._coming:
            self._call_one()

    def end(self) -> None:
        """Idle workers end now, busy ones after their task: there are no more."""
        self._ended = True
        for worker in list(self._idle):
            self._wake(worker)

    def _call_one(self) -> None:
        if self._idle:
            self._wake(next(reversed(self._idle)))
        else:
            self._loop.spawn(self._work, Worker(), self._context, "glasspool worker")
            self._coming += 1

    def _wake(self, worker: Worker) -> None:
        del self._idle[worker]
        worker.coming = True
        self._coming += 1
        self._loop.wake(worker)

    async def _work(self, worker: Worker) -> None:
        loop, main, changes_context = self._loop, self._main, self._loop.changes_context
        coro: Any = None
        run: Any = None
        try:
            if loop.pause is not None:
                await loop.pause
            native = worker.native = loop.current()
            self.all[native] = worker
            own = native.context if changes_context else None
            self._coming -= 1
            worker.coming = False
            while True:
                task, worker.next = worker.next or self._waiting(), None
                if task is None:
                    if self._ended:
                        return
                    self._idle[worker] = None
                    await loop.sleep(worker)
                    self._coming -= 1
                    worker.coming = False
                    continue
                if task.completed is not None:  # it was cancelled on the way
                    continue
                worker.task = task
                task.native = native
                run = task.context.run
                coro = main(task)
                suspended = True
                try:
                    waits_for = run(coro.send, None)
                except StopIteration:
                    suspended = False
                else:
                    if changes_context:
                        native.context, run = task.context, None
                    del task
                    await _go_on(run, coro, waits_for)
                    del waits_for
                    if changes_context:
                        native.context = own
                worker.task = coro = run = task = None
                if not loop.is_clean(native):
                    return
                if not suspended:
                    await loop.turn()
        except GeneratorExit:  # destroyed with its loop: nothing can be started there
            self._ended = True
            raise
        finally:
            self._leave(worker)
            # What was raised leads to this frame, and the backend task to what was raised (see Completed.unwrap).
            coro = run = task = waits_for = native = None
            del worker

    def _leave(self, worker: Worker) -> None:
        if worker.coming:
            self._coming -= 1
        self._idle.pop(worker, None)
        self.all.pop(worker.native, None)
        self._loop.finished(worker)
        worker.task, task, worker.next = None, worker.next, None
        if task is not None:
            self._ready.appendleft(task)
        if len(self._ready) > self._coming and not self._ended:
            self._call_one()

    def _waiting(self) -> Any:
        """The task that has waited longest, or None."""
        return self._ready.popleft() if self._ready else None


class SharingSpawner:
    """What the spawners of both loops do about their shared workers, which are made when the first task asks for one.

    It is made in the context of the workers: they keep nothing of those who submit.
    """

    def __init__(self) -> None:
        self._workers: SharedWorkers | None = None
        self._context = copy_context()

    def hand_over(self, task: Any) -> bool:
        """See ``Spawner``."""
        return self._workers is not None and self._workers.hand_over(task)

    def share(self: Any, main: Main, task: Any, context: Any, name: str) -> None:
        """See ``Spawner``."""
        if self._workers is None:
            self._workers = SharedWorkers(self, main, self._context)
        self._workers.put(task)

    def end_workers(self) -> None:
        """There are no more tasks."""
        if self._workers is not None:
            self._workers.end()


@coroutine
def _go_on(run: Any, coro: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that has taken its first step, all steps by ``run``, the ``run`` of its context; None: the
    backend task itself runs in it."""
    thrown: BaseException | None = None
    sent: Any = None
    send, throw = (coro.send, coro.throw) if run is None else (partial(run, coro.send), partial(run, coro.throw))
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - passed on
                thrown = error
            if thrown is None:
                waits_for = send(sent)
                continue
            drop_top_frame(thrown)  # ours
            waits_for = throw(thrown)
            thrown = None
    except StopIteration:
        if thrown is not None and is_a(thrown, GeneratorExit):  # it was closed, and so is the worker
            raise cast("GeneratorExit", thrown) from None
    finally:
        del run, coro, send, throw, waits_for, sent, thrown  # see Completed.unwrap
