"""Export at the end of uvicorn, which ends its process by the signal that stopped it, so that no exit hook runs.

Before that its server shuts down in an orderly way; the export runs after that shutdown.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["after_shutdown"]

_MODULE = "uvicorn.server"
_jobs: list[Callable[[], object]] = []


def after_shutdown(job: Callable[[], object]) -> None:
    """Run ``job`` in a thread when a server of uvicorn has shut down, if the program has imported uvicorn."""
    server = getattr(sys.modules.get(_MODULE), "Server", None)
    if server is None:
        return
    _jobs.append(job)
    if len(_jobs) == 1:
        server.shutdown = _shutdown(server.shutdown)


def _shutdown(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def shutdown(*args: Any, **kwargs: Any) -> Any:
        try:
            return await original(*args, **kwargs)
        finally:
            for job in _jobs:
                await asyncio.to_thread(job)

    return shutdown
