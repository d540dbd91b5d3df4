"""Requests to a server that fails now and then, and what tries them again: ``retry=``, stamina, tenacity.

The server is a real HTTP server. It places orders. Of each three orders it refuses the first one's first request with
503, and of the second one's first request it loses the answer: the order is placed, and the client sees a closed
connection. All are tried again by ``retry=``, with the task's idempotency key in a header, so that the server places no
order twice.

Then the same with stamina and tenacity, within the tasks' functions. They work on asyncio and trio; but while they
wait, the task keeps its slot, and nothing shows that it waits.

    python examples/retries.py      # httpx, stamina and tenacity are needed
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import anyio
import httpx
import stamina
import tenacity

from glasspool import HybridExecutor, Retry, current_task, retry_after

ORDERS = 9


def passes(error: Exception) -> bool | float:
    """Whether the error passes by itself: a lost connection, or a 503, which may say after how many seconds."""
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 503:
        return retry_after(error.response.headers) or True
    return isinstance(error, httpx.TransportError)


AGAIN = Retry(on=passes, attempts=3, base=0.2)


async def place(client: httpx.AsyncClient, order: int) -> int:
    """Place an order; returns its number at the server."""
    task = current_task()
    assert task is not None
    response = await client.post("/orders", json={"order": order}, headers={"Idempotency-Key": task.idempotency_key})
    return int(response.raise_for_status().json()["number"])


@stamina.retry(on=passes, attempts=3, wait_initial=0.0, wait_jitter=0.2)
async def place_with_stamina(client: httpx.AsyncClient, order: int) -> int:
    """The same, tried again by stamina."""
    return await place(client, order)


def failed_with(state: tenacity.RetryCallState) -> bool | float:
    """What ``passes`` says of an attempt."""
    error = None if state.outcome is None else state.outcome.exception()
    return isinstance(error, Exception) and passes(error)


def pause(state: tenacity.RetryCallState) -> float:
    """As long as the server asks, else up to a fifth of a second."""
    asked = failed_with(state)
    return random.uniform(0, 0.2) if asked is True else asked


@tenacity.retry(
    retry=lambda state: bool(failed_with(state)), stop=tenacity.stop_after_attempt(3), wait=pause, reraise=True
)
async def place_with_tenacity(client: httpx.AsyncClient, order: int) -> int:
    """The same, tried again by tenacity."""
    return await place(client, order)


class Server(ThreadingHTTPServer):
    """Places orders, each key's once."""

    request_queue_size = ORDERS  # connections that may wait at a time

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.placed: dict[str, int] = {}
        """By idempotency key, the number of its order."""
        self.requests: Counter[str] = Counter()
        self._lock = Lock()

    def answer(self, key: str, order: int) -> tuple[int, int | None]:
        """The status, 0 for a connection that is lost, and the number."""
        with self._lock:
            self.requests[key] += 1
            first = self.requests[key] == 1
            if first and order % 3 == 0:
                return 503, None
            number = self.placed.setdefault(key, len(self.placed) + 1)
            return (0 if first and order % 3 == 1 else 200), number


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["order"]
        status, number = self.server.answer(self.headers["Idempotency-Key"], order)
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        if status == 503:
            self.send_header("Retry-After", "3")
        content = json.dumps({"number": number}).encode()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    """The server, in threads of its own."""
    with Server() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


async def order_all(how: str, work: Callable[[httpx.AsyncClient, int], Awaitable[int]], retry: Retry | None) -> None:
    """Place all orders, and print what the server and the executor have seen."""
    numbers: list[int] = []
    with serving() as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        async with (
            httpx.AsyncClient(base_url=url) as client,
            HybridExecutor("orders", max_in_flight=ORDERS, retry=retry) as executor,
            executor.pile() as pile,
        ):
            for order in range(ORDERS):
                await pile.include(work, client, order)
            while len(numbers) < ORDERS * 2 // 3:
                numbers.append((await pile.next_completed()).unwrap())
            await anyio.sleep(0.3)
            stats = executor.stats()  # the others wait for the three seconds that the server has asked for
            numbers += (await pile.drain()).values()
        print(
            f"{how}: {len(set(numbers))} orders in {sum(server.requests.values())} requests, "
            f"{len(server.placed)} placed; while three waited, {stats.slots_used} slots were in use, and "
            f"{stats.held.get('retry', 0)} tasks were shown as waiting"
        )


async def main() -> None:
    stamina.instrumentation.set_on_retry_hooks([])  # they would log, between the lines of this program
    await order_all("retry=", place, AGAIN)
    await order_all("stamina", place_with_stamina, None)
    await order_all("tenacity", place_with_tenacity, None)


if __name__ == "__main__":
    anyio.run(main)  # or backend="trio"
