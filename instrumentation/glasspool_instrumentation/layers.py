"""One call, one task: how an inner instrumented layer knows that an outer one already records this call.

``to_thread`` calls ``run_in_executor`` calls ``submit``: the outermost instrumented layer records. Within one
synchronous call it says so by a thread-local mark; across an ``await`` by a context variable, which whoever runs the
user's function takes off again, because what that function submits is its own.
"""

from __future__ import annotations

import os
import sys
import threading
from contextvars import ContextVar

__all__ = ["awaiting", "core_calls", "submitting"]


class _Submitting(threading.local):
    """``inside`` is True while this thread is within a submission that an outer layer records."""

    inside = False


submitting = _Submitting()

awaiting: ContextVar[bool] = ContextVar("glasspool_awaiting", default=False)
"""True within an awaited call (``to_thread.run_sync``) that an outer layer records."""

_PLUMBING = ("anyio", "asyncio", "trio", "concurrent", "uvloop", "glasspool_instrumentation")


def core_calls(depth: int = 2) -> bool:
    """Is the call from glasspool's own executor, which records its tasks itself?

    ``depth`` as in ``sys._getframe``; frames of the async libraries between it and the caller are passed over.
    """
    frame = sys._getframe(depth)
    while True:
        module = frame.f_globals.get("__name__") or ""
        package = module.partition(".")[0]
        if package not in _PLUMBING:
            return package == "glasspool"
        if frame.f_back is None:
            return False
        frame = frame.f_back


def _forget() -> None:
    # A pool forks its workers inside a submission: the child is not in one.
    submitting.inside = False
    if awaiting.get():
        awaiting.set(False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
