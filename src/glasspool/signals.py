"""Shutting down when the operating system says so: offered, never imposed.

    async with HybridExecutor("mail", max_in_flight=8) as executor, shutdown_on_signals(executor, grace=20):
        await serve_forever(executor)

At SIGTERM the executor takes no more submissions (they raise ``ExecutorClosed``), what was accepted has ``grace``
seconds to finish, and the rest is cancelled. Nothing else is: the block's body goes on, and usually ends by its next
submission.
"""

from __future__ import annotations

import signal as signal_module
import sys
import threading
from collections.abc import Iterable
from signal import Signals
from types import TracebackType

import anyio
from anyio.abc import TaskGroup, TaskStatus

from . import options
from .closing import ShutdownReport
from .executor import HybridExecutor

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

__all__ = ["ShutdownOnSignals", "shutdown_on_signals"]


def shutdown_on_signals(
    executor: HybridExecutor, *, grace: float | None = 30.0, signals: Iterable[Signals] = (signal_module.SIGTERM,)
) -> ShutdownOnSignals:
    """While the block is open, the first of ``signals`` shuts ``executor`` down with ``grace``, a second one at once.

    Enter it inside the executor's block, in the main thread of the process. ``grace`` is seconds, default 30 (what
    orchestrators commonly leave between SIGTERM and SIGKILL: choose less than yours does); ``None`` waits as long as
    it takes. While it is open the signals do nothing else; afterwards they are what they were.

    :raises TypeError, ValueError: naming the parameter, its value and the fix.
    :raises RuntimeError: when entered outside the main thread.
    """
    if not isinstance(executor, HybridExecutor):
        raise TypeError(f"executor must be a HybridExecutor, not {executor!r}")
    wanted = tuple(signals)
    if not wanted or not all(isinstance(number, Signals) for number in wanted):
        raise TypeError(f"signals must be one or more of signal.SIGTERM, signal.SIGINT, ..., not {wanted!r}")
    return ShutdownOnSignals(executor, options.seconds("grace", grace), wanted)


class ShutdownOnSignals:
    """See ``shutdown_on_signals``. ``received`` is the first signal, ``report`` what the shutdown reported; or None."""

    def __init__(self, executor: HybridExecutor, grace: float | None, signals: tuple[Signals, ...]) -> None:
        # All mutable state; touched on the executor's event loop only.
        self.received: Signals | None = None
        self.report: ShutdownReport | None = None
        self._executor = executor
        self._grace = grace
        self._signals = signals
        self._group: TaskGroup | None = None
        self._done = anyio.Event()
        self._leaving = False

    async def wait(self) -> ShutdownReport:
        """Until a signal has come and the executor has shut down. For bodies that have nothing else to wait for."""
        while self.report is None:
            await self._done.wait()
        return self.report

    async def __aenter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "shutdown_on_signals works in the main thread only, where Python delivers signals; enter it there, or "
                "call `executor.shutdown(grace=...)` from whatever tells this thread to end"
            )
        group = self._group = anyio.create_task_group()
        await group.__aenter__()
        try:
            await group.start(self._listen)
        except BaseException:
            # A signal that cannot be caught (SIGKILL): the reason itself, not a group around it.
            await group.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        group = self._group
        if group is None:
            raise RuntimeError("shutdown_on_signals is left without having been entered")
        self._leaving = True
        if self.received is None or self.report is not None:
            group.cancel_scope.cancel()
        # Otherwise a shutdown is under way. It is waited for even if the body failed, commonly by ExecutorClosed:
        # an executor that is left by an exception would cancel at once what has been promised its grace.
        # And the body's own exception is not shown to the task group, which would wrap it in a group.
        cancelled = isinstance(exc, anyio.get_cancelled_exc_class())
        if cancelled:
            return await group.__aexit__(exc_type, exc, traceback)
        await group.__aexit__(None, None, None)
        return None

    async def _listen(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*self._signals) as received:
            task_status.started()
            async for number in received:
                grace = self._grace if self.received is None else 0
                self.received = self.received or number
                if self._group is not None:
                    self._group.start_soon(self._shut_down, grace)

    async def _shut_down(self, grace: float | None) -> None:
        self.report = await self._executor.shutdown(grace=grace)
        self._done.set()
        if self._leaving and self._group is not None:
            self._group.cancel_scope.cancel()
