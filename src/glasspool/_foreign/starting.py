"""What is only just being started, as ``multiprocessing`` and the import system keep it without a public name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .frames import stack_of

if TYPE_CHECKING:
    import threading
    from multiprocessing.process import BaseProcess

__all__ = ["imports", "is_initializing", "target_of"]


def target_of(process: BaseProcess) -> Any:
    """The function that this process was made to call, in that process itself; None if there is none."""
    return getattr(process, "_target", None)


def is_initializing(module: str) -> bool:
    """Is another thread in the middle of importing this module?"""
    return bool(getattr(getattr(sys.modules.get(module), "__spec__", None), "_initializing", False))


def imports(thread: threading.Thread) -> bool:
    """Whether this thread is importing a module."""
    return any(frame.f_globals.get("__name__") == "importlib._bootstrap" for frame in stack_of(thread.ident))
