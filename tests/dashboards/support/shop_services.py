"""Two services of one executor: one crashes three times and runs, the other crashes once and is never ready again."""

from __future__ import annotations

from typing import Any

import anyio

from glasspool import HybridExecutor, ServiceState

from .shop import Shop, now, until

__all__ = ["CRASHES", "serve"]

CRASHES = 3


async def serve(shop: Shop, crawl: HybridExecutor) -> None:
    """Start both, and wait until they stand still."""
    feed = shop.account.service("feed")
    sync = shop.account.service("sync")

    async def run(entry: dict[str, Any], crashes: int, ready: bool, *, task_status: Any) -> None:
        began = now()
        entry["state"] = "starting"
        if entry["crashes"] == crashes and not ready:
            await anyio.sleep_forever()
        await anyio.sleep(0.04)
        entry["ready"].append(now() - began)
        entry["state"] = "running"
        task_status.started()
        if entry["crashes"] < crashes:
            entry["crashes"] += 1
            raise ValueError("as planned")
        await anyio.sleep_forever()

    await crawl.start_service(run, feed, CRASHES, True, name="feed", restart="on_failure")
    await crawl.start_service(run, sync, 1, False, name="sync", restart="on_failure")
    await until(lambda: len(feed["ready"]) > CRASHES)
    await until(lambda: crawl.services[1].state is ServiceState.STARTING)
