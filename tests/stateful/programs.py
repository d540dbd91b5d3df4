"""The functions of the machines' tasks: they wait or not, end in every way, and obey a cancellation or not."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import anyio
from hypothesis import strategies as st

from .account import Account, Task

__all__ = ["ByHand", "Program", "programs", "tick_of"]


class Unshowable(Exception):
    """Can be neither printed nor compared."""

    def __str__(self) -> str:
        raise RuntimeError("cannot be shown")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")

    __hash__ = Exception.__hash__


class Odd(BaseException):
    """Neither an Exception nor a cancellation."""


ENDINGS = {
    "a value": Exception,
    "an error": ValueError,
    "a TimeoutError": TimeoutError,
    "an error that cannot be shown": Unshowable,
    "a BaseException": Odd,
    "an interrupt": KeyboardInterrupt,
}


@dataclass(frozen=True)
class Program:
    """``where``: loop, inline or pool. ``seconds``: until it ends by itself, None: when it is let go.

    ``obeys``: at once, late, with a value, with an error. ``after``: seconds that late takes. ``timeout``,
    ``deadline`` (from the call on) and ``abandon`` are options of the call. ``spawns``: it submits another task.
    """

    where: str = "loop"
    seconds: int | None = None
    ending: str = "a value"
    obeys: str = "at once"
    after: int = 1
    timeout: int | None = None
    deadline: int | None = None
    abandon: bool = True
    spawns: bool = False


def programs() -> st.SearchStrategy[Program]:
    """Programs of all kinds, the plain ones first."""
    plain = st.just(Program())
    limits = st.sampled_from([None, None, None, 0, 1, 3, 10])
    odd = st.builds(
        Program,
        where=st.sampled_from(["loop", "loop", "inline", "pool"]),
        seconds=st.sampled_from([None, None, None, 0, 1, 4]),
        ending=st.sampled_from(["a value", "a value", "an error", *ENDINGS]),
        obeys=st.sampled_from(["at once", "at once", "late", "with a value", "with an error"]),
        after=st.sampled_from([1, 5]),
        timeout=limits,
        deadline=limits,
        abandon=st.booleans(),
        spawns=st.sampled_from([False, False, True]),
    )
    return plain | odd


def tick_of(number: int) -> float:
    """A fraction of a second of this number's own: sums of a few are never the same, and exact in a float."""
    return (number * 0x9E3779B1 % 2**20 | 1) / 2**20


class ByHand(concurrent.futures.Executor):
    """A pool whose calls end when the machine says so."""

    def __init__(self, begin: Callable[[str], Task]) -> None:
        self._begin = begin
        self.calls: dict[Task, Future[Any]] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The call begins, and nothing more."""
        task: Task = self._begin(*args)
        future: Future[Any] = Future()
        if task.startable:
            future.set_running_or_notify_cancel()
        self.calls[task] = future
        return future


class Script:
    """One task's program at work. ``spawn`` submits another task from within."""

    def __init__(
        self, account: Account, task: Task, program: Program, number: int, spawn: Callable[[], None]
    ) -> None:  # fmt: skip
        self.account = account
        self.task = task
        self.program = program
        self.go = anyio.Event()
        self._spawn = spawn
        self._tick = tick_of(number)

    async def run(self) -> Any:
        """The function of a task that runs on the loop."""
        account, task, program = self.account, self.task, self.program
        account.call(task)
        try:
            if program.seconds is None:
                await self.go.wait()
            else:
                await anyio.sleep(program.seconds and program.seconds + self._tick)
            if program.spawns:
                self._spawn()
        except anyio.get_cancelled_exc_class():
            account.meet(task)
            prompt = task.request is not None and task.request.at == account.now
            account.require(prompt, f"{task.name} was cancelled by nobody, or late")
            if program.obeys == "with a value":
                return self._end("a value")
            if program.obeys == "with an error":
                return self._end("an error")
            if program.obeys == "late":
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(program.after + self._tick)
            account.end(task, cancelled=True)
            raise
        return self._end(program.ending)

    def plain(self) -> Any:
        """The same as a plain function."""
        return self.run()

    def _end(self, ending: str) -> Any:
        value, error = self.result(ending)
        self.account.end(self.task, value, error)
        if error is None:
            return value
        if isinstance(error, KeyboardInterrupt):
            self.account.interrupted(error)
        raise error

    def result(self, ending: str) -> tuple[Any, BaseException | None]:
        """What the function returns, or raises."""
        return (self, None) if ending == "a value" else (None, ENDINGS[ending](ending))
