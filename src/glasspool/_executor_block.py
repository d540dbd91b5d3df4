"""ExecutorBlock: an executor from outside of its tasks: opening, closing, looking, changing."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Hashable, Iterable
from types import TracebackType
from typing import Any, Literal, cast

from . import _checks as checks
from ._core.block import Block
from ._core.restarts import Restarts
from ._core.settings import Settings
from .errors import ExecutorClosed
from .rates import Rate, checked_rates
from .services import Service, ServiceFunction
from .stats import ExecutorStats, ShutdownReport

if sys.version_info >= (3, 11):
    from typing import Self, TypeVarTuple, Unpack
else:
    from typing_extensions import Self, TypeVarTuple, Unpack

__all__ = ["ExecutorBlock", "block_of"]

Ts = TypeVarTuple("Ts")

_LONGEST_PAUSE = 1e9  # thirty years


class ExecutorBlock:
    """The base of ``HybridExecutor``, which adds what submits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._block: Block | None = None  # set once, when the block is entered
        self._finalizer: weakref.finalize[Any, Any] | None = None

    # -- opening and closing ---------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._block is not None:
            raise RuntimeError(f"executor {self.name!r} was entered before; make a new one for each block")
        block = Block(self._settings)
        await block.enter()
        self._block = block
        self._finalizer = weakref.finalize(self, block.engine.finalize)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        block = self._entered("leaving")
        if block.engine.host.is_destroying(exc):
            block.engine.finalize()  # the loop is gone
            return False
        leaving: BaseException | None = None
        try:
            leaving = await block.leave(exc)
            if self._finalizer is not None:
                self._finalizer.detach()
            if leaving is not None and leaving is not exc:
                raise leaving
            return leaving is None
        finally:
            del leaving, exc, traceback  # see Completed.unwrap

    async def shutdown(self, *, grace: float | None = None) -> ShutdownReport:
        """Accept no more tasks, let the accepted ones finish, and after ``grace`` seconds cancel the rest.

        Idempotent: a second call joins the first and gets the same report. Abandoned threads are not waited for; the
        report counts them.

        :param grace: seconds; ``None`` (default) waits without a limit, ``0`` cancels at once.
        :returns: how many tasks ended and how, which were cut off, and what held the shutdown up.
        :raises TypeError, ValueError: ``grace`` is not a number of seconds, or is negative.
        :raises ExecutorClosed: the executor's block was not entered yet.
        :raises NestedWait: inside a task, where this closes a circle of waits.
        :raises WrongThread: from another thread or event loop.
        """
        grace = checks.seconds("grace", grace)
        return await self._entered("shutdown").shutdown(grace)

    # -- services --------------------------------------------------------------------------------------------------

    async def start_service(
        self,
        fn: ServiceFunction[Unpack[Ts]],
        /,
        *args: Unpack[Ts],
        name: str | None = None,
        restart: Literal["never", "on_failure", "always"] = "never",
        max_restarts: int = 3,
        within: float = 60.0,
    ) -> Service:
        """Run ``fn(*args, task_status=…)`` beside the tasks for as long as the block is open, and return when it is
        ready: when it has called ``task_status.started(value)``.

        It takes no slot and has no span. When the executor closes, services end after the tasks, the latest first.
        A restart waits 0.1 s, then twice as long each time up to 10 s; after ``within`` seconds of running it begins
        at 0.1 s again. Each start runs in a copy of the caller's context variables, and must become ready anew.

        :param name: the service's name in metrics and messages; default the function's qualified name.
        :param restart: ``"never"`` (default): a crash ends the executor's block, which raises it in an
            ``ExceptionGroup``. ``"on_failure"``: after a crash it starts again. ``"always"``: after a normal end, too.
        :param max_restarts: how many restarts there may be within ``within`` seconds, default 3. One more, and the
            executor's block ends as after a crash with ``"never"``, for which this has no meaning.
        :param within: seconds, default 60.
        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        :raises RuntimeError: ``fn`` returned, or was cancelled from outside, before it was ready.
        :raises Exception: whatever ``fn`` raised before it was ready; then it does not start again.
        :raises ExecutorClosed: the executor is closing or not open.
        :raises WrongThread: from another thread or event loop.
        """
        policy = checks.choice("restart", restart, ("never", "on_failure", "always"))
        most = cast("int", checks.count("max_restarts", max_restarts, least=0))
        within = checks.amount("within", within, unit="seconds")
        restarts = Restarts(always=policy == "always", most=0 if policy == "never" else most, within=within)
        name = None if name is None else checks.name("name", name)
        return Service(await self._entered("start_service").services.start(fn, args, name, restarts))

    @property
    def services(self) -> tuple[Service, ...]:
        """The services that have not ended, in the order of their starts."""
        block = self._block
        return () if block is None else tuple(map(Service, list(block.services.running)))

    # -- looking and changing --------------------------------------------------------------------------------------

    def resize(self, max_in_flight: int | None = None, *, rate: Rate | Iterable[Rate] | None = None) -> None:
        """Change the number of slots, or the rate, at once. After shrinking, no task starts until fewer slots are in
        use. What was spent of a rate and has not been made up for stays spent.

        :param max_in_flight: slots from now on, at least 1; None (default) leaves them.
        :param rate: a rate, or several, from now on; ``()`` for none; None (default) leaves them.
        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        :raises ExecutorClosed: the executor is closed, or not open yet.
        :raises WrongThread: from another thread or event loop.
        """
        limit = None if max_in_flight is None else checks.count("max_in_flight", max_in_flight, least=1)
        rates = checked_rates(rate)
        if limit is None and rate is None:
            raise TypeError("resize() changes nothing: give max_in_flight or rate=")
        block = self._entered("resize")
        block.work.host.check_caller("resize")
        block.work.closing.check_not_closed("resize")
        if rate is not None:
            block.work.set_rates(rates)
        if limit is not None:
            block.engine.resize(limit)

    def pause(self, seconds: float, *, key: Hashable = None) -> None:
        """Start nothing for so many seconds, such as a server asks for with 429 (see ``glasspool.retry_after``).

        What runs goes on, and submissions are accepted. A later pause replaces an earlier one; 0 ends it.

        :param seconds: from now on; not negative.
        :param key: pauses the tasks of this key only, in all executors that share its ``Limit``; None (default): all
            tasks of this executor.
        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        :raises ExecutorClosed: the executor is closed, or not open yet.
        :raises WrongThread: from another thread or event loop.
        """
        if seconds is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise TypeError("seconds must be a number of seconds, not None; 0 ends a pause")
        found = cast("float", checks.seconds("seconds", seconds))
        if found > _LONGEST_PAUSE:
            raise ValueError(f"seconds must be at most {_LONGEST_PAUSE:g}, got {seconds}; pause again when it ends")
        work = self._entered("pause").work
        work.host.check_caller("pause")
        work.closing.check_not_closed("pause")
        work.pause(found, key)

    def stats(self) -> ExecutorStats:
        """The executor's figures now, from any thread; before it is opened, all but the limit are zero.

        The cost does not depend on how many tasks have ended or wait; it grows with the tasks in flight that have a
        timeout or deadline, or were asked to end.
        """
        if self._block is None:
            return ExecutorStats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, self._settings.limit, 0.0, 0.0, 0.0, 0, 0.0)
        return self._block.engine.reporter.stats()

    @property
    def name(self) -> str:
        """The name that metrics and spans show."""
        return self._settings.name

    def __repr__(self) -> str:
        if self._block is None:
            return f"<HybridExecutor {self.name!r} new>"
        closing, counts = self._block.engine.closing, self._block.engine.reporter.counts()
        state = "open" if closing.reason is None else "closed" if closing.closed else "closing"
        return f"<HybridExecutor {self.name!r} {state} · {counts.in_flight} in flight · {counts.queued} queued>"

    def _entered(self, what: str) -> Block:
        if self._block is None:
            raise ExecutorClosed(
                f"{what} on executor {self.name!r}, which is not open: work inside its block, "
                f"`async with HybridExecutor(...) as executor:`"
            )
        return self._block


def block_of(executor: ExecutorBlock, what: str) -> Block:
    """The executor's entered block, for the rest of the package; ``what`` needs it and is named if it is not there."""
    return executor._entered(what)
