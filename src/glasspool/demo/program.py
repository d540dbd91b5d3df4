"""The demo's run: opens everything, works until its time is over or the user stops it, drains, and compares counts."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from glasspool import HybridExecutor
from glasspool.telemetry import TelemetryHandle, configure
from glasspool.telemetry.eventloop import monitor_event_loop

from .client import Client
from .figures import registry_counts
from .pipeline import Pipeline
from .service import Service
from .source import source_files
from .summary import Account, Summary, Tally, checks_of

__all__ = ["Options", "Scene", "View", "run"]

SIZES = {"parse": (4, 16), "deliver": (8, 32)}
"""Slots and queue places of the executors: few, so that limits and queues are reached."""


@dataclass(frozen=True)
class Options:
    """The demo's options. ``port`` of the live page and /metrics: 0 is any free one."""

    backend: str = "asyncio"
    seconds: float = 20.0
    port: int = 9464


@dataclass
class Scene:
    """The objects that a view may read during the run, from any thread."""

    options: Options
    executors: Sequence[HybridExecutor]
    client: Client
    service: Service
    metrics_url: str | None
    otlp: bool
    capacities: Mapping[str, int]
    began: float = field(default_factory=time.perf_counter)
    state: str = "running"

    @property
    def page_url(self) -> str | None:
        """Where the live page is."""
        return None if self.metrics_url is None else self.metrics_url.removesuffix("metrics")

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began


View = Callable[[Scene], AbstractContextManager[object]]
"""Shows the scene as long as its block is open."""


def run(options: Options, view: View, *, sources: list[Path] | None = None) -> Summary:
    """Run the demo to its end and return its summary.

    :raises FileNotFoundError: this Python has no standard library in files.
    """
    files = source_files() if sources is None else sources
    handle = configure(service_name="glasspool-demo", prometheus_port=options.port)
    if handle.prometheus_port is None and options.port != 0:
        configure(service_name="glasspool-demo", prometheus_port=0)  # the first call has reported the problem
    with warnings.catch_warnings():
        # The sources are old; the parser would warn of every invalid escape sequence in them.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        summary = anyio.run(_Run(options, view, files, handle).main, backend=options.backend)
    handle.force_flush()
    return summary


class _Run:
    """One run. It uses one event loop; only views read it from other threads."""

    def __init__(self, options: Options, view: View, files: list[Path], handle: TelemetryHandle) -> None:
        self._options = options
        self._view = view
        self._files = files
        self._handle = handle
        self._tallies = {name: Tally() for name in SIZES}
        self._signal: int | None = None
        self._hurried = False

    async def main(self) -> Summary:
        service = Service()
        client = Client(service)
        executors = [
            HybridExecutor(name, max_in_flight=slots, max_queued=places, observers=[self._tallies[name]])
            for name, (slots, places) in SIZES.items()
        ]
        scene = self._scene(client, service, executors)
        parse, deliver = executors
        pipeline = Pipeline(parse, deliver, client, self._files)
        async with anyio.create_task_group() as group:
            await group.start(service.serve)
            with ExitStack() as views:  # left last: the final picture shows the end
                async with monitor_event_loop("demo"), deliver, parse, self._ended_by(pipeline, scene):
                    views.enter_context(self._view(scene))
                    await pipeline.run()
                    await parse.shutdown()
                    await deliver.shutdown()
                await service.caught_up(client.sent)
                group.cancel_scope.cancel()
        return self._summary(scene, pipeline)

    @asynccontextmanager
    async def _ended_by(self, pipeline: Pipeline, scene: Scene) -> AsyncGenerator[None, None]:
        """Stop the pipeline when its time is over, or at the first Ctrl-C; at the second one cancel what is left."""

        async def time_over() -> None:
            await anyio.sleep(self._options.seconds)
            scene.state = "draining"
            pipeline.stop()

        async def signals() -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
                async for number in received:
                    if self._signal is None:
                        self._signal = int(number)
                        scene.state = "interrupted: draining (once more cancels what is left)"
                        pipeline.stop()
                    else:
                        self._hurried = True
                        scene.state = "interrupted: cancelling"
                        for executor in scene.executors:
                            await executor.shutdown(grace=0)

        async with anyio.create_task_group() as group:
            group.start_soon(time_over)
            group.start_soon(signals)
            yield
            group.cancel_scope.cancel()

    def _scene(self, client: Client, service: Service, executors: Sequence[HybridExecutor]) -> Scene:
        port = self._handle.prometheus_port
        url = f"http://127.0.0.1:{port}/metrics" if port is not None else None
        capacities = {name: places for name, (_, places) in SIZES.items()}
        return Scene(self._options, executors, client, service, url, self._handle.exporting, capacities)

    def _summary(self, scene: Scene, pipeline: Pipeline) -> Summary:
        client, service = scene.client, scene.service
        accounts = {
            executor.name: Account(
                executor.stats(), registry_counts(executor.name), self._tallies[executor.name].counts
            )
            for executor in scene.executors
        }
        checks = checks_of(
            accounts, client, service, handed_on=pipeline.handed_on, full=pipeline.full, hurried=self._hurried
        )
        return Summary(
            self._options.backend, scene.elapsed, self._signal, scene.metrics_url, scene.otlp,
            accounts, client.sent, service.received, checks,
        )  # fmt: skip
