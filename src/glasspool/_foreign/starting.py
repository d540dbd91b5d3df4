"""What is only just being started, as ``multiprocessing`` and the import system keep it without a public name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

__all__ = ["is_initializing", "target_of"]


def target_of(process: BaseProcess) -> Any:
    """The function that this process was made to call, in that process itself; None if there is none."""
    return getattr(process, "_target", None)


def is_initializing(module: str) -> bool:
    """Is another thread in the middle of importing this module?"""
    return bool(getattr(getattr(sys.modules.get(module), "__spec__", None), "_initializing", False))
