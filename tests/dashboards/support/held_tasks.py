"""The situations in which a limit, a rate and a pause hold the tasks of one executor, each for tasks of another key."""

from __future__ import annotations

import anyio

from glasspool import HybridExecutor, Limit, Rate

from .shop import Shop, idle

__all__ = ["LIMITS", "STANDING", "held_for_a_while", "held_for_good"]

LIMITS = {
    "db": Limit(in_flight=2), "api": Limit(rate=Rate(1, per=0.35)), "mail": Limit(in_flight=5),
    "sms": Limit(in_flight=4),
}  # fmt: skip
STANDING = {"limit": 3, "rate": 2, "pause": 4}
"""How many tasks are held at the end, by reason."""


async def held_for_a_while(shop: Shop, crawl: HybridExecutor) -> None:
    """Tasks that are held for a third of a second, and then start."""
    await shop.many(crawl, 2, "query", 0.35, "success", key="db")
    await shop.many(crawl, 2, "query", 0.01, "success", key="db", held_by="limit")
    await shop.submit(crawl, "request", 0.01, "success", key="api")
    await shop.submit(crawl, "request", 0.01, "success", key="api", held_by="rate")
    crawl.pause(0.35, key="mail")
    await shop.many(crawl, 2, "letter", 0.01, "success", key="mail", held_by="pause")
    await idle(crawl)


async def held_for_good(shop: Shop, crawl: HybridExecutor) -> None:
    """Two queries hang with both permits; a rate of one an hour is used up; one key is paused for days."""
    await shop.many(crawl, 2, "query", 1e6, "", key="db")
    await shop.many(crawl, STANDING["limit"], "query", 1, "", key="db", held_by="limit")
    await anyio.sleep(0.4)  # what was spent of the rate before is made up for
    LIMITS["api"].resize(rate=Rate(1, per=3600))
    await shop.submit(crawl, "request", 0.01, "success", key="api")
    await shop.many(crawl, STANDING["rate"], "request", 1, "", key="api", held_by="rate")
    crawl.pause(1e6, key="mail")
    await shop.many(crawl, STANDING["pause"], "letter", 1, "", key="mail", held_by="pause")
