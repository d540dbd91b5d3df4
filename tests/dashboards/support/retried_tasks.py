"""The situations in which tasks run again: some then succeed, the budget refuses others, and some wait at the end."""

from __future__ import annotations

from typing import Any

import anyio

from glasspool import HybridExecutor, Retry, RetryBudget

from .shop import Shop, now

__all__ = ["BUDGET", "LATER", "retried_for_a_while", "retried_later"]

BUDGET = RetryBudget(ratio=0, floor=8, window=10.0)
LATER = 3
"""How many tasks wait for their next attempt at the end, in days."""


async def attempt(record: dict[str, Any], seconds: float, failures: int) -> None:
    """Fails so many times, and notes each attempt."""
    begun = now()
    record["started"] = record["started"] or begun
    record["attempts"].append([begun, None])
    await anyio.sleep(seconds)
    record["ended"] = record["attempts"][-1][1] = now()
    if len(record["attempts"]) <= failures:
        raise ConnectionError("as planned")


async def _submit(
    shop: Shop, executor: HybridExecutor, seconds: float, failures: int, retry: Retry, **facts: Any
) -> tuple[dict[str, Any], Any]:
    record = shop.account.task(executor.name, "call", **facts)
    handle = await executor.submit(attempt, record, seconds, failures, name="call", retry=retry)
    record["accepted"] = min(now(), record["started"] or now())
    return record, handle


async def retried_for_a_while(shop: Shop, calls: HybridExecutor) -> None:
    """One task succeeds after a failure, one fails three times; then all fail, until the budget is spent: of the eight
    retries that it allows five are left for six tasks."""
    failed = {"outcome": "error", "error_type": "ConnectionError"}
    soon = Retry(on=lambda error: 0.2, attempts=3)
    handles = [await _submit(shop, calls, 0.12, 1, soon, outcome="success")]
    handles += [await _submit(shop, calls, 0.12, 9, soon, **failed, stops="attempts")]
    for _, handle in handles:
        await handle.outcome()
    at_once = Retry(on=lambda error: 0.0, attempts=2)
    for number in range(6):
        why = "attempts" if number < 5 else "budget"
        _, handle = await _submit(shop, calls, 0.06, 9, at_once, **failed, stops=why)
        await handle.outcome()


async def retried_later(shop: Shop, calls: HybridExecutor) -> None:
    """Tasks that have failed once, and whose next attempt is days away. The budget has filled up again."""
    await anyio.sleep(BUDGET.window * 1.1)
    for _ in range(LATER):
        record, _ = await _submit(shop, calls, 0.06, 1, Retry(on=lambda error: 1e6), outcome="")
        while record["ended"] is None or calls.stats().in_flight:
            await anyio.sleep(0.005)
        record["ended"] = None
