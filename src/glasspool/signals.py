"""Shutdown on signals, and a report on a signal.

    async with HybridExecutor("mail", max_in_flight=8) as executor, shutdown_on_signals(executor, grace=20):
        await serve_forever(executor)

At SIGTERM the executor stops accepting submissions (they raise ``ExecutorClosed``), and the handler that was installed
before is called, so that a server around the executor stops as well. Accepted tasks have ``grace`` seconds to finish;
then the rest is cancelled. The block's body goes on, and usually ends at its next submission.

``dump_on_signal`` has a program say what it is doing, also one that hangs.
"""

from __future__ import annotations

import signal as signal_module
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from signal import Signals
from types import FrameType, TracebackType
from typing import Any
from weakref import ref

import anyio
from anyio.abc import TaskGroup

from . import _checks as checks
from ._core.backend import current_backend, own_interrupt
from ._core.block_exit import left_by
from ._core.interfaces import NOTHING
from ._dump import dump_on_signal
from ._executor_block import block_of
from .executor import HybridExecutor
from .stats import ShutdownReport

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

__all__ = ["ShutdownOnSignals", "dump_on_signal", "shutdown_on_signals"]


TWICE = 1.0
"""Seconds in which a signal that is sent twice is one request. hypercorn's parent process ends its workers by SIGTERM,
and so does ``multiprocessing`` at once, when that process exits."""


def shutdown_on_signals(
    executor: HybridExecutor, *, grace: float | None = 30.0, signals: Iterable[Signals] = (signal_module.SIGTERM,)
) -> ShutdownOnSignals:
    """Shut ``executor`` down at the first of ``signals`` that arrives while the block is open.

    The same signal again cancels all tasks at once: a second Ctrl-C whenever it comes, another signal if it comes a
    second or more after the first, since a server that ends its workers may send SIGTERM twice. Another one of
    ``signals`` changes nothing, since under a server that manages workers Ctrl-C reaches them both as SIGINT, from the
    terminal, and as SIGTERM, from the server.

    Enter it inside the executor's block, in the main thread of the process.

    Earlier handlers are called on the event loop, after the executor has stopped accepting submissions. An exception
    that they raise ends the block, which raises it. The default handler (which would kill the process) and the event
    loop's own handler of Ctrl-C are not called: the program ends in the normal way. When the block is left, the earlier
    handlers are installed again; if no signal has come by then, the signals are handled once more while the executor's
    own block is left and waits for its tasks. A handler that is installed within the block replaces this one until it
    is removed.

    :param executor: the executor to shut down.
    :param grace: seconds that accepted tasks have to finish, default 30. Orchestrators commonly allow 30 seconds
        between SIGTERM and SIGKILL: choose less than yours does. ``None`` waits without a limit.
    :param signals: the signals to handle, default SIGTERM only.
    :raises TypeError: naming the parameter, its value and the fix.
    :raises ValueError: naming the parameter, its value and the fix.
    :raises RuntimeError: when entered outside the main thread.
    """
    if not isinstance(executor, HybridExecutor):
        raise TypeError(f"executor must be a HybridExecutor, not {executor!r}")
    wanted = tuple(dict.fromkeys(signals))
    if not wanted or not all(isinstance(number, Signals) for number in wanted):
        raise TypeError(f"signals must be one or more of signal.SIGTERM, signal.SIGINT, ..., not {wanted!r}")
    return ShutdownOnSignals(executor, checks.seconds("grace", grace), wanted)


class ShutdownOnSignals:
    """See ``shutdown_on_signals``. ``received`` is the first signal, ``report`` the shutdown's report; both may be
    None."""

    def __init__(self, executor: HybridExecutor, grace: float | None, signals: tuple[Signals, ...]) -> None:
        # All mutable state; touched on the executor's event loop only, but for what _handle reads.
        self.received: Signals | None = None
        self.report: ShutdownReport | None = None
        self._executor = executor
        self._grace = grace
        self._signals = signals
        self._group: TaskGroup | None = None
        self._tell: Callable[[Callable[[], object]], bool] | None = None  # calls on the loop, from a signal handler
        self._begin: Callable[[Signals], None] | None = None  # makes the executor stop accepting submissions
        self._previous: dict[int, Any] = {}  # the handlers that were there before
        self._seen: dict[Signals, float] = {}  # when each was seen first
        self._arrived: deque[tuple[Signals, FrameType | None, float | None]] = deque()  # with the grace
        self._arrival = anyio.Event()
        self._done = anyio.Event()
        self._leaving = False
        self._raised: BaseException | None = None  # by an earlier handler

    async def wait(self) -> ShutdownReport:
        """Wait until a signal has arrived and the executor has shut down; for a body with nothing else to do.

        :returns: the report of the shutdown.

        :raises NestedWait: inside a task, where this closes a circle of waits.
        """
        engine = block_of(self._executor, "waiting for a signal's shutdown").engine
        needs = engine.idle.needs if self._grace is None else lambda: NOTHING
        await engine.host.wait("waiting for a signal's shutdown", self._until_done, needs, engine.host)
        assert self.report is not None, "set before the event"  # noqa: S101 - for the type checker
        return self.report

    async def _until_done(self) -> None:
        if self.report is None:
            await self._done.wait()

    async def __aenter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "shutdown_on_signals works in the main thread only, where Python delivers signals; enter it there, or "
                "call `executor.shutdown(grace=...)` from whatever tells this thread to end"
            )
        engine = block_of(self._executor, "shutdown_on_signals").engine
        engine.host.check_caller("shutdown_on_signals")
        self._begin = engine.begin_closing
        self._tell = current_backend().call_soon_threadsafe
        group = self._group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(self._listen, group)
        try:
            for number in self._signals:
                self._previous[number] = signal_module.signal(number, self._handle)
        except BaseException:
            # A signal that cannot be caught (SIGKILL): the reason itself, not a group around it.
            self._restore()
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        group = self._group
        if group is None:
            raise RuntimeError("shutdown_on_signals is left without having been entered")
        block = block_of(self._executor, "leaving shutdown_on_signals")
        engine = block.engine
        if not engine.host.is_destroying(exc):
            engine.host.check_caller("leaving shutdown_on_signals")
        self._leaving = True
        if self.received is None and exc is None:
            # If the executor's block is left next, a signal must not kill the process while its tasks finish.
            block.watch_drain = partial(_again, ref(self._executor), self._grace, self._signals)
        if self.received is None or self.report is not None:
            group.cancel_scope.cancel()
        # Otherwise a shutdown is under way. This waits for it even if the body failed, commonly by ExecutorClosed: an
        # executor that is left by an exception would cancel at once the tasks that still have their grace period.
        try:
            leaving = await left_by(group, exc, engine.backend)
        finally:
            self._restore()
            while self._arrived:  # signals that arrived while the block was being left
                self._call_previous(*self._arrived.popleft()[:2])
        if self._raised is not None:
            leaving = self._raised
        try:
            if leaving is not None and leaving is not exc:
                raise leaving
            return leaving is None
        finally:
            del leaving, exc, traceback  # see Completed.unwrap

    # -- signals ---------------------------------------------------------------------------------------------------

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """The handler: in the main thread, between any two instructions of it."""
        tell = self._tell
        if tell is None or not tell(partial(self._arrive, Signals(number), frame)):
            # The block has been left, but a later handler has kept a reference to this one; or the loop is gone.
            self._pass_on(number, frame)

    def _arrive(self, number: Signals, frame: FrameType | None) -> None:
        """The same, on the loop."""
        if self._tell is None or self._begin is None:
            self._pass_on(number, frame)  # the block was left in between
            return
        self._begin(number)
        now, first = time.monotonic(), self._seen.get(number)
        again = first is not None and (number == signal_module.SIGINT or now - first >= TWICE)
        self._seen.setdefault(number, now)
        self._arrived.append((number, frame, 0 if again else self._grace))
        self.received = self.received or number
        self._arrival.set()

    async def _listen(self, group: TaskGroup) -> None:
        while True:
            await self._arrival.wait()
            self._arrival = anyio.Event()
            while self._arrived:
                number, frame, grace = self._arrived.popleft()
                group.start_soon(self._shut_down, grace)
                self._call_previous(number, frame)

    def _call_previous(self, number: Signals, frame: FrameType | None) -> None:
        previous = self._previous[number]
        if callable(previous) and not own_interrupt(previous):
            try:
                previous(int(number), frame)
            except BaseException as error:  # noqa: BLE001 - raised when the block is left
                self._raised = self._raised or error
                if self._group is not None:
                    self._group.cancel_scope.cancel()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous[number]
        if callable(previous):
            previous(number, frame)
        elif previous != signal_module.SIG_IGN:
            signal_module.signal(number, signal_module.SIG_DFL)
            signal_module.raise_signal(number)

    def _restore(self) -> None:
        self._tell = None
        for number in self._previous:
            if signal_module.getsignal(number) == self._handle:  # else a later handler is installed
                previous = self._below(number)
                # None: it was not installed by Python, which cannot install it again.
                signal_module.signal(number, signal_module.SIG_DFL if previous is None else previous)

    def _below(self, number: int) -> Any:
        """The handler that was there before, and before those of other blocks that have been left meanwhile."""
        previous = self._previous[number]
        block = getattr(previous, "__self__", None)
        if isinstance(block, ShutdownOnSignals) and block._tell is None:
            return block._below(number)
        return previous

    async def _shut_down(self, grace: float | None) -> None:
        self.report = await self._executor.shutdown(grace=grace)
        self._done.set()
        if self._leaving and self._group is not None:
            self._group.cancel_scope.cancel()


def _again(executor: ref[HybridExecutor], grace: float | None, signals: tuple[Signals, ...]) -> ShutdownOnSignals:
    found = executor()
    assert found is not None, "it is being left"  # noqa: S101 - for the type checker
    return ShutdownOnSignals(found, grace, signals)
