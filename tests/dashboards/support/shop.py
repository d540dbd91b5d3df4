"""The program of the situations: one method per situation, and a record of every task that does not use telemetry."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from opentelemetry import trace

from glasspool import HybridExecutor, QueueFull, TaskTimeout
from glasspool.testing import run_out_of_time

LIMITER, TOKENS = "anyio.to_thread", 40
now = time.time


class Account:
    """What happened, as the program itself knows it. Instants are seconds of the wall clock."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {
            "tasks": [], "rejects": [], "executors": [], "shutdowns": [], "late": [], "failures": {}, "losses": {},
            "blocked_since": [], "rushed_until": 0.0, "services": [],
        }  # fmt: skip

    def executor(self, name: str, kind: str, limit: int, capacity: int | None) -> dict[str, Any]:
        entry = {"name": name, "type": kind, "limit": limit, "capacity": capacity, "opened": now(), "closed": None}
        self.data["executors"].append(entry)
        return entry

    def service(self, name: str) -> dict[str, Any]:
        """A service of the executor crawl. ``ready``: the seconds from each start to readiness."""
        entry: dict[str, Any] = {"name": name, "state": "starting", "crashes": 0, "ready": []}
        self.data["services"].append(entry)
        return entry

    def full(self, executor: str) -> bool:
        """Whether the executor has as many tasks that have not ended as slots and queue hold."""
        (entry,) = [e for e in self.data["executors"] if e["name"] == executor and e["closed"] is None]
        there = [t for t in self.data["tasks"] if t["executor"] == executor and t["accepted"] and not t["ended"]]
        return len(there) >= int(entry["limit"]) + int(entry["capacity"])

    def task(self, executor: str, name: str, kind: str = "hybrid", **facts: Any) -> dict[str, Any]:
        record = {
            "executor": executor, "type": kind, "name": name, "runner": "inline", "accepted": None, "started": None,
            "ended": None, "outcome": None, "error_type": "", "reason": "", "phase": "running", "submit_wait": 0.0,
            "blocked": False, "asked": None, "held_until": None, "held_by": None, "attempts": [],
            "stops": "", **facts,
        }  # fmt: skip
        self.data["tasks"].append(record)
        return record


async def body(record: dict[str, Any], seconds: float | anyio.Event, error: type[Exception] | None = None) -> None:
    record["started"] = now()
    try:
        await (seconds.wait() if isinstance(seconds, anyio.Event) else anyio.sleep(seconds))
        if error is not None:
            raise error("as planned")
    finally:
        record["ended"] = now()


async def refuses(record: dict[str, Any], let_go: anyio.Event) -> None:
    """Does not end when it is cancelled."""
    record["started"] = now()
    with anyio.CancelScope(shield=True):
        await let_go.wait()


def thread_body(record: dict[str, Any], wait: Callable[[], Any]) -> None:
    record["started"] = now()
    wait()
    record["ended"] = now()


class Shop:
    """The program. One method a situation."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.release = threading.Event()
        self.let_go = anyio.Event()
        self.tracer = trace.get_tracer("shop")

    @asynccontextmanager
    async def executor(self, name: str, limit: int, capacity: int, **options: Any) -> AsyncIterator[HybridExecutor]:
        async with HybridExecutor(name, max_in_flight=limit, max_queued=capacity, **options) as executor:
            entry = self.account.executor(name, "hybrid", limit, capacity)
            try:
                yield executor
            finally:
                entry["closed"] = now()

    async def submit(
        self, executor: HybridExecutor, name: str, seconds: Any, outcome: str, error: Any = None, **facts: Any
    ) -> tuple[dict[str, Any], Any]:
        options = {key: facts.pop(key) for key in ("timeout", "deadline", "key") if key in facts}
        blocked = self.account.full(executor.name)
        record = self.account.task(executor.name, name, outcome=outcome, blocked=blocked, **facts)
        before = now()
        try:
            handle = await executor.submit(body, record, seconds, error, name=name, **options)
        except BaseException:
            self.account.data["tasks"].remove(record)
            raise
        after = now()
        record["submit_wait"] = after - before
        record["accepted"] = min(after, record["started"] or after)
        return record, handle

    async def many(
        self, executor: HybridExecutor, count: int, name: str, seconds: Any, outcome: str, **facts: Any
    ) -> Any:
        return [await self.submit(executor, name, seconds, outcome, **facts) for _ in range(count)]

    async def steady(self, executor: HybridExecutor, name: str, seconds: float, every: float, count: int) -> None:
        for number in range(count):
            if number % 10 == 0:
                with self.tracer.start_as_current_span("request"):
                    await self.submit(executor, name, seconds, "success")
            else:
                await self.submit(executor, name, seconds, "success")
            await anyio.sleep(every)

    async def rush(self, orders: HybridExecutor) -> None:
        """The work of before, all at once: waits rise, and every task runs as long as it did."""
        for _, handle in await self.many(orders, 100, "checkout", 0.12, "success"):
            await handle.outcome()
        self.account.data["rushed_until"] = now()

    async def errors(self, orders: HybridExecutor) -> None:
        """More than one in ten tasks fails, in two ways."""
        await self.many(orders, 24, "validate", 0.015, "error", error=ValueError, error_type="ValueError")
        await self.many(orders, 8, "validate", 0.015, "error", error=KeyError, error_type="KeyError")
        await anyio.sleep(0.5)
        await idle(orders)

    async def before(self, orders: HybridExecutor, crawl: HybridExecutor, threads: HybridExecutor, pool: Any) -> None:
        """A little of everything, so that what comes later adds to series that are there, as in a service that runs."""
        await self.submit(orders, "checkout", 0.01, "success")
        await self.submit(orders, "invoice", 0.01, "success")
        await self.submit(orders, "validate", 0.01, "error", error=ValueError, error_type="ValueError")
        await self.submit(orders, "validate", 0.01, "error", error=KeyError, error_type="KeyError")
        await self.submit(crawl, "page", 0.01, "success")
        await self.timeouts(orders)
        await self.cancels(orders)
        await self.threads(threads, stay=0)
        await self.tokens()
        await self.pool(pool)

    async def timeouts(self, orders: HybridExecutor) -> None:
        await self.many(orders, 4, "lookup", 30, "timeout", timeout=0.35, error_type="timeout")
        deadline = anyio.current_time() + 0.2
        for record, handle in await self.many(
            orders, 4, "lookup", 30, "timeout", deadline=deadline, error_type="timeout"
        ):
            await handle.outcome()
            record["ended"] = record["ended"] or now()  # left the queue without starting
        await anyio.sleep(0.5)
        await idle(orders)

    async def cancels(self, orders: HybridExecutor) -> None:
        running = await self.many(orders, 4, "export", 30, "cancelled", error_type="cancelled", reason="explicit")
        queued = await self.many(
            orders, 3, "export", 30, "cancelled", error_type="cancelled", reason="explicit", phase="queued"
        )
        await anyio.sleep(0.15)
        await until(lambda: all(record["started"] for record, _ in running))
        for record, handle in (*queued, *running):
            record["asked"] = now()
            handle.cancel("user left")
            await handle.outcome()
            record["ended"] = record["ended"] or now()
        async with orders.pile(fail_fast=True) as pile:
            for seconds, error in ((0.05, ValueError), (30, None), (30, None), (30, None)):
                facts: dict[str, Any] = {"outcome": "error", "error_type": "ValueError"}
                if error is None:
                    facts = {"outcome": "cancelled", "error_type": "cancelled", "reason": "sibling_failure"}
                record = self.account.task("orders", "bundle", **facts)
                await pile.include(body, record, seconds, error, name="bundle")
                record["accepted"] = now()
            await pile.drain()

    async def burst(self, orders: HybridExecutor) -> None:
        """More than slots and queue hold: backpressure, rejects, producers that give up."""
        # Nothing ends before all have been turned away: otherwise one of them might find room.
        gate = anyio.Event()
        await self.many(orders, 4, "invoice", gate, "success")
        async with anyio.create_task_group() as group:
            group.start_soon(self.many, orders, 56, "invoice", 0.3, "success")
            await anyio.sleep(0.3)
            await until(lambda: orders.stats().pending == 1)
            rejects = self.account.data["rejects"]
            for _ in range(6):
                try:
                    orders.submit_nowait(body, {}, 1.0)
                except QueueFull:
                    rejects.append({"executor": "orders", "reason": "queue_full", "waited": None})
            for _ in range(3):
                before = now()
                try:
                    await orders.submit(body, {}, 1.0, deadline=anyio.current_time() + 0.03)
                except TaskTimeout:
                    rejects.append({"executor": "orders", "reason": "submit_timeout", "waited": now() - before})
            for _ in range(2):
                before = now()
                with anyio.move_on_after(0.03) as scope:
                    await orders.submit(body, {}, 1.0)
                assert scope.cancelled_caught
                rejects.append({"executor": "orders", "reason": "submit_cancelled", "waited": now() - before})
            gate.set()

    async def storm(self, crawl: HybridExecutor) -> None:
        """Callers that go away: thirty requests, cancelled from outside."""
        await self.many(crawl, 20, "page", 0.02, "success")
        await anyio.sleep(0.3)
        records = []

        async def request() -> None:
            record = self.account.task(
                "crawl", "page", outcome="cancelled", error_type="cancelled", reason="parent_scope", accepted=now()
            )
            records.append(record)
            await crawl.run(body, record, 30, name="page")

        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(request)
            await anyio.sleep(0.2)
            asked = now()
            group.cancel_scope.cancel()
        for record in records:
            record["asked"] = asked
            record["phase"] = "running" if record["started"] else "queued"
            record["ended"] = record["ended"] or now()

    async def threads(self, executor: HybridExecutor, stay: int = 2) -> None:
        """Calls that cannot be interrupted: they time out and their threads stay."""
        for _ in range(6):
            record = self.account.task("threads", "hash", runner="thread", outcome="success")
            await executor.submit(thread_body, record, lambda: time.sleep(0.04), name="hash")
            record["accepted"] = now()
        await anyio.sleep(0.4)
        for _ in range(stay):
            record = self.account.task("threads", "legacy", runner="thread", outcome="timeout", error_type="timeout")
            handle = await executor.submit(thread_body, record, self.release.wait, name="legacy", timeout=1000)
            record["accepted"] = now()
            await until(partial(record.get, "started"))
            # Brought forward only now: a short timeout might be over before its thread has begun.
            run_out_of_time(handle, after=0.25)
            await handle.outcome()
            record["ended"], record["held_until"] = now(), "end"

    async def closings(self, go: anyio.Event) -> None:
        async with self.executor("tidy", 2, 10) as tidy:
            await self.submit(tidy, "sweep", 0.01, "success")
            await go.wait()
            await self.many(tidy, 4, "sweep", 0.06, "success")
            began = now()
        self.account.data["shutdowns"].append({"executor": "tidy", "outcome": "drained", "seconds": now() - began})

    async def cut(self, go: anyio.Event) -> None:
        facts = {"error_type": "cancelled", "reason": "shutdown"}
        async with self.executor("batch", 3, 10) as batch:
            await self.submit(batch, "load", 0.01, "success")
            await go.wait()
            running = await self.many(batch, 3, "load", 30, "cancelled", **facts)
            queued = await self.many(batch, 2, "load", 30, "cancelled", phase="queued", **facts)
            await anyio.sleep(0.1)
            began = now()
            await batch.shutdown(grace=0.3)
            self.account.data["shutdowns"].append({"executor": "batch", "outcome": "cut", "seconds": now() - began})
            for record, _ in (*running, *queued):
                record["asked"] = began + 0.3
                record["ended"] = record["ended"] or now()

    async def pool(self, pool: ProcessPoolExecutor) -> None:
        futures = []
        for _ in range(6):
            record = self.account.task("etl", "abs", "process_pool", runner="process", outcome="success")
            record["accepted"] = now()
            futures.append(pool.submit(abs, -1))
        for future in futures:
            await asyncio.wrap_future(future)
        with self.tracer.start_as_current_span("request"):
            broken = pool.submit(lambda: None)  # cannot be pickled, nor can its trace arrive
        try:
            await asyncio.wrap_future(broken)
        except Exception as error:
            where = type(error).__module__
            name = type(error).__qualname__ if where == "builtins" else f"{where}.{type(error).__qualname__}"
            self.account.task("etl", "lambda", "process_pool", outcome="error", error_type=name, accepted=now())
        self.account.data["losses"]["unpicklable"] = self.account.data["losses"].get("unpicklable", 0) + 1

    async def tokens(self) -> None:
        """anyio's default limiter, observed from its first call on."""
        self.account.executor(LIMITER, "anyio_limiter", TOKENS, None)
        await self.call(lambda: None)

    async def call(self, work: Callable[[], Any], outcome: str = "success") -> None:
        record = self.account.task(
            LIMITER, "endpoint", "anyio_limiter", runner="thread", accepted=now(), outcome=outcome
        )
        await anyio.to_thread.run_sync(thread_body, record, work)

    async def limiter(self, group: Any) -> None:
        """Ten quick calls, then more slow ones than there are tokens."""
        async with anyio.create_task_group() as quick:
            for _ in range(10):
                quick.start_soon(self.call, lambda: time.sleep(0.04))
        for _ in range(TOKENS + 5):
            group.start_soon(self.call, self.release.wait, "")
        await anyio.sleep(0.3)

    async def blocks(self) -> None:
        for _ in range(12):
            await anyio.sleep(0.5)
            time.sleep(0.4)  # what must never be done on a loop

    async def ticks(self) -> None:
        """The lateness of timers, measured beside the monitor."""
        while True:
            due = time.perf_counter() + 0.1
            await anyio.sleep(0.1)
            self.account.data["late"].append((now(), max(0.0, time.perf_counter() - due)))

    async def standstill(self, orders: HybridExecutor, group: Any) -> None:
        """Four tasks of a kind that takes moments hang, one of them although it was asked to end: a full queue, three
        blocked producers."""
        await self.many(orders, 3, "checkout", 1e6, "")
        record = self.account.task("orders", "checkout", outcome="")
        handle = await orders.submit(refuses, record, self.let_go, name="checkout")
        record["accepted"] = now()
        await until(lambda: record["started"])
        record["asked"] = now()
        handle.cancel()
        await self.many(orders, 20, "waiting", 1, "")

        async def producer() -> None:
            self.account.data["blocked_since"].append(now())
            await orders.submit(body, {}, 1.0)

        for _ in range(3):
            group.start_soon(producer)
        await anyio.sleep(0.1)

    async def batch(self, bulk: HybridExecutor) -> None:
        """Two long steps and three more behind them: a batch that is busy with its own work."""
        await self.many(bulk, 2, "haul", 1e6, "")
        await self.many(bulk, 3, "haul", 1, "")


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await anyio.sleep(0.005)


async def idle(executor: HybridExecutor) -> None:
    """Until nothing is queued or in flight: what comes next counts on free slots."""
    await until(lambda: executor.stats().queued + executor.stats().in_flight == 0)


def broken_observer(event: Any) -> None:
    raise RuntimeError("an observer that raises")
