"""Metrics of cancellations that tasks of observed task groups and nurseries do not obey."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from glasspool.telemetry import catalog

from . import work
from .work import LIMIT, outcomes, value

trio = pytest.importorskip("trio")


pytestmark = pytest.mark.usefixtures("everything")


class Stubborn:
    """Catches everything until it is told that it may end."""

    def __init__(self) -> None:
        self.begun = self.enough = False
        self.asked = 0

    async def __call__(self) -> None:
        self.begun = True
        while not self.enough:
            try:
                await anyio.sleep(0.001)
            except BaseException:
                self.asked += 1


async def _until(condition: Any) -> None:
    with anyio.CancelScope(shield=True), anyio.fail_after(LIMIT):
        while not condition():
            await anyio.sleep(0.001)


def cancelling(name: str) -> tuple[float, bool]:
    return value(catalog.TASK_CANCELLING, name), value(catalog.TASK_CANCELLING_OLDEST_AGE, name) > 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("whose", ["group", "outer"])
def test_a_child_of_a_task_group(backend: str, whose: str) -> None:
    task = Stubborn()
    found: list[Any] = []

    async def main() -> None:
        async def look() -> None:
            await _until(lambda: task.asked)
            found.append(cancelling("anyio"))
            task.enough = True

        async with anyio.create_task_group() as watchers:
            with anyio.CancelScope() as outer:
                async with anyio.create_task_group() as group:
                    group.start_soon(task)
                    await _until(lambda: task.begun)
                    assert cancelling("anyio") == (0, False)
                    watchers.start_soon(look)
                    (outer if whose == "outer" else group.cancel_scope).cancel()

    anyio.run(main, backend=backend)
    assert found == [(1, True)]
    assert cancelling("anyio") == (0, False)
    assert outcomes("anyio")["success"] >= 1


def test_a_child_of_a_nursery() -> None:
    task = Stubborn()
    found: list[Any] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
            await _until(lambda: task.begun)
            nursery.cancel_scope.cancel()
            await _until(lambda: task.asked)
            found.append(cancelling("trio"))
            task.enough = True

    trio.run(main)
    assert found == [(1, True)]
    assert cancelling("trio") == (0, False)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_timeout_within_a_task_is_no_request(backend: str) -> None:
    async def child() -> None:
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        assert cancelling("anyio") == (0, False)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)

    anyio.run(main, backend=backend)
    assert outcomes("anyio") == {"success": 1}


def test_asyncio_can_take_a_cancellation_back_so_its_own_tasks_have_no_such_figure() -> None:
    async def main() -> None:
        await asyncio.create_task(asyncio.sleep(0))

    asyncio.run(main())
    assert outcomes("asyncio")
    names = {
        point.attributes[catalog.Key.EXECUTOR_NAME]
        for point in work.REGISTRY.collect().points.get(catalog.TASK_CANCELLING.name, [])
    }
    assert "asyncio" not in names
