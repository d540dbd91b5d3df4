"""Wrap the executors that people already run; one telemetry contract for all.

    wrap_executor(pool, "etl")      one pool of any kind: wrapping.py
    instrument()                    everything there is in the process, each library in a module of its name
    @instrumented                   any function: decorator.py

Which file does what: ``pools.py`` knows the observed pools, ``observed.py`` one of them; ``calls.py`` takes a call
through a thread pool, ``remote.py`` and ``worker.py`` through another process; ``limiters.py`` through a capacity
limiter, ``coroutines.py`` through an event loop, ``from_thread.py`` into one; ``tasks.py`` is what the instrumentors
of loops share. ``layers.py`` sees to it that one call is one task.
"""

from __future__ import annotations

from .anyio import AnyioInstrumentor
from .asyncio import AsyncioInstrumentor
from .dask import DaskInstrumentor
from .decorator import instrumented
from .futures import FuturesInstrumentor
from .instrumentor import Instrumentor
from .limiters import name_limiter
from .loky import LokyInstrumentor
from .trio import TrioInstrumentor
from .wrapping import unwrap_executor, wrap_executor

__all__ = [
    "AnyioInstrumentor",
    "AsyncioInstrumentor",
    "DaskInstrumentor",
    "FuturesInstrumentor",
    "Instrumentor",
    "LokyInstrumentor",
    "TrioInstrumentor",
    "instrument",
    "instrumented",
    "name_limiter",
    "uninstrument",
    "unwrap_executor",
    "wrap_executor",
]

_ALL: tuple[type[Instrumentor], ...] = (
    FuturesInstrumentor,
    AsyncioInstrumentor,
    AnyioInstrumentor,
    TrioInstrumentor,
    LokyInstrumentor,
    DaskInstrumentor,
)


def instrument() -> None:
    """Turn on every instrumentor whose library is installed. Idempotent.

    To limit one, call its own ``instrument(include=…, exclude=…)``, before or instead.
    """
    for instrumentor in _ALL:
        if instrumentor.available():
            instrumentor().instrument()


def uninstrument() -> None:
    """Turn all of them off. Idempotent."""
    for instrumentor in reversed(_ALL):
        instrumentor().uninstrument()
