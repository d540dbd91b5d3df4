"""Supervision: the runs of one service, one after another, from its start to its end.

    starting ──started()──▶ running ──ends──▶ backoff ──▶ starting …
        └─────────▶ stopped, failed ◀─────────┘

Each run is a backend task in the executor's nursery, shielded: what cancels the nursery does not reach it, so that the
services can be ended after the tasks, the latest first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from functools import partial
from typing import Any, Protocol
from weakref import ref

import anyio

from glasspool._foreign.guarded import interrupt_in, is_a, traceback_of
from glasspool.errors import NestedWait

from .backend import Backend, Scope, split_cancellation, to_the_end
from .interfaces import Host
from .restarts import Restarts
from .task_state import CURRENT

__all__ = ["Owner", "Supervision", "current_service"]


class Owner(Protocol):
    """The executor's services, as one of them sees them."""

    @property
    def host(self) -> Host:
        """The executor."""
        ...

    @property
    def backend(self) -> Backend:
        """The executor's event loop."""
        ...

    def run(self, body: Callable[[], Coroutine[Any, Any, None]], context: Context, name: str) -> None:
        """Run ``body`` as a backend task in the nursery."""

    def moved(self, service: Supervision, before: str) -> None:
        """The service has changed its state, which was ``before``."""

    def ready(self, service: Supervision, seconds: float) -> None:
        """It is ready, so long after the call of its function."""

    def restarts(self, service: Supervision, error: BaseException | None, wait: float) -> None:
        """It has ended, by an error or normally, and will be started again after so many seconds."""

    def went(self, service: Supervision) -> None:
        """It was cancelled by nobody who has told the executor."""

    def failed(self, service: Supervision, error: BaseException) -> None:
        """It has ended too often: everything ends."""

    def crashed(self, error: BaseException) -> None:
        """It has raised KeyboardInterrupt or SystemExit: everything ends."""

    def ended(self, service: Supervision) -> None:
        """It will not run again."""


_MOVES: dict[str, frozenset[str]] = {
    # from: to
    "starting": frozenset({"running", "backoff", "stopped", "failed"}),
    "running": frozenset({"backoff", "stopped", "failed"}),
    "backoff": frozenset({"starting", "stopped"}),
    "stopped": frozenset(),
    "failed": frozenset(),
}
"""Every legal move of a service."""

_SERVICE: ContextVar[ref[Supervision] | None] = ContextVar("glasspool_current_service", default=None)


def current_service() -> Supervision | None:
    """The service within which the caller runs; None within a task that the service has submitted."""
    return _context_of() if CURRENT.get() is None else None


def _context_of() -> Supervision | None:
    """The service to whose context the caller's belongs: the caller may be a task that it has submitted."""
    reference = _SERVICE.get()
    return None if reference is None else reference()


class Readiness:
    """The ``task_status`` of one run."""

    def __init__(self, service: Supervision, run: int) -> None:
        self._service = service
        self._run = run

    def started(self, value: Any = None) -> None:
        """See ``anyio.abc.TaskStatus.started``."""
        self._service.started(self._run, value)


class Supervision:
    """One service. Touched on the event loop only; ``state`` and ``value`` are read from any thread."""

    def __init__(
        self, owner: Owner, name: str, function: Callable[..., Awaitable[object]], args: tuple[Any, ...],
        context: Context, restarts: Restarts,
    ) -> None:  # fmt: skip
        self.owner = owner
        self.name = name
        context.run(CURRENT.set, None)  # what it waits for is no wait of the task that has started it
        context.run(_SERVICE.set, ref(self))
        self._restarts = restarts
        # All mutable state.
        self.state = "starting"
        self.value: Any = None  # given to the latest started()
        self.error: BaseException | None = None  # raised by its end, and not raised to a caller yet
        self.was_ready = False  # in some run
        self._call: tuple[Callable[..., Awaitable[object]], tuple[Any, ...], Context] | None = (function, args, context)
        self._scope: Scope = anyio.CancelScope(shield=True)  # of the current run
        self._run_number = 0
        self._began = 0.0
        self._ready_at: float | None = None  # in the current run
        self._asked = False  # to end
        self._awaits: list[Supervision] = []  # whose ends it waits for, once for each call
        self._first = anyio.Event()  # it was ready once, or has ended
        self._ended = anyio.Event()

    @property
    def ended(self) -> bool:
        """Whether it will not run again."""
        return not _MOVES[self.state]

    # -- for those who start and stop it -------------------------------------------------------------------------------

    def start(self, wait: float = 0.0) -> None:
        """Start the next run, after so many seconds."""
        assert self._call is not None, "it has not ended"  # noqa: S101 - for the type checker
        function, args, context = self._call
        self._run_number += 1
        self._ready_at = None
        self._scope = anyio.CancelScope(shield=True)
        call = partial(function, task_status=Readiness(self, self._run_number))
        self.owner.run(partial(self._run, self._scope, wait, call, args), context.copy(), self.name)

    async def until_ready(self) -> None:
        """Wait for the end of the first start. If the caller is cancelled meanwhile, so is the service.

        :raises BaseException: what the service has raised instead of becoming ready.
        """
        try:
            with self._awaited():
                try:
                    await self._first.wait()
                except BaseException:
                    self.ask()
                    await self.until_ended()
                    self._raise_error()
                    raise
            self._raise_error()
        finally:
            del self  # see Completed.unwrap

    def ask(self) -> None:
        """Cancel it, for good."""
        if not self._asked:
            self._asked = True
            self._scope.cancel()

    async def until_ended(self) -> None:
        """Wait until it has ended, whatever cancels the caller."""
        await to_the_end(self._ended.wait)

    async def stop(self) -> None:
        """See ``Service.stop``."""
        self.owner.host.check_caller("service.stop")
        self._refuse_circle()
        self.ask()
        try:
            with self._awaited():
                await self.until_ended()
            self._raise_error()
        finally:
            del self  # see Completed.unwrap

    @contextmanager
    def _awaited(self) -> Generator[None, None, None]:
        """The caller waits for the end, within another service or outside of all."""
        caller = _context_of()
        if caller is None:
            yield
            return
        caller._awaits.append(self)
        try:
            yield
        finally:
            caller._awaits.remove(self)

    def _refuse_circle(self) -> None:
        """Refuse a wait for the end within a service whose own end this one waits for: neither could be cancelled.

        :raises NestedWait: it is such a wait.
        """
        caller = _context_of()
        if caller is None:
            return
        path: dict[Supervision, tuple[str, ...]] = {self: (self.name,)}
        found: list[Supervision] = [self]
        for service in found:
            if service is caller:  # it may wait for its tasks, and what waits here for its end cannot be cancelled
                ends = ", which waits for ".join(f"the end of {name!r}" for name in path[service])
                what = "its own end" if self is caller else ends
                raise NestedWait(
                    f"service {caller.name!r}, or a task that it has submitted, waits for {what}: return from its "
                    f"function, or have somebody else stop it"
                )
            for awaited in service._awaits:
                if awaited not in path:
                    path[awaited] = (*path[service], awaited.name)
                    found.append(awaited)

    def _raise_error(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            try:
                raise BaseException.with_traceback(error, traceback_of(error))
            finally:
                del error, self  # see Completed.unwrap

    # -- a run ---------------------------------------------------------------------------------------------------------

    async def _run(
        self, scope: Scope, wait: float, call: Callable[..., Awaitable[object]], args: tuple[Any, ...]
    ) -> None:
        error: BaseException | None = None
        try:
            with scope:
                if wait:
                    await anyio.sleep(wait)
                if not self._asked:
                    self._began = self.owner.backend.clock()
                    self._move("starting")
                    if self.owner.backend.call is None:
                        await call(*args)
                    else:
                        await self.owner.backend.call(call, args)
        except BaseException as raised:  # noqa: BLE001 - how it has ended
            error = raised
        try:
            if self.owner.backend.is_current():
                self._end_run(error)
            elif error is not None and is_a(error, GeneratorExit):  # its loop is gone
                raise error
        finally:
            del error, call, args, self  # see Completed.unwrap

    def started(self, run: int, value: Any) -> None:
        """Its function has called ``started`` in this run."""
        self.owner.host.check_caller("task_status.started")
        if run != self._run_number or self.ended or self.state == "backoff":
            raise RuntimeError(f"task_status.started() of service {self.name!r} was called after that run has ended")
        if self._ready_at is not None:
            raise RuntimeError(f"task_status.started() of service {self.name!r} was called twice in one run")
        self.value = value
        self._ready_at = now = self.owner.backend.clock()
        self.was_ready = True
        self._move("running")
        self.owner.ready(self, now - self._began)
        self._first.set()

    def _end_run(self, error: BaseException | None) -> None:
        cancelled, rest = (None, None) if error is None else split_cancellation(error)
        if error is None and self._ready_at is None and not self._asked:
            rest = RuntimeError(
                f"service {self.name!r} has returned without calling task_status.started(): call it when the service "
                f"is ready, and return when it has ended"
            )
        try:
            if self._asked or not self.was_ready:
                self._end("failed" if rest is not None and not self.was_ready else "stopped", rest)
            elif rest is not None and (interrupt := interrupt_in(rest)) is not None:
                self._end("failed")
                self.owner.crashed(interrupt)
            elif cancelled is not None and rest is None:
                self.owner.went(self)
                self._end("stopped")
            elif rest is None and not self._restarts.always:
                self._end("stopped")
            else:
                self._restart(rest)
        finally:
            del error, cancelled, rest, self  # see Completed.unwrap

    def _restart(self, error: BaseException | None) -> None:
        restarts, now = self._restarts, self.owner.backend.clock()
        wait = restarts.next_wait(now, 0.0 if self._ready_at is None else now - self._ready_at)
        try:
            if wait is not None:
                self._move("backoff")
                self.owner.restarts(self, error, wait)
                self.start(wait)
                return
            if error is None:
                error = RuntimeError(
                    f"service {self.name!r} has ended normally more than {restarts.most} times within "
                    f"{restarts.within:g} s, though it is to run always"
                )
            self._end("failed")
            self.owner.failed(self, error)
        finally:
            del error, self  # see Completed.unwrap

    def _end(self, state: str, error: BaseException | None = None) -> None:
        self.error = error
        self._call = None  # nothing of the user's is kept
        self._move(state)
        self.owner.ended(self)
        self._first.set()
        self._ended.set()

    def _move(self, state: str) -> None:
        before = self.state
        if state == before:
            return  # the first start
        if state not in _MOVES[before]:
            raise RuntimeError(f"service {self.name!r} cannot become {state}: it is {before}")
        self.state = state
        self.owner.moved(self, before)
