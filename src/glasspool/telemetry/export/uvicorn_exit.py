"""uvicorn, which ends its process by the signal that it was told to stop by: no exit hook of Python's runs then.

It shuts down in order before that, and so what has been measured until then can be exported after that.
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
    """Have ``job`` done in a thread when a server of uvicorn has shut down, if the program has imported uvicorn."""
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
