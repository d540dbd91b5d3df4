"""What an attempt leaves behind when it has failed: it does not wait, and lends nothing, for the next one."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

import glasspool
from glasspool import HybridExecutor, Outcome, Retry, TaskHandle
from glasspool._core import waits
from tests.core.policies.support import both, in_virtual_time

LATER = Retry(on=lambda error: 10)


class Program:
    """A task of which the first attempt leaves branches behind in ``group``, and fails."""

    def __init__(self, group: TaskGroup) -> None:
        self.group = group
        self.executor = HybridExecutor("leaves", max_in_flight=1, retry=LATER, observers=[self.observe])
        self.runs = 0
        self.seen: list[Any] = []

    def observe(self, event: Any) -> None:
        stats = self.executor.stats()
        assert 0 <= stats.lent <= stats.in_flight
        assert 0 <= stats.slots_used <= stats.slots_limit

    async def leaves(self, *branches: Any) -> int:
        """The task: its second attempt takes 100 s."""
        self.runs += 1
        if self.runs == 1:
            for branch in branches:
                self.group.start_soon(branch)
            await anyio.sleep(1)
            raise ConnectionError
        self.seen.append(("second", self.executor.stats().lent))
        await anyio.sleep(100)
        return self.runs


def run(backend: str, use: Any) -> Program:
    """Use the program, and check that nothing is left."""

    async def main() -> Program:
        async with anyio.create_task_group() as group:
            program = Program(group)
            with anyio.fail_after(3600):
                async with program.executor:
                    await use(program)
            stats = program.executor.stats()
            assert (stats.lent, stats.slots_used, stats.pending) == (0, 0, 0)
            graph = waits.WAITS
            assert (graph.waits, graph.waiting, graph.awaited, graph.lending) == ({}, {}, {}, {})
            return program

    return in_virtual_time(backend, main)


@both
def test_it_is_not_within_the_task(backend):
    async def use(program: Program) -> None:
        async def branch() -> None:
            for _ in range(3):
                current = glasspool.current_task()
                program.seen.append(None if current is None else current.attempt)
                await anyio.sleep(9)  # in the first attempt, before the second, and in it

        assert await program.executor.run(program.leaves, branch) == 2

    assert run(backend, use).seen == [1, None, ("second", 0), None]


@both
def test_what_it_waits_for_later_lends_nothing(backend):
    async def use(program: Program) -> None:
        executor = program.executor

        async def branch() -> None:
            await anyio.sleep(20)
            assert await executor.run(echo, retry=None) == 1
            program.seen.append(round(anyio.current_time() - begun))

        async def echo() -> int:
            return 1

        begun = anyio.current_time()
        await executor.run(program.leaves, branch)
        await anyio.sleep(1)

    # It has no part in the slot of the second attempt, so its task waits until that has ended.
    assert run(backend, use).seen == [("second", 0), 111]


@both
@pytest.mark.parametrize("how", ["next", "drain"])
def test_a_wait_that_outlives_its_attempt_lends_nothing_more(backend, how):
    async def use(program: Program) -> None:
        executor = program.executor

        async def branch() -> None:
            async with executor.pile() as pile:
                for seconds in (5, 5, 30, 30):
                    await pile.include(anyio.sleep, seconds, retry=None)
                async with anyio.create_task_group() as both_wait:
                    for _ in range(2):
                        both_wait.start_soon(take, pile)

        async def take(pile: Any) -> None:
            if how == "drain":
                await pile.drain()
                return
            async for completed in pile:
                program.seen.append(completed.outcome is Outcome.SUCCESS)

        assert await program.executor.run(program.leaves, branch) == 2

    seen = run(backend, use).seen
    assert seen.count(True) == (4 if how == "next" else 0)


@both
def test_a_wait_that_lasts_keeps_no_later_attempt_waiting(backend):
    """A task may wait for the next attempt of one whose first attempt still waits for it."""

    async def use(program: Program) -> None:
        executor, other = program.executor, HybridExecutor("other", max_in_flight=1)
        handles: list[TaskHandle[Any]] = []

        async def branch() -> None:
            await other.run(waits_for_it)

        async def waits_for_it() -> None:
            await anyio.sleep(50)  # the second attempt runs
            program.seen.append(await handles[0])

        async with other:
            handles.append(await executor.submit(program.leaves, branch))
            await handles[0]
            await anyio.sleep(1)

    assert run(backend, use).seen == [("second", 0), 2]
