"""The span processor of ``configure()``: it exports spans in batches and counts every lost span.

OpenTelemetry's own processor does not report the spans that it drops, ignores the timeout of a flush, and has different
internals in different versions. This one uses the same variables (``OTEL_BSP_*``) and drops the same spans (the oldest,
when the queue is full), but counts them.

    on_end ──► queue ──► thread: export ──► sent, or counted by kind
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from .background import Aside, Request
from .environment import LONGEST_MILLISECONDS
from .exporters import SpanExports
from .losses import Losses

__all__ = ["SpanBatches"]

logger = logging.getLogger("glasspool")


class SpanBatches(SpanProcessor):
    """Passes spans to one exporter. ``on_end`` takes no lock: a garbage collection may end spans within it."""

    def __init__(self, exports: SpanExports, losses: Losses) -> None:
        self.exports = exports
        self._losses = losses
        self._most = _setting("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
        self._batch = min(_setting("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), self._most)
        # All mutable state. The queue is appended to and popped from by any thread; each pop counts or sends its span.
        self._queue: deque[ReadableSpan] = deque()
        self._sending = 0  # spans of the batch that is being exported
        self._woken = False
        self._overflowed = False  # and not reported yet
        self._closing: Request | None = None
        self._ended = False  # whatever is in the queue now, or comes, is lost
        self._aside = Aside("glasspool-spans", self._send_some, _setting("OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span; if the queue is full, drop the oldest one."""
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        queue = self._queue
        queue.append(span)
        waiting = len(queue)
        if self._ended:
            self._discard()
            self._losses.explain("span_shutdown", "spans end after telemetry was shut down and are lost")
        elif waiting > self._most:
            try:
                queue.popleft()
            except IndexError:  # sent meanwhile
                return
            self._losses.count("span_queue_full")
            self._overflowed = True
        elif waiting >= self._batch and not self._woken:
            self._woken = True
            self._aside.wake()

    @property
    def reached(self) -> bool:
        """Whether an export has ever succeeded."""
        return self.exports.renewed.succeeded

    def begin_flush(self, timeout: float) -> Request:
        """Begin to send all spans that have ended."""
        return self._aside.ask(self._send_all) if self._closing is None else self._closing

    def begin_close(self) -> Request:
        """Begin to send everything, and end."""
        if self._closing is None:
            self._closing = self._aside.ask(self._finish)
        return self._closing

    def also(self, job: Callable[[], bool]) -> Request:
        """Request ``job`` in the same thread, after the earlier requests."""
        return self._aside.ask(job)

    def end(self) -> None:
        """Let the thread end, after ``begin_close``."""
        self._aside.end()

    def give_up(self) -> int:
        """Stop sending. Returns the number of spans that were not sent, including the batch that is being sent."""
        self._ended = True
        return self._discard() + self._sending

    def start_again(self) -> None:
        """In a forked child: drop what waits, since it belongs to the parent."""
        self._queue = deque()
        self._sending = 0
        self._woken = self._overflowed = False
        if self._closing is None:
            self._aside.start()

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Send all spans that have ended. True if they arrived within the time."""
        if self._aside.here:
            return True
        timeout = 30.0 if timeout_millis is None else timeout_millis / 1000
        request = self.begin_flush(timeout)
        return request.wait(timeout) and request.ok

    def shutdown(self) -> None:
        """Send everything and end; called when the provider is shut down. ``configure()``'s handle is quicker."""
        if self._closing is None and not self.begin_close().wait(30.0):
            self.give_up()

    # -- in the thread of its own ----------------------------------------------------------------------------------

    def _send_some(self, due: bool) -> None:
        self._woken = False
        while not self._ended and len(self._queue) >= (1 if due else self._batch):
            self._send()
        self._speak()

    def _send_all(self) -> bool:
        left, arrived = len(self._queue), True
        while left > 0 and self._queue and not self._ended:
            sent, worked = self._send()
            left -= sent
            arrived = arrived and worked
        self._speak()
        return arrived

    def _finish(self) -> bool:
        arrived = True
        while self._queue and not self._ended:
            arrived = self._send()[1] and arrived
        self._ended = True
        self._discard()  # what ended within the last lines
        self._speak()
        self.exports.renewed.close()
        return arrived

    def _send(self) -> tuple[int, bool]:
        """One batch. Returns how many spans it had, and whether they arrived."""
        batch: list[ReadableSpan] = []
        try:
            while len(batch) < self._batch:
                batch.append(self._queue.popleft())
                self._sending = len(batch)
        except IndexError:
            pass
        arrived = not batch or self.exports.deliver(batch, self._losses)
        self._sending = 0
        return len(batch), arrived

    def _discard(self) -> int:
        lost = 0
        try:
            while True:
                self._queue.popleft()
                lost += 1
        except IndexError:
            pass
        if lost:
            self._losses.count("span_shutdown", lost)
        return lost

    def _speak(self) -> None:
        if self._overflowed:
            self._overflowed = False
            self._losses.explain(
                "span_queue_full",
                f"spans are thrown away, because {self._most} were waiting to be exported (OTEL_BSP_MAX_QUEUE_SIZE): "
                "is the collector unreachable, or slower than the program?",
            )


def _setting(variable: str, default: int) -> int:
    given = os.environ.get(variable, "").strip()
    if not given:
        return default
    if given.isdecimal() and len(given) <= 10 and 0 < int(given) <= LONGEST_MILLISECONDS:
        return int(given)
    logger.warning("%s=%r is not a whole number above 0; using %d", variable, given, default)
    return default
