"""The interface of the backends: the operations that the executor needs of an event loop."""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, TypeVar

import anyio

from glasspool._foreign.guarded import is_a, leaves, without

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = [
    "Backend",
    "Call",
    "Main",
    "Scope",
    "Spawner",
    "Threads",
    "cancellation_in",
    "cancels_only",
    "enclosing_cancelled",
    "is_ordinary",
    "split_cancellation",
    "to_the_end",
]

T = TypeVar("T")

Main = Callable[[Any], Coroutine[Any, Any, None]]
"""The body of a spawned task; it takes the task for which it is spawned and raises only cancellation."""


Call = Callable[[Any, tuple[Any, ...]], Coroutine[Any, Any, Any]]
"""Calls a function with its arguments and awaits what it returns."""


class Scope(Protocol):
    """A cancel scope, entered by ``with`` by the task that made it."""

    @property
    def cancel_called(self) -> bool:
        """Whether it was cancelled, by ``cancel`` or by its deadline."""
        ...

    @property
    def cancelled_caught(self) -> bool:
        """Whether its cancellation ended what was inside."""
        ...

    def cancel(self) -> None:
        """Cancel what is inside."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> bool: ...


class Spawner(Protocol):
    """Starts backend tasks in the nursery. ``serve`` runs inside it until cancelled and all of them have ended."""

    def spawn(self, main: Main, task: Any, context: Any, name: str) -> None:
        """Start ``main(task)`` as a backend task in ``context``; it takes its first step in a later loop turn.

        ``main`` awaits the backend's ``pause`` first of all, if there is one and ``task.native`` is None, and calls
        ``finished`` last of all.
        """

    def hand_over(self, task: Any) -> bool:
        """Whether the caller is a shared backend task that has settled its own task and will run this one next."""
        ...

    def share(self, main: Main, task: Any, context: Any, name: str) -> None:
        """Run ``main(task)`` in ``context`` in a backend task that runs other tasks too, or ``spawn`` it."""

    def finished(self, task: Any) -> None:
        """``main`` takes its last step for ``task``."""


class Threads(Protocol):
    """The threads in which an executor's plain functions run. Their number has no bound."""

    @property
    def alive(self) -> int:
        """The number of threads, busy or idle, that belong to this executor only. May be called from any thread."""
        ...

    async def run(self, call: Callable[[], None], scope: Any, *, abandon: bool) -> None:
        """Call ``call`` in a thread, in a copy of the current context, and wait for its end.

        ``anyio.from_thread`` works inside; ``check_cancelled`` uses ``scope``, the innermost scope of the task. When
        cancelled, this waits for the thread, or with ``abandon`` leaves the thread running.
        """

    def end(self) -> None:
        """End idle threads now and busy ones after their call; there are no more calls. May be called from any
        thread."""


class Backend(Protocol):
    """One event loop, as the executor sees it."""

    name: str
    pause: Awaitable[None] | None
    call: Call | None
    """Calls users' code, where that must be distinguished from our own."""
    take: Callable[[Any], Any]
    """``next``, likewise."""
    cancels: tuple[tuple[str, str], ...]
    """Reason and phase of cancellations that the backend can deliver to a task without a request."""

    loop: object
    """The event loop, to tell one from another."""

    def running(self) -> object:
        """The event loop that runs in the caller's thread, or None."""

    def is_current(self) -> bool:
        """Whether the caller runs on this loop."""
        ...

    def clock(self) -> float:
        """Monotonic seconds; the loop's own clock where tests replace it. May be called from any thread."""
        ...

    def now(self) -> float:
        """The loop's time, as ``anyio.current_time`` returns it, without asking for the loop first."""
        ...

    def call_soon_threadsafe(self, fn: Callable[[], object]) -> bool:
        """Call ``fn`` on the loop; False if the loop is gone."""
        ...

    def begin(self, task: Any) -> bool:
        """Called by the backend task of ``task`` before the function: whether it can do without a scope for now."""
        ...

    def threads(self, name: str) -> Threads:
        """Threads for the executor of this name."""
        ...

    def scope(self, deadline: float) -> Scope:
        """A cancel scope to be entered (``deadline``: an instant of the loop's time, ``math.inf`` for none)."""
        ...

    def late_scope(self, task: Any, deadline: float = math.inf) -> Scope:
        """A scope around the whole of the running backend task of ``task``, as if entered when ``begin`` was called.

        It has the deadline, which ``anyio.current_effective_deadline`` takes into account, and nothing that cancels it.

        The task calls its ``__exit__`` at its end, unless ``left`` says otherwise.
        """
        ...

    def left(self, task: Any) -> bool:
        """Whether its late scope need not be left: it does nothing to a task that ends now, and refers to nothing."""
        ...

    def task(self) -> object:
        """The current backend task, to tell one from another."""

    def is_cancelled(self, cancellation: BaseException) -> bool:
        """Whether the current task is being cancelled. If not, the cancellation that it raised is foreign: kept from
        another scope, or made by user code."""
        ...

    def cancellation_source(self, error: BaseException | None) -> str | None:
        """Why an enclosing scope cancels the current task: parent_scope, deadline, or None if none does."""

    async def serve(self, started: Callable[[Spawner], None], until: Callable[[], Awaitable[None]]) -> None:
        """Run a spawner in the calling task until ``until()`` and all its tasks have ended."""


def is_ordinary(error: BaseException) -> bool:
    """Whether it is an ordinary exception and no group: there is no cancellation in it, and nothing that ends the
    program."""
    return is_a(error, Exception) and not is_a(error, BaseExceptionGroup)


def cancellation_in(error: BaseException) -> BaseException | None:
    """The backend's cancellation in ``error``, the first if there are several: it is equivalent to all of them, and not
    a group that the backend would split."""
    return _parts(error, anyio.get_cancelled_exc_class())[0]


def cancels_only(error: BaseException) -> bool:
    """Whether ``error`` is the backend's cancellation and nothing else."""
    found, mixed = _parts(error, anyio.get_cancelled_exc_class())
    return found is not None and not mixed


def split_cancellation(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Split ``error`` into the backend's cancellation and the rest."""
    cancelled = anyio.get_cancelled_exc_class()
    found, mixed = _parts(error, cancelled)
    return found, without(error, cancelled) if mixed else error if found is None else None


def _parts(error: BaseException, cancelled: type[BaseException]) -> tuple[BaseException | None, bool]:
    """The cancellations in ``error``, and whether there is something else beside them."""
    if is_a(error, cancelled):
        return error, False
    if not is_a(error, BaseExceptionGroup):
        return None, False
    members = leaves(error)
    found = [member for member in members if is_a(member, cancelled)]
    if not found:
        return None, False
    return found[0], len(found) < len(members)


def enclosing_cancelled() -> bool:
    return anyio.current_effective_deadline() == -math.inf


async def to_the_end(body: Callable[[], Awaitable[T]]) -> T:
    """Await ``body()``, shielded, until it has ended; it is called again after each native cancellation (asyncio's own,
    from which a shield does not protect). Then the last of these is raised."""
    cancelled: BaseException | None = None
    found: list[T] = []
    try:
        with anyio.CancelScope(shield=True):
            while not found:
                try:
                    found.append(await body())
                except anyio.get_cancelled_exc_class() as error:
                    cancelled = error
        if cancelled is not None:
            raise cancelled
        return found[0]
    finally:
        del cancelled, found  # see Completed.unwrap
