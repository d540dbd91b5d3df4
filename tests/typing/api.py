"""The public interface under type checkers. Checked by mypy --strict and pyright, never run."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

import glasspool
import glasspool_instrumentation
from glasspool import (
    AsCompleted,
    Completed,
    CurrentTask,
    Drained,
    ExecutorStats,
    HybridExecutor,
    InOrder,
    Outcome,
    Pile,
    PileStats,
    Progress,
    Retry,
    RetryBudget,
    Service,
    ServiceState,
    ShutdownReport,
    TaskHandle,
    TaskState,
    current_task,
    progress,
    retry_after,
    telemetry,
)

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type


async def fetch(url: str, retries: int = 3) -> bytes:
    """A coroutine function."""
    return url.encode() * retries


def parse(data: bytes) -> dict[str, int]:
    """A plain function."""
    return {data.decode(): len(data)}


async def numbers() -> AsyncIterator[str]:
    """An asynchronous source."""
    yield "1"


async def submitting(executor: HybridExecutor) -> None:
    """Handles and values have the type that the function returns."""
    handle = await executor.submit(fetch, "url", 2, timeout=5.0, name="fetch", context="link")
    assert_type(handle, TaskHandle[bytes])
    assert_type(await handle, bytes)
    assert_type(await handle.outcome(), Completed[bytes])
    assert_type((await handle.outcome()).unwrap(), bytes)
    assert_type((await handle.outcome()).outcome, Outcome)
    assert_type(handle.cancel("enough"), bool)
    assert_type(handle.state, TaskState)
    assert_type(executor.submit_nowait(parse, b"x", runner=ThreadPoolExecutor()), TaskHandle[dict[str, int]])
    assert_type(await executor.run(parse, b"x", abandon=False), dict[str, int])
    assert_type(await executor.run(fetch, "url", 1), bytes)
    assert_type(await executor.run(partial(parse, b"x")), dict[str, int])


async def iterating(executor: HybridExecutor) -> None:
    """Iterators have the type that the function returns, whatever the source."""
    assert_type(executor.map(parse, [b"a"]), InOrder[dict[str, int]])
    assert_type(executor.as_completed(parse, [b"a"]), AsCompleted[dict[str, int]])
    async for value in executor.map(parse, [b"a"]):
        assert_type(value, dict[str, int])
    async for completed in executor.as_completed(partial(fetch, retries=2), numbers(), name="fetch"):
        assert_type(completed, Completed[bytes])
    async with executor.as_completed(parse, [b"a"]) as iteration:
        assert_type(iteration, AsCompleted[dict[str, int]])


async def piling(executor: HybridExecutor) -> None:
    """Piles hold tasks of any type; their handles know which."""
    async with executor.pile(fail_fast=True) as pile:
        assert_type(pile, Pile)
        assert_type(await pile.include(fetch, "url", 1), TaskHandle[bytes])
        with pile.producer() as include:
            assert_type(await include(parse, b"x"), TaskHandle[dict[str, int]])
        assert_type(await pile.next_completed(), Completed[Any])
        assert_type(await pile.drain(), Drained)
        assert_type(pile.stats(), PileStats)
        async for completed in pile:
            assert_type(completed, Completed[Any])


async def consume(url: str, size: int, *, task_status: TaskStatus[bytes] = TASK_STATUS_IGNORED) -> None:
    """A service with arguments."""


async def serving(executor: HybridExecutor) -> None:
    """A service takes the arguments that its function needs."""
    service = await executor.start_service(consume, "url", 1, restart="always", within=5)
    assert_type(service, Service)
    assert_type(service.value, Any)
    assert_type(service.state, ServiceState)
    assert_type(executor.services, tuple[Service, ...])
    await executor.start_service(consume, "url")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await executor.start_service(parse, b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def showing(executor: HybridExecutor, pile: Pile) -> None:
    """What is shown gives what its source gives."""
    assert_type(progress(executor.map(parse, [b"a"])), Progress[dict[str, int]])
    assert_type(progress(executor.as_completed(parse, [b"a"]), "a", total=1), Progress[Completed[dict[str, int]]])
    async with progress(pile, disable=True) as outcomes:
        async for completed in outcomes:
            assert_type(completed, Completed[Any])


async def closing() -> None:
    """The block gives the executor; its figures are typed."""
    async with HybridExecutor("typed", max_in_flight=1, max_queued=None, on_error="escalate") as executor:
        assert_type(executor, HybridExecutor)
        assert_type(executor.stats(), ExecutorStats)
        assert_type(await executor.shutdown(grace=1), ShutdownReport)


def refused(error: Exception) -> float | bool | None:
    """What says whether to try again."""
    return retry_after(error.headers) if isinstance(error, Refused) else isinstance(error, OSError)


class Refused(Exception):
    """An error that knows how long to wait."""

    headers: dict[str, str]


async def retrying() -> None:
    """Failed tasks that run again."""
    budget = RetryBudget(ratio=0.1, floor=3, window=60)
    async with HybridExecutor("name", max_in_flight=2, retry=Retry(on=OSError), retry_budget=budget) as executor:
        assert_type(await executor.run(fetch, "url", retry=Retry(on=(OSError, Refused), attempts=5, base=0.2)), bytes)
        assert_type(executor.submit_nowait(parse, b"x", retry=Retry(on=refused)), TaskHandle[dict[str, int]])
        assert_type(await executor.run(fetch, "url", retry=None), bytes)
    executor = HybridExecutor("name", max_in_flight=2, retry_budget=None)
    task = current_task()
    assert_type(task, CurrentTask | None)
    assert task is not None
    assert_type(task.attempt, int)
    assert_type(task.idempotency_key, str)


def misspelt() -> tuple[Any, ...]:
    """A name that does not exist is an error, although the package imports its names when they are used."""
    return (
        glasspool.HybridExecuter,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        glasspool_instrumentation.wrap_pool,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        telemetry.configur,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    )
