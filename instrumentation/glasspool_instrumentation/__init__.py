"""Wrap the executors that people already run; one telemetry contract for all."""

from .anyio import AnyioInstrumentor
from .asyncio import AsyncioInstrumentor
from .futures import FuturesInstrumentor
from .instrumentor import Instrumentor
from .limiters import name_limiter
from .trio import TrioInstrumentor
from .wrapping import unwrap_executor, wrap_executor

__all__ = [
    "AnyioInstrumentor",
    "AsyncioInstrumentor",
    "FuturesInstrumentor",
    "Instrumentor",
    "TrioInstrumentor",
    "name_limiter",
    "unwrap_executor",
    "wrap_executor",
]
