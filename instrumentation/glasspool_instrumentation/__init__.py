"""Wrap the executors that people already run; one telemetry contract for all."""

from .futures import FuturesInstrumentor
from .instrumentor import Instrumentor
from .wrapping import unwrap_executor, wrap_executor

__all__ = ["FuturesInstrumentor", "Instrumentor", "unwrap_executor", "wrap_executor"]
