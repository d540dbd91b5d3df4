"""The visitors of the web application: ``python visitors.py URL steady|polls``, until they are ended."""

from __future__ import annotations

import asyncio
import random
import sys

import httpx

PATIENT = 2


async def again(visit: asyncio.coroutines.Coroutine[object, object, object]) -> None:
    try:
        await visit
    except httpx.HTTPError:  # the server restarts, or the visitor has lost patience
        await asyncio.sleep(0.5)


async def steady(client: httpx.AsyncClient, path: str) -> None:
    while True:
        await again(client.get(path))
        await asyncio.sleep(random.expovariate(1))


async def polls(client: httpx.AsyncClient) -> None:
    """Most wait for the news, some leave earlier."""
    while True:
        await again(client.get("/poll", timeout=random.choice((10, 60, 60))))


async def listens(client: httpx.AsyncClient, number: int) -> None:
    """Follows the events for a while; a few stay for ever."""

    async def follow() -> None:
        async with client.stream("GET", "/events") as answer:
            stays = float("inf") if number < PATIENT else random.uniform(5, 150)
            begun = asyncio.get_running_loop().time()
            async for _ in answer.aiter_text():
                if asyncio.get_running_loop().time() - begun > stays:
                    return

    while True:
        await again(follow())


async def main(url: str, kind: str) -> None:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client, asyncio.TaskGroup() as group:
        if kind == "steady":
            for path in ("/quick", "/sync", "/job") * 3:
                group.create_task(steady(client, path))
        else:
            for number in range(10):
                group.create_task(polls(client))
                group.create_task(listens(client, number))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
