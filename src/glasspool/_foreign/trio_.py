"""Detects whether trio runs, without importing it: it is optional."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["running_trio"]


def running_trio() -> Any:
    """``trio.lowlevel`` if a trio loop runs the caller, else None.

    In guest mode the host's asyncio loop is also found inside trio's tasks, so this is checked first.
    """
    # While another thread imports trio, the module in sys.modules is incomplete and lacks these names; trio cannot
    # be running then.
    lowlevel: Any = sys.modules.get("trio.lowlevel")
    in_trio_run = getattr(lowlevel, "in_trio_run", None)
    return lowlevel if in_trio_run is not None and in_trio_run() else None
