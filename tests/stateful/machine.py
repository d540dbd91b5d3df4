"""A state machine over one executor: the operations of a user in any order, compared with the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import anyio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from .harness import Harness, chosen
from .programs import Program, programs
from .virtual import World, quiet

__all__ = ["ExecutorMachine", "seldom", "some"]

some = st.integers(0, 63)
seldom = st.sampled_from([False, False, False, True])
KINDS = ["submitted", "started", "settled", "rejected"]


class ExecutorMachine(RuleBasedStateMachine):
    """Submits, cancels, waits, resizes, closes; lets time pass; calls back from observers."""

    backend: ClassVar[str] = "asyncio"

    def __init__(self) -> None:
        super().__init__()
        self.failed = False
        self.world = World(self.backend)
        self.it: Harness = self.world.do(self.harness)

    async def harness(self) -> Harness:
        """What the machine works on."""
        return Harness(self.world)

    def take(self, step: Callable[[], Any]) -> None:
        """Take a step; when the loop is quiet again the executor and the account must agree."""

        async def both() -> None:
            done = step()
            if inspect.isawaitable(done):
                await done
            await quiet()
            self.it.check()

        try:
            self.world.do(both)
        except BaseException:
            self.failed = True
            raise

    @initialize(
        limit=st.sampled_from([1, 2, 3]),
        capacity=st.sampled_from([1, 0, 2, 0, 1, 3, None]),
        on_error=st.sampled_from(["collect", "collect", "collect", "escalate"]),
    )
    def open(self, limit: int, capacity: int | None, on_error: Literal["collect", "escalate"]) -> None:
        """An executor of one size or another."""
        self.take(lambda: self.it.open(limit, capacity, on_error))

    # -- submitting ------------------------------------------------------------------------------------------------

    @rule(batch=st.lists(programs(), min_size=1, max_size=4))
    def submit_nowait(self, batch: list[Program]) -> None:
        """Where there is room a task is accepted, otherwise not."""

        def step() -> None:
            for number, program in enumerate(batch):
                self.it.nowait(program, within=number > 0)

        self.take(step)

    @rule(batch=st.lists(programs(), min_size=1, max_size=4), run=st.booleans())
    def submit(self, batch: list[Program], run: bool) -> None:
        """Some submit, wait for room if there is none, and if they ``run`` for the end."""

        async def step() -> None:
            for program in batch:
                self.it.submit(program, run=run)
                await quiet()

        self.take(step)

    # -- what happens to tasks -------------------------------------------------------------------------------------

    @precondition(lambda self: self.it.scripts)
    @rule(which=some)
    def let(self, which: int) -> None:
        """A task that waits to be let go may end."""
        self.take(lambda: self.it.let(chosen(self.it.scripts.values(), which)))

    @precondition(lambda self: self.it.handles)
    @rule(which=some)
    def cancel(self, which: int) -> None:
        """A task, by its handle."""
        self.take(lambda: self.it.cancel(which))

    @precondition(lambda self: self.it.handles)
    @rule(which=some)
    def wait(self, which: int) -> None:
        """For a task's end, by its handle."""
        self.take(lambda: self.it.wait(which))

    @precondition(lambda self: self.it.waiters)
    @rule(which=some)
    def stop_waiting(self, which: int) -> None:
        """Callers that wait for room or for a task's end are cancelled."""
        self.take(lambda: self.it.stop_waiting(which))

    @rule(limit=st.sampled_from([1, 2, 3, 4]))
    def resize(self, limit: int) -> None:
        """More slots or fewer."""
        self.take(lambda: self.it.resize(limit))

    @rule(actions=st.lists(st.tuples(st.sampled_from(["cancel", "resize", "stop", "let", "submit"]), some), max_size=4))
    def at_once(self, actions: list[tuple[str, int]]) -> None:
        """Several things happen before the loop turns."""

        def step() -> None:
            for what, which in actions:
                self.action(what, which, Program(obeys=["at once", "late"][which % 2]))()

        self.take(step)

    def action(self, what: str, which: int, program: Program) -> Callable[[], None]:
        """Something that may be done at any moment."""
        if what == "cancel":
            return partial(self.it.cancel, which, within=True)
        if what == "resize":
            return partial(self.it.resize, 1 + which % 4)
        if what == "stop":
            return partial(self.it.stop_waiting, which)
        if what == "submit":
            return partial(self.it.nowait, program, within=True)
        scripts = list(self.it.scripts.values())
        return partial(self.it.let, chosen(scripts, which), within=True) if scripts else lambda: None

    @rule(times=st.sampled_from([0, 1, 2, 7, 30]))
    def pass_time(self, times: int) -> None:
        """Timeouts, deadlines and the grace come to their end, and so do sleeping tasks."""
        self.take(lambda: anyio.sleep(times + 1 / 8))

    @rule(
        kind=st.sampled_from(KINDS),
        what=st.sampled_from(["cancel", "resize", "submit"]),
        which=some,
        program=programs(),
    )
    def call_back(self, kind: str, what: str, which: int, program: Program) -> None:
        """The observer will do something at the next event of a kind."""
        self.it.reactions.append((kind, self.action(what, which, program)))

    @rule(kind=st.sampled_from(KINDS), really=seldom)
    def break_observer(self, kind: str, really: bool) -> None:
        """An observer will fail at the next event of a kind."""
        if really:
            self.it.break_observer(kind)

    # -- closing ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.it.scripts) > 8)
    @rule(grace=st.sampled_from([None, 0, 2, 6]), really=seldom)
    def shutdown(self, grace: int | None, really: bool) -> None:
        """A caller closes the executor."""
        if really:
            self.take(lambda: self.it.shutdown(grace))

    @precondition(lambda self: len(self.it.scripts) > 8 and not self.it.is_left)
    @rule(how=st.sampled_from(["normally", "by an exception", "by a cancellation"]), really=seldom)
    def leave_block(self, how: str, really: bool) -> None:
        """The executor's owner leaves."""
        if really:
            self.take(lambda: self.it.leave(how))

    def teardown(self) -> None:
        """Everything comes to its end, and nothing is left."""
        try:
            for _ in range(200):
                if not self.failed and not self.it.is_over:
                    self.take(self.it.go_on)
            if not self.failed:
                assert self.it.is_over, "the executor does not come to its end"
                self.take(self.it.check_end)
        finally:
            self.world.do(self.it.release)
            self.world.end()
