"""Piles on the executor of the machine: includes, consumers, drains, producers, closing, failing fast."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import anyio
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from glasspool import Completed, ExecutorClosed, Outcome, Pile, PileEmpty, PileStats

from .account import Account, Task
from .harness import Harness, Left, chosen
from .machine import ExecutorMachine, seldom, some
from .programs import Program, programs
from .virtual import quiet
from .waiting import ForRoom, Waiter, verify_outcome

__all__ = ["PileMachine"]


class Tasks:
    """What must be true of one pile: the outcomes of its tasks are given once each, in order of ending."""

    def __init__(self, account: Account, *, fail_fast: bool) -> None:
        self.account = account
        self.members: list[Task] = []
        self.untaken: list[Task] = []
        self.closed: str | None = None
        self.producers: list[AbstractContextManager[Any]] = []
        self._fail_fast = fail_fast

    @property
    def outstanding(self) -> list[Task]:
        """Tasks that have not ended."""
        return [task for task in self.members if task.ended is None]

    @property
    def going_on(self) -> bool:
        """Whether more outcomes may come."""
        return bool(self.outstanding or self.producers)

    def accepted(self, task: Task) -> None:
        """See Collector."""
        self.members.append(task)
        if self.closed is not None:
            task.doomed = self.closed

    def ended(self, task: Task) -> None:
        """See Collector."""
        self.untaken.append(task)
        if self._fail_fast and task.outcome in ("error", "timeout"):
            self._fail_fast = False
            self.close("sibling_failure")

    def close(self, reason: str) -> None:
        """Take no more tasks, and cancel those that have not ended."""
        self.closed = self.closed or reason
        self.cancel(reason)

    def cancel(self, reason: str, message: str | None = None) -> int:
        """Cancel the tasks that have not ended; how many requests were the first."""
        return sum(self.account.cancel(task, reason, message) for task in self.outstanding)

    def take(self, completed: Completed[Any]) -> None:
        """A consumer got this outcome."""
        found = [task for task in self.untaken if task.name == completed.item.name]
        self.account.require(len(found) == 1, f"{completed.item.name} was given twice, or never included, or too early")
        for task in found:
            self.untaken.remove(task)
            early = [other.name for other in self.untaken if other.surely_before(task)]
            self.account.require(not early, f"{task.name} was given before {early}")
            self.account.require(completed.outcome is Outcome(task.outcome), f"{task.name} ended otherwise")
            verify_outcome(task, completed.value, completed.error)

    def stats(self) -> PileStats:
        """What ``pile.stats()`` must say."""
        outstanding = self.outstanding
        queued = sum(task in self.account.queue for task in outstanding)
        ended = Counter(task.outcome for task in self.members)
        return PileStats(
            queued, len(outstanding) - queued, ended["success"], ended["error"], ended["timeout"], ended["cancelled"],
            len(self.untaken),
        )  # fmt: skip


class _OfPile(Waiter):
    def __init__(self, tasks: Tasks) -> None:
        super().__init__()
        self.tasks = tasks

    def agrees(self, account: Account) -> bool:
        return self.done or not self.due(account)


class ForNext(_OfPile):
    """For the next outcome, or to hear that there is none."""

    def due(self, account: Account) -> bool:
        return self.scope.cancel_called or bool(self.tasks.untaken) or not self.tasks.going_on

    def verify(self, account: Account) -> None:
        assert self.error is None or type(self.error) in (PileEmpty, StopAsyncIteration)


class ForDrain(_OfPile):
    """For all outcomes, when no more can come."""

    def due(self, account: Account) -> bool:
        return self.scope.cancel_called or not self.tasks.going_on

    def verify(self, account: Account) -> None:
        assert self.error is None


class ForClose(_OfPile):
    """For the ends of tasks that were cancelled, even if he is cancelled himself."""

    def due(self, account: Account) -> bool:
        return not self.tasks.outstanding

    def verify(self, account: Account) -> None:
        assert self.error is None


class ForBlock(_OfPile):
    """For the pile's block to be left. ``how`` it is, once that is so."""

    patient = True
    how = ""

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks)
        self.left = anyio.Event()

    def due(self, account: Account) -> bool:
        if not self.how:
            return False
        return not (self.tasks.going_on if self.how == "normally" else self.tasks.outstanding)

    def verify(self, account: Account) -> None:
        assert type(self.error) is (Left if self.how == "by an exception" else type(None))


class ForInclude(ForRoom):
    """For a handle, from a pile that may be closed."""

    def verify(self, account: Account) -> None:
        if self.task in account.tasks or any(name == self.task.name for name, _, _ in account.rejections):
            super().verify(account)
        else:
            assert type(self.error) is ExecutorClosed


class PileHarness(Harness):
    """Two piles beside the executor's other tasks."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.piles: list[tuple[Pile, Tasks, ForBlock]] = []

    def open_pile(self, fail_fast: bool) -> None:
        """Enter a pile's block, in a task of its own."""
        pile, tasks = self.executor.pile(fail_fast=fail_fast), Tasks(self.account, fail_fast=fail_fast)
        block = ForBlock(tasks)
        self.piles.append((pile, tasks, block))
        self.start(block, partial(self._own_pile, pile, block))

    async def _own_pile(self, pile: Pile, block: ForBlock) -> None:
        async with pile:
            await block.left.wait()
            if block.how == "by an exception":
                raise Left
        block.tasks.closed = block.tasks.closed or "shutdown"

    def include(self, which: int, program: Program) -> None:
        """A caller includes a task, and waits for room if there is none."""
        pile, tasks, _ = chosen(self.piles, which)
        script = self.script(program, tasks)
        if tasks.closed is None:
            self.wait_for_room(ForInclude(script.task), script, pile.include)
        else:
            self.start(ForInclude(script.task), partial(self.call, pile.include, script))

    def next_of(self, which: int, *, iterate: bool) -> None:
        """A caller requests the next outcome."""
        pile, tasks, _ = chosen(self.piles, which)

        async def call() -> None:
            tasks.take(await (anext(pile) if iterate else pile.next_completed()))

        self.start(ForNext(tasks), call)

    def drain(self, which: int) -> None:
        """A caller requests all outcomes."""
        pile, tasks, _ = chosen(self.piles, which)

        async def call() -> None:
            for completed in await pile.drain():
                tasks.take(completed)

        self.start(ForDrain(tasks), call)

    def cancel_pile(self, which: int) -> None:
        """All tasks of the pile are asked to end."""
        pile, tasks, _ = chosen(self.piles, which)
        expected = tasks.cancel("explicit", "the pile")
        assert pile.cancel("the pile") == expected

    def close_pile(self, which: int) -> None:
        """The same, and the pile takes no more."""
        pile, tasks, _ = chosen(self.piles, which)
        tasks.close("explicit")
        self.start(ForClose(tasks), pile.aclose)

    def producer(self, which: int) -> None:
        """A producer of the pile begins, or the first one ends."""
        pile, tasks, _ = chosen(self.piles, which)
        if which % 2 and tasks.producers:
            tasks.producers.pop(0).__exit__(None, None, None)
        else:
            tasks.producers.append(pile.producer())
            tasks.producers[-1].__enter__()

    def leave_pile(self, which: int, how: str) -> None:
        """The pile's block is left."""
        _, tasks, block = chosen(self.piles, which)
        if not block.how:
            block.how = how
            if how == "by a cancellation":
                block.scope.cancel()
                tasks.close("parent_scope")
            else:
                block.left.set()
                if how == "by an exception":
                    tasks.close("shutdown")

    async def go_on(self) -> None:
        for number, (_, tasks, _) in enumerate(self.piles):
            while tasks.producers:
                tasks.producers.pop().__exit__(None, None, None)
            self.leave_pile(number, "normally")
        await super().go_on()

    def check(self) -> None:
        for pile, tasks, _ in self.piles:
            assert pile.stats() == tasks.stats()
        super().check()


class PileMachine(ExecutorMachine):
    """The executor's machine, with piles."""

    it: PileHarness

    async def harness(self) -> Harness:
        return PileHarness(self.world)

    @precondition(lambda self: len(self.it.piles) < 2 and self.it.is_open)
    @rule(fail_fast=st.booleans())
    def open_pile(self, fail_fast: bool) -> None:
        """A pile, of two at most."""
        self.take(lambda: self.it.open_pile(fail_fast))

    @precondition(lambda self: self.it.piles)
    @rule(which=some, batch=st.lists(programs(), min_size=1, max_size=4))
    def include(self, which: int, batch: list[Program]) -> None:
        """Some include tasks, and wait for room if there is none."""

        async def step() -> None:
            for program in batch:
                self.it.include(which, program)
                await quiet()

        self.take(step)

    @precondition(lambda self: self.it.piles)
    @rule(which=some, iterate=st.booleans())
    def next_of(self, which: int, iterate: bool) -> None:
        """A consumer asks for one outcome; there may be several consumers."""
        self.take(lambda: self.it.next_of(which, iterate=iterate))

    @precondition(lambda self: self.it.piles)
    @rule(which=some)
    def drain(self, which: int) -> None:
        """A consumer asks for all outcomes."""
        self.take(lambda: self.it.drain(which))

    @precondition(lambda self: self.it.piles)
    @rule(which=some)
    def cancel_pile(self, which: int) -> None:
        """All tasks of a pile are asked to end; the pile goes on."""
        self.take(lambda: self.it.cancel_pile(which))

    @precondition(lambda self: self.it.piles)
    @rule(which=some)
    def producer(self, which: int) -> None:
        """While producers are at work the iteration does not end."""
        self.take(lambda: self.it.producer(which))

    @precondition(lambda self: self.it.piles)
    @rule(which=some, really=seldom)
    def close_pile(self, which: int, really: bool) -> None:
        """A pile is closed."""
        if really:
            self.take(lambda: self.it.close_pile(which))

    @precondition(lambda self: self.it.piles)
    @rule(which=some, how=st.sampled_from(["normally", "by an exception", "by a cancellation"]), really=seldom)
    def leave_pile(self, which: int, how: str, really: bool) -> None:
        """A pile's block is left."""
        if really:
            self.take(lambda: self.it.leave_pile(which, how))
