"""A client of a language model that allows so many requests and so many tokens in each two seconds.

The model is a real HTTP server, which counts, and which answers 429 with Retry-After when there is too much. Somebody
else has used up its first two seconds. The client keeps to both rates; where it is refused nevertheless, it pauses for
as long as the server asks, and then the same task asks again.

    python examples/llm_rate_limits.py      # httpx is needed
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import anyio
import httpx

from glasspool import HybridExecutor, Limit, Rate, Retry, current_task, retry_after

WINDOW = 2.0
REQUESTS, TOKENS = 30, 3000
"""What the server allows in each window of two seconds."""


# In any two seconds a rate allows count + burst - 1: 25 + 6 - 1 = 30 requests, 2501 + 500 - 1 = 3000 tokens.
MODEL = Limit(
    in_flight=8,
    rate=[Rate(25, per=WINDOW, burst=6, of="starts"), Rate(2501, per=WINDOW, burst=500)],
)


class TooManyRequests(Exception):
    """The server has answered 429, and asks to wait for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many requests, wait for {seconds:g} s")
        self.seconds = seconds


AGAIN = Retry(on=lambda error: error.seconds if isinstance(error, TooManyRequests) else None, attempts=9)


def tokens(question: str) -> int:
    """What the server counts for a question."""
    return len(question.split())


async def post(executor: HybridExecutor, client: httpx.AsyncClient, question: str) -> tuple[str, int]:
    """One request. Returns the answer, and the number of the attempt."""
    response = await client.post("/ask", json={"question": question})
    if response.status_code == 429:
        seconds = retry_after(response.headers) or 1.0
        executor.pause(seconds, key="model")  # in the task: nothing starts before it
        raise TooManyRequests(seconds)
    task = current_task()
    assert task is not None
    return response.raise_for_status().json()["answer"], task.attempt


async def ask(executor: HybridExecutor, client: httpx.AsyncClient, question: str) -> tuple[str, int]:
    """The same as a task. A question that is refused is asked again, in its place of the queue."""
    return await executor.run(post, executor, client, question, key="model", cost=tokens(question), retry=AGAIN)


class Server(ThreadingHTTPServer):
    """Answers at most ``REQUESTS`` questions, of at most ``TOKENS`` tokens in all, in each window."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
        """By window, what was counted in it."""
        self._lock = Lock()
        self._begun = 0.0

    def admit(self, cost: int) -> float | None:
        """None if a question of so many tokens is admitted now, else the seconds until the next window."""
        with self._lock:
            now = time.monotonic()
            self._begun = self._begun or now  # the first window begins with the first request
            window = int((now - self._begun) / WINDOW)
            counts = self.counts[window]
            counts["requests"] += 1
            if counts["answered"] >= REQUESTS or counts["tokens"] + cost > TOKENS:
                counts["refused"] += 1
                return self._begun + (window + 1) * WINDOW - now
            counts["answered"] += 1
            counts["tokens"] += cost
            return None


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["question"]
        wait = self.server.admit(tokens(question))
        if wait is None:
            time.sleep(0.05)  # thinking
        self.send_response(200 if wait is None else 429)
        if wait is not None:
            self.send_header("Retry-After", str(math.ceil(wait)))
        answer = json.dumps({"answer": question.upper()} if wait is None else {"error": "too much"}).encode()
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

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


async def spend(client: httpx.AsyncClient) -> None:
    """Somebody else asks with the same account, until nothing is left of the window."""
    while (await client.post("/ask", json={"question": "me " * (TOKENS // 3)})).status_code == 200:
        pass


async def main() -> None:
    questions = [f"long {number} " + "word " * 198 for number in range(12)]  # 200 tokens each
    questions += [f"short {number} " + "word " * 8 for number in range(24)]  # 10 tokens each
    answers: list[tuple[str, int]] = []
    with serving() as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        async with (
            httpx.AsyncClient(base_url=url, timeout=30.0) as client,
            HybridExecutor("llm", max_in_flight=16, limits={"model": MODEL}) as executor,
        ):
            await spend(client)

            async def caller(question: str) -> None:
                answers.append(await ask(executor, client, question))

            async with anyio.create_task_group() as callers:
                for question in questions:
                    callers.start_soon(caller, question)
                await anyio.sleep(0.5)
                print(f"after half a second: {executor.stats().held} are held")
        stats = executor.stats()
        for window, counts in sorted(server.counts.items()):
            print(
                f"window {window}: {counts['requests']:2} requests, {counts['answered']:2} answered, "
                f"{counts['refused']} refused with 429, {counts['tokens']:4} tokens"
            )
    assert sorted(answer for answer, _ in answers) == sorted(question.upper() for question in questions)
    attempts = sum(attempt for _, attempt in answers)
    print(f"{len(answers)} questions were answered by {stats.submitted} tasks in {attempts} attempts")


if __name__ == "__main__":
    anyio.run(main)  # or backend="trio"
