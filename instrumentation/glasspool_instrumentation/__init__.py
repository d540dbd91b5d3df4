"""Wrap the executors that people already run; one telemetry contract for all.

    wrap_executor(pool, "etl")      one pool of any kind: wrap.py
    instrument()                    everything there is in the process, each library in a module of its name
    @instrumented                   any function: decorator.py

``_observe`` records calls of this process, ``_process`` those that other processes run, ``_patch`` puts on and takes
off the patches. Imports go down this list only: the libraries' modules and ``wrap``, ``_observe``, ``_process``,
``_patch``.
"""

from __future__ import annotations

from ._observe.limiter_calls import name_limiter
from .anyio import AnyioInstrumentor
from .asyncio import AsyncioInstrumentor
from .dask import DaskInstrumentor
from .decorator import instrumented
from .futures import FuturesInstrumentor
from .instrumentor import Instrumentor
from .loky import LokyInstrumentor
from .trio import TrioInstrumentor
from .wrap import unwrap_executor, wrap_executor

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
