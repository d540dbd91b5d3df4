"""Metrics and spans for executors of other libraries, the same as those of ``HybridExecutor``.

    wrap_executor(pool, "etl")   one pool of any kind: wrap.py
    instrument()                 all supported libraries, each in the module of its name
    @instrumented                any function: decorator.py

``_observe`` records calls of this process, and ``_process`` calls that other processes run. Both are below the modules
of the libraries and above ``_patch``, which installs and removes the patches.

Each name is imported from its module at its first use; importing this package imports none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_INSTRUMENTORS = {
    "FuturesInstrumentor": "futures",
    "AsyncioInstrumentor": "asyncio",
    "AnyioInstrumentor": "anyio",
    "TrioInstrumentor": "trio",
    "LokyInstrumentor": "loky",
    "DaskInstrumentor": "dask",
}
"""Every instrumentor and its module, in the order in which they are turned on."""

_MODULES = {
    **_INSTRUMENTORS,
    "Instrumentor": "instrumentor",
    "instrumented": "decorator",
    "name_limiter": "_observe.limiter_calls",
    "unwrap_executor": "wrap",
    "wrap_executor": "wrap",
}


if not TYPE_CHECKING:  # for a type checker, a name that is misspelt is an error

    def __getattr__(name: str) -> object:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: object = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        globals()[name] = found  # the next use does not come here
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def instrument() -> None:
    """Turn on every instrumentor whose library is installed, with its default options. Idempotent.

    Instrumentors that are already on are not changed: to limit one, call its own ``instrument(include=…, exclude=…)``
    before this function, or instead of it.
    """
    for instrumentor in _instrumentors():
        if instrumentor.available():
            instrumentor().instrument()


def uninstrument() -> None:
    """Turn off all instrumentors. Idempotent."""
    for instrumentor in reversed(_instrumentors()):
        instrumentor().uninstrument()


def _instrumentors() -> list[type[Instrumentor]]:
    return [getattr(importlib.import_module(f"{__name__}.{module}"), name) for name, module in _INSTRUMENTORS.items()]
