"""Objects of other libraries that are alive in this process, found by their true class."""

from __future__ import annotations

import gc
import sys
from typing import Any

__all__ = ["instances"]


def instances(module: str, name: str) -> list[Any]:
    """All objects of this class and its subclasses; none if nobody has imported its module."""
    cls = getattr(sys.modules.get(module), name, None)
    if not isinstance(cls, type):
        return []
    return [each for each in gc.get_objects() if issubclass(type(each), cls)]
