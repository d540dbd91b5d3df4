"""A small HTTP service on the loopback interface that is sometimes slow and sometimes fails."""

from __future__ import annotations

import random
from collections import Counter

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream
from opentelemetry import propagate, trace

__all__ = ["Service"]

_FAILING = 0.04  # share of requests answered with 503
_HANGING = 0.03  # share answered later than any caller waits
_SPELL = (8.0, 2.0, 0.5)  # every 8 s there are 2 s in which every answer takes 0.5 s longer
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError)
_REASONS = {200: "OK", 503: "Service Unavailable"}
_tracer = trace.get_tracer("glasspool.demo")


class Service:
    """Accepts POST requests, one per connection, and counts them.

    ``received`` requests were read completely; each of them ends in ``answered`` (written, by status) or ``unanswered``
    (the caller had gone, or the service ended first).
    """

    def __init__(self, seed: int = 7) -> None:
        self.port = 0
        self.received = 0
        self.answered: Counter[int] = Counter()
        self.unanswered = 0
        self._random = random.Random(seed)  # noqa: S311 - moods, not secrets
        self._began = 0.0
        self._progress = anyio.Event()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve on a free port of 127.0.0.1 until cancelled."""
        self._began = anyio.current_time()
        async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
            self.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
            task_status.started()
            await listener.serve(self._handle)

    async def caught_up(self, sent: int, within: float = 10.0) -> None:
        """Wait until as many requests were received as were sent, at most ``within`` seconds."""
        with anyio.move_on_after(within):
            while self.received < sent:
                await self._progress.wait()

    async def _handle(self, stream: SocketStream) -> None:
        async with stream:
            try:
                headers = await _read_request(stream)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound, *_GONE):
                return  # the caller gave up before the request was complete
            self.received += 1
            progress, self._progress = self._progress, anyio.Event()
            progress.set()
            status = 0
            try:
                status = await self._answer(stream, headers)
            except _GONE:
                pass
            finally:
                if status:
                    self.answered[status] += 1
                else:
                    self.unanswered += 1

    async def _answer(self, stream: SocketStream, headers: dict[str, str]) -> int:
        with _tracer.start_as_current_span(
            "POST /sources", context=propagate.extract(headers), kind=trace.SpanKind.SERVER
        ) as span:
            status, delay = self._mood()
            await anyio.sleep(delay)
            span.set_attribute("http.response.status_code", status)
            head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            await stream.send(head.encode())
            return status

    def _mood(self) -> tuple[int, float]:
        """The status of the next answer, and how many seconds it takes."""
        every, lasts, longer = _SPELL
        spell = longer if (anyio.current_time() - self._began) % every > every - lasts else 0.0
        chance = self._random.random()
        if chance < _FAILING:
            return 503, 0.01 + spell
        if chance < _FAILING + _HANGING:
            return 200, self._random.uniform(1.5, 2.5)
        return 200, min(0.4, self._random.expovariate(1 / 0.05)) + spell


async def _read_request(stream: SocketStream) -> dict[str, str]:
    """Read one request to its end and return its headers."""
    buffered = BufferedByteReceiveStream(stream)
    head = await buffered.receive_until(b"\r\n\r\n", 16384)
    lines = head.decode("latin-1").split("\r\n")[1:]
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    await buffered.receive_exactly(int(headers.get("content-length", "0")))
    return headers
