"""The pipeline: parses the source files in threads and delivers each result over HTTP.

    source files ──▶ parse ──▶ deliver ──▶ service
                       a burst ──▶ ┘ ◀── impatient callers

``deliver`` exerts backpressure on the whole chain: while it is full, ``submit`` waits, no results are taken from
``parse``, and ``parse`` takes no more files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import anyio

from glasspool import ExecutorClosed, HybridExecutor, Outcome, QueueFull, TaskCancelled, TaskHandle, TaskTimeout

from .client import Client, ServiceFailed
from .source import Parsed, parse_file

__all__ = ["Pipeline"]

FILES_PER_SECOND = 30
PARSE_TIMEOUT = 2.0
POST_TIMEOUT = 0.9
BURST_EVERY, BURST_SIZE, BURST_PATIENCE = 4.0, 60, 0.25
CALL_EVERY, CALL_PATIENCE = 0.3, 0.04


class Pipeline:
    """One run of the pipeline.

    It counts some events itself, to be compared with the executors' counts: ``handed_on`` results of ``parse`` went on
    to ``deliver``, ``full`` calls of ``submit_nowait`` found no room.
    """

    def __init__(self, parse: HybridExecutor, deliver: HybridExecutor, client: Client, sources: Sequence[Path]) -> None:
        self.handed_on = 0
        self.full = 0
        self._parse = parse
        self._deliver = deliver
        self._client = client
        self._files = cycle(sources)
        self._latest = Parsed("", 0, 0, 0, 0)
        self._stopped = False

    def stop(self) -> None:
        """Take no more files; files that were taken pass through the whole pipeline."""
        self._stopped = True

    async def run(self) -> None:
        """Run until ``stop()`` was called and the results of all files taken have been submitted to ``deliver``."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._bursts)
            group.start_soon(self._impatient_callers)
            await self._parse_and_deliver()
            group.cancel_scope.cancel()

    async def _sources(self) -> AsyncIterator[Path]:
        due = anyio.current_time()
        while not self._stopped:
            yield next(self._files)
            due = max(due + 1 / FILES_PER_SECOND, anyio.current_time() - 1)
            await anyio.sleep_until(due)

    async def _parse_and_deliver(self) -> None:
        try:
            async with self._parse.as_completed(parse_file, self._sources(), timeout=PARSE_TIMEOUT) as results:
                async for completed in results:
                    if completed.outcome is Outcome.SUCCESS:
                        self.handed_on += 1
                        self._latest = completed.unwrap()
                        await self._deliver.submit(self._client.post, self._latest, name="post", timeout=POST_TIMEOUT)
        except ExecutorClosed:  # closed during the run: the user has interrupted it
            self._stopped = True

    async def _bursts(self) -> None:
        """From time to time submit more deliveries at once than the queue takes, and soon cancel the rest of them."""
        while True:
            await anyio.sleep(BURST_EVERY)
            handles: list[TaskHandle[Any]] = []
            for _ in range(BURST_SIZE):
                try:
                    handles.append(
                        self._deliver.submit_nowait(self._client.post, self._latest, name="burst", timeout=POST_TIMEOUT)
                    )
                except QueueFull:
                    self.full += 1
                except ExecutorClosed:
                    return
            await anyio.sleep(BURST_PATIENCE)
            for handle in handles:
                handle.cancel("the burst is over")

    async def _impatient_callers(self) -> None:
        """Callers that wait for their delivery for a short time only; then it is cancelled with them."""
        while True:
            await anyio.sleep(CALL_EVERY)
            with anyio.move_on_after(CALL_PATIENCE):
                try:
                    await self._deliver.run(self._client.post, self._latest, name="call", timeout=POST_TIMEOUT)
                except (ServiceFailed, TaskTimeout, TaskCancelled):
                    pass
                except ExecutorClosed:
                    return
