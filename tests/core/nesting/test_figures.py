"""What statistics and metrics say of lent slots."""

from __future__ import annotations

import gc
import threading
import weakref

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot_queries import total
from tests.core.policies.support import both, in_virtual_time
from tests.core.support import until


@both
@pytest.mark.parametrize("slots", [1, 2])
def test_a_lent_slot_is_not_in_use(backend, slots):
    async def main():
        async with HybridExecutor("figures", max_in_flight=slots) as executor:
            during = []

            async def child() -> None:
                await anyio.sleep(1)
                found = REGISTRY.collect()
                names = (catalog.SLOT_USAGE, catalog.SLOT_LENT, catalog.TASK_ACTIVE)
                during.extend(total(found, metric, {}) for metric in names)
                await anyio.sleep(1)

            async def parent() -> None:
                await anyio.sleep(1)
                await executor.run(child)
                await anyio.sleep(1)

            assert catalog.SLOT_LENT.name not in REGISTRY.collect().points  # it appears with the first
            await executor.run(parent)
            after = REGISTRY.collect()
            assert during == [1, 1, 2]
            assert total(after, catalog.SLOT_LENT, {}) == 0
            times = (catalog.SLOT_TIME, catalog.SLOT_SATURATED_TIME, catalog.SLOT_LIMIT_TIME)
            return [total(after, metric, {}) for metric in times]

    assert in_virtual_time(backend, main) == pytest.approx([4, 4 if slots == 1 else 0, 4 * slots])


@pytest.mark.anyio
async def test_figures_add_up_from_another_thread_while_slots_are_lent_and_come_back():
    async with HybridExecutor("conserved", max_in_flight=3) as executor:
        done, wrong, read = threading.Event(), [], []

        def reads() -> None:
            before = 0
            while not done.is_set():
                stats = executor.stats()
                ended = stats.succeeded + stats.failed + stats.timed_out + stats.cancelled
                if stats.lent < 0 or stats.lent > stats.in_flight or not before <= stats.submitted:
                    wrong.append(stats)
                if stats.submitted != stats.queued + stats.in_flight + ended or stats.slots_used > 3:
                    wrong.append(stats)
                before = stats.submitted
                read.append(stats.lent)

        async def tree(depth: int) -> None:
            if not depth and not any(read):
                await until(lambda: any(read))  # so that the thread has read while slots are lent
            if depth:
                async with executor.pile() as pile:
                    for _ in range(3):
                        await pile.include(tree, depth - 1)

        thread = threading.Thread(target=reads)
        thread.start()
        try:
            for _ in range(3):
                await executor.run(tree, 5)
        finally:
            done.set()
            await anyio.to_thread.run_sync(thread.join)
        assert wrong == []
        assert max(read) > 0
        assert executor.stats().submitted == 3 * 364


class Argument:
    """Something that must not outlive the task that it is given to."""


@pytest.mark.anyio
async def test_tasks_that_have_ended_leave_nothing_though_others_are_queued():
    async with HybridExecutor("left", max_in_flight=1) as executor:
        first: list[weakref.ref[Argument]] = []

        async def child(_: Argument) -> None:
            await checkpoint()

        async def parent(found: list[weakref.ref[Argument]]) -> None:
            for _ in range(3):
                async with executor.pile() as pile:
                    for _ in range(3):
                        argument = Argument()
                        found.append(weakref.ref(argument))
                        await pile.include(child, argument)
                        del argument

        handle = await executor.submit(parent, first)
        held = [await executor.submit(parent, []) for _ in range(3)]
        await handle
        for _ in range(3):
            gc.collect()
        assert len(first) == 9
        assert [each for each in first if each() is not None] == []
        for each in held:
            await each
