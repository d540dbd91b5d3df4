"""What the instrumentation sees of this process, and which pools it does not see: for ``glasspool.doctor()``."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

from glasspool._foreign.pool_parts import is_shut_down, name_prefix

from . import futures
from ._observe import pools
from ._observe.pool_kinds import has_maker, is_plumbing
from .instrumentor import Instrumentor

__all__ = ["early_pools", "instrumentors_on", "unseen_pools"]

_MODULES = ("futures", "asyncio", "anyio", "trio", "loky", "dask")
_HERE = os.path.dirname(__file__)


def instrumentors_on() -> list[str]:
    """The names of the instrumentors that are on."""
    for name in _MODULES:  # a subclass exists once its module is imported
        importlib.import_module(f"{__package__}.{name}")
    return sorted(cls.__name__ for cls in Instrumentor.__subclasses__() if cls().is_instrumented_by_opentelemetry)


def unseen_pools() -> list[str]:
    """The pools of this process that are not observed and will not be at their next call."""
    return [_shown(pool) for pool in _unobserved() if not _will_be_found(pool)]


def early_pools() -> list[str]:
    """The pools that were made before they could be observed, and were not used since."""
    return [_shown(pool) for pool in _unobserved() if _will_be_found(pool) and not has_maker(pool)]


def _unobserved() -> Iterator[Any]:
    for each in gc.get_objects():
        if not issubclass(type(each), Executor) or type(each).__module__.startswith(("glasspool", "grpc.")):
            continue
        if pools.find(each) is not None or is_plumbing(each) or is_shut_down(each):
            continue
        if not name_prefix(each) or futures.FuturesInstrumentor.selects(name_prefix(each)):
            yield each


def _will_be_found(pool: Any) -> bool:
    """Whether a class of the pool has a ``submit`` of ours, and an instrumentor is on."""
    methods = [vars(cls).get("submit") for cls in type(pool).__mro__]
    ours = [
        each for each in methods if str(getattr(getattr(each, "__code__", None), "co_filename", "")).startswith(_HERE)
    ]
    return bool(ours) and bool(instrumentors_on())


def _shown(pool: Any) -> str:
    name = name_prefix(pool)
    return f"{name!r} ({type(pool).__name__})" if name else f"{type(pool).__module__}.{type(pool).__name__}"
