"""Iterators on the executor of the machine: sources of both kinds, several consumers, closing, losing, failing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from glasspool import Completed, ExecutorClosed, Outcome
from glasspool.telemetry import catalog
from glasspool.telemetry.observers import TaskEvent

from .account import Account, Task
from .harness import Harness, chosen
from .machine import ExecutorMachine, seldom, some
from .programs import Program, Script, programs
from .virtual import quiet
from .waiting import Waiter, verify_outcome

__all__ = ["IterationMachine"]


class SourceFailed(Exception):
    """What a source ends by."""


class Items:
    """What must be true of one iteration: each item runs once and is handed out once, in order."""

    def __init__(self, account: Account, name: str, *, ordered: bool, later: bool) -> None:
        self.account = account
        self.name = name
        self.ordered = ordered
        self.later = later
        self.read: list[Task] = []
        self.accepted_tasks: list[Task] = []
        self.untaken: list[Task] = []
        self.taken = 0
        self.asked = self.source_ended = self.closed = False
        self.error: Exception | None = None

    @property
    def outstanding(self) -> list[Task]:
        """Tasks that have not ended."""
        return [task for task in self.accepted_tasks if task.ended is None]

    @property
    def over(self) -> bool:
        """Whether nothing more is read."""
        return self.closed or self.source_ended or self.account.closing is not None

    @property
    def full(self) -> bool:
        """Whether as much was read ahead as may be."""
        return len(self.read) - self.taken >= 2 * self.account.limit

    @property
    def next_in_order(self) -> Task | None:
        """What is handed out next where the order is the source's, if it has ended."""
        task = self.accepted_tasks[self.taken] if self.taken < len(self.accepted_tasks) else None
        return None if task is None or task.ended is None else task

    @property
    def available(self) -> bool:
        """Whether there is something to hand out."""
        return not self.closed and (self.next_in_order is not None if self.ordered else bool(self.untaken))

    def give(self, task: Task) -> None:
        """The source gives an item, which is in hand until it is accepted."""
        most = 2 * self.account.most  # a batch that is being read goes on by the limit that it began with
        self.account.require(len(self.read) - self.taken < most, "more was read ahead than may be")
        self.account.require(not self.over, "a source was read that need not be")
        self.read.append(task)
        task.alias = self.name
        self.account.block(task)

    def accepted(self, task: Task) -> None:
        """See Collector."""
        self.accepted_tasks.append(task)
        if self.closed:
            task.doomed = "explicit"

    def ended(self, task: Task) -> None:
        """See Collector."""
        self.untaken.append(task)

    def close(self, reason: str) -> None:
        """Read no more, cancel what has not ended, and hand out nothing more."""
        if not self.closed:
            self.closed = True
            self.error = None
            in_hand = self.read[-1] if self.read else None
            if not self.later and in_hand in self.account.line:  # else it may have been promised room
                self.account.reject(in_hand, "submit_cancelled")
            for task in self.outstanding:
                self.account.cancel(task, reason)

    def refused(self, task: Task) -> None:
        """The item in hand is told that there will be no room, before whoever caused it has said so."""
        if task in self.account.line:
            head = self.next_in_order
            fails = self.ordered and head is not None and head.outcome != "success"
            self.account.require(self.closed or fails, "an item in hand was given up")
            self.account.reject(task, "submit_cancelled")

    def take(self, task: Task) -> None:
        """A consumer got this task's outcome."""
        self.account.require(task in self.untaken, f"{task.name} was given twice, or too early")
        self.untaken.remove(task)
        self.taken += 1


class ForItem(Waiter):
    """For the next value or outcome, or to hear that there is none."""

    def __init__(self, items: Items) -> None:
        super().__init__()
        self.items = items

    def due(self, account: Account) -> bool:
        items = self.items
        return self.scope.cancel_called or items.available or (items.over and (items.closed or not items.outstanding))

    def agrees(self, account: Account) -> bool:
        return self.done or not self.due(account)

    def verify(self, account: Account) -> None:
        if self.error is not None:
            assert self.items.over, repr(self.error)


class ForClosed(ForItem):
    """For the ends of tasks that were cancelled."""

    patient = True

    def due(self, account: Account) -> bool:
        return not self.items.outstanding

    def verify(self, account: Account) -> None:
        assert self.error is None


class IterationHarness(Harness):
    """Two iterations beside the executor's other tasks. How long items in hand have waited is not compared: that some
    waited no time at all nobody but the executor knows."""

    unknown = (*Harness.unknown, catalog.SUBMIT_WAIT)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.iterations: list[tuple[Any, Items]] = []
        self._items: dict[str, Items] = {}

    def task_of(self, event: TaskEvent) -> Task:
        if event.name not in self._items:
            return super().task_of(event)
        items = self._items[event.name]
        task = items.read[-1]
        if event.kind == "rejected":
            items.refused(task)
            if items.later and self.account.closing:  # the feeder may be cut first, or told that there is no room
                blocked = [told for told in self.account.rejections if told[0] == task.name]
                self.account.rejections.remove(blocked[0])
                self.account.rejections.append((task.name, event.error_type, blocked[0][2]))
        return task

    def open_iteration(self, batch: list[Program], ordered: bool, later: bool, fails: bool) -> None:
        """Begin to map a function over a source."""
        name = f"iteration {len(self._items)}"
        items = Items(self.account, name, ordered=ordered, later=later)
        self._items[name] = items
        source = self._source(items, batch, fails)
        method = self.executor.map if ordered else self.executor.as_completed
        self.iterations.append((method(_run, self._later(source) if later else source, name=name), items))

    def _source(self, items: Items, batch: list[Program], fails: bool) -> Iterator[Script]:
        for program in batch:
            script = self.script(replace(program, where="loop", timeout=None, deadline=None), items)
            items.give(script.task)
            yield script
        items.source_ended = True
        if fails:
            items.error = SourceFailed()
            raise items.error

    @staticmethod
    async def _later(source: Iterator[Script]) -> AsyncIterator[Script]:
        for script in source:
            yield script

    def ask(self, which: int) -> None:
        """A consumer asks for the next one; there may be several."""
        iterator, items = chosen(self.iterations, which)
        items.asked = True
        self.start(ForItem(items), partial(self._ask, iterator, items))

    async def _ask(self, iterator: Any, items: Items) -> None:
        try:
            given = await anext(iterator)
        except (StopAsyncIteration, SourceFailed, ExecutorClosed) as error:
            self._ended_by(items, error)
        except Exception as error:
            self._failed_by(items, error)
        except BaseException as error:  # a task's own, or the cancellation of the consumer
            head = items.next_in_order
            if head is None or head.error is not error or not items.ordered:
                raise
            self._failed_by(items, error)
        else:
            if items.ordered:
                task = items.next_in_order
                assert task is not None
                assert (task.outcome, task.value) == ("success", given), "a value out of order"
            else:
                assert isinstance(given, Completed)
                task = given.item.arguments[0].task
                early = [other.name for other in items.untaken if other.surely_before(task)]
                assert not early, f"{task.name} was given before {early}"
                assert given.outcome is Outcome(task.outcome)
                verify_outcome(task, given.value, given.error)
            items.take(task)

    def _ended_by(self, items: Items, error: Exception) -> None:
        if isinstance(error, ExecutorClosed):
            assert self.account.closing is not None, "the executor is open"
            assert not items.source_ended, "the source had ended"
        elif isinstance(error, SourceFailed):
            assert error is items.error, "a source's error was raised twice, or after closing"
            items.error = None
        assert items.over, "there is more"
        assert items.closed or not items.available, "not everything was given"

    def _failed_by(self, items: Items, error: BaseException) -> None:
        task = items.next_in_order
        assert items.ordered, repr(error)
        assert task is not None, repr(error)
        assert task.outcome != "success", repr(error)
        verify_outcome(task, None, error)
        items.take(task)
        items.close("sibling_failure")

    def close_iteration(self, which: int) -> None:
        """A caller closes an iteration and waits for its tasks."""
        iterator, items = chosen(self.iterations, which)

        async def call() -> None:
            items.close("explicit")
            await iterator.aclose()

        self.start(ForClosed(items), call)

    def lose(self, which: int) -> None:
        """The last reference to the iterator is lost, as after a ``break``."""
        iterator, items = self.iterations[which % len(self.iterations)]
        if not any(isinstance(waiter, ForItem) and waiter.items is items for waiter in self.waiters):
            del iterator
            self.iterations.pop(which % len(self.iterations))
            items.close("explicit")

    async def go_on(self) -> None:
        for number, (_, items) in enumerate(self.iterations):
            if not items.closed:
                self.close_iteration(number)
        await quiet()  # before anything else that cancels
        await super().go_on()

    def check(self) -> None:
        super().check()
        for waiter in self.waiters:
            if type(waiter) is ForItem and not waiter.items.over:
                items = waiter.items
                assert items.full or items.read[-1] in self.account.line, "a consumer waits, and nothing is read"


async def _run(script: Script) -> Any:
    return await script.run()


class IterationMachine(ExecutorMachine):
    """The executor's machine, with iterators."""

    it: IterationHarness

    async def harness(self) -> Harness:
        return IterationHarness(self.world)

    @precondition(lambda self: len(self.it.iterations) < 2 and self.it.is_open)
    @rule(
        batch=st.lists(programs(), max_size=12), ordered=st.booleans(), later=st.booleans(), fails=st.booleans()
    )  # fmt: skip
    def open_iteration(self, batch: list[Program], ordered: bool, later: bool, fails: bool) -> None:
        """An iteration, of two at most."""
        self.take(lambda: self.it.open_iteration(batch, ordered, later, fails))

    @precondition(lambda self: self.it.iterations)
    @rule(which=some, times=st.sampled_from([1, 1, 2, 5]))
    def ask(self, which: int, times: int) -> None:
        """Consumers ask for so many."""

        def step() -> None:
            for _ in range(times):
                self.it.ask(which)

        self.take(step)

    @precondition(lambda self: self.it.iterations)
    @rule(which=some, really=seldom)
    def close_iteration(self, which: int, really: bool) -> None:
        """An iteration is closed."""
        if really:
            self.take(lambda: self.it.close_iteration(which))

    @precondition(lambda self: self.it.iterations)
    @rule(which=some, really=seldom)
    def lose(self, which: int, really: bool) -> None:
        """An iteration is left by a ``break``."""
        if really:
            self.take(lambda: self.it.lose(which))
