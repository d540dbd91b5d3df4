"""Objects alive at the checkpoints of a scenario: it runs bare and then observed, where no additional ones may be.

Nothing is collected meanwhile. A worker may hold its last call until it takes the next: scenarios give it one before a
checkpoint.
"""

from __future__ import annotations

import contextvars
import gc
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from opentelemetry import context as otel_context

__all__ = ["FUNCTIONS", "OUTCOMES", "VARIABLE", "Boom", "Compare", "Run", "Scenario", "Thing", "in_own_context", "step"]

PATIENCE = 15.0
"""Seconds that a thread, which lets go of what it had when it comes to it, may need more than it did bare."""

VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

OUTCOMES = ("success", "failure", "cancelled")


class Thing:
    """Something of the user's."""


class Boom(Exception):
    """An error of the user's."""


class Run:
    """One run of a scenario: what it is called with, by name, and what of that is alive at its checkpoints."""

    def __init__(self, bare: Run | None, span: Callable[[], AbstractContextManager[Any]], directory: Path) -> None:
        self.bare = bare
        self.span = span  # what calls are made in
        self.directory = directory
        self.left: dict[str, set[str]] = {}
        self.known: dict[str, weakref.ref[Any]] = {}

    def watch(self, name: str, thing: Any) -> Any:
        """Remember ``thing`` by this name, and do not keep it."""
        self.known[name] = weakref.ref(thing)
        return thing

    @property
    def alive(self) -> set[str]:
        return {name for name, known in self.known.items() if known() is not None}

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """In the scenario's span, with something of the user's in OpenTelemetry's context."""
        with self.span():
            token = otel_context.attach(otel_context.set_value("thing", self.watch("carried", Thing())))
            try:
                yield
            finally:
                otel_context.detach(token)

    def check(self, name: str) -> None:
        """A checkpoint."""
        for _ in self._waiting(name):
            time.sleep(0.002)

    async def check_soon(self, name: str) -> None:
        """A checkpoint in an event loop, after what is scheduled now."""
        for _ in range(5):
            await checkpoint()
        for _ in self._waiting(name):
            await anyio.sleep(0.002)

    def collect(self) -> None:
        """The last checkpoint, of what not only cycles keep. A scenario of which nothing is gone then shows nothing."""
        gc.collect()
        for _ in self._waiting("collected"):
            time.sleep(0.002)
            gc.collect()

    def _waiting(self, name: str) -> Iterator[None]:
        deadline = time.monotonic() + PATIENCE
        while (more := self._too_much(name)) and time.monotonic() < deadline:
            yield
        assert not more, f"alive at {name!r}, and not without us: {sorted(more)}, kept by {self._keepers(more)}"
        self.left[name] = self.alive

    def _too_much(self, name: str) -> set[str]:
        alive = self.alive
        if self.bare is not None:
            return alive - self.bare.left[name]
        return alive if name == "collected" and len(alive) == len(self.known) else set()

    def _keepers(self, names: set[str]) -> list[str]:
        found = [self.known[name]() for name in names]
        return [repr(keeper)[:200] for thing in found for keeper in gc.get_referrers(thing) if keeper is not found]


Scenario = Callable[[Run], None]


class Compare:
    """Runs a scenario bare, turns on what is to be on, and runs it observed."""

    def __init__(self, bare: dict[str, Run], key: str, span: Callable[[], Any], directory: Path) -> None:
        self._bare = bare  # by what is the same for all ways of observing: run once
        self._key = key
        self._span = span
        self._directory = directory

    def __call__(self, bare: Scenario, turn_on: Callable[[], Any], observed: Scenario | None = None) -> None:
        first = self._bare.get(self._key)
        if first is None:
            first = self._bare[self._key] = self._run(bare, None)
        turn_on()
        self._run(observed or bare, first)

    def _run(self, scenario: Scenario, bare: Run | None) -> Run:
        directory = self._directory / ("bare" if bare is None else "observed")
        directory.mkdir()
        run = Run(bare, self._span, directory)
        gc.disable()
        try:
            scenario(run)
            run.collect()
        finally:
            gc.enable()
        return run


def succeed(bound: Thing, argument: Thing) -> Thing:
    return Thing()


def fail(bound: Thing, argument: Thing) -> None:
    del bound, argument  # the traceback keeps what its frames have
    raise Boom


FUNCTIONS: dict[str, Callable[..., Any]] = {"success": succeed, "failure": fail}


async def step(argument: Any, outcome: str, begun: Any = None) -> Any:
    """A coroutine that has an argument, and this outcome; the code that waits for ``begun`` does the cancelling."""
    await checkpoint()
    if begun is not None:
        begun.set()
    if outcome == "cancelled":
        await anyio.Event().wait()  # not a sleep: asyncio keeps the context of its cancelled timers
    del argument
    if outcome == "failure":
        raise Boom
    return Thing()


def in_own_context(run: Run, function: Callable[..., Any], *args: Any) -> Any:
    """Call it in a context that has an object of the user's in it, to which there is no other reference."""
    with run.carrying():
        context = contextvars.copy_context()
    context.run(VARIABLE.set, run.watch("value", Thing()))
    return context.run(function, *args)
