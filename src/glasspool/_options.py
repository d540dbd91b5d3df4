"""TaskOptions: the keyword options of one task."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import Executor as FuturesExecutor
from typing import Any, Literal, TypedDict

from .retries import Retry

__all__ = ["TaskOptions"]


class TaskOptions(TypedDict, total=False):
    """The keyword options of one task; their meaning is said once, at ``HybridExecutor.submit``."""

    name: str | None
    timeout: float | None
    deadline: float | None
    context: Literal["parent", "link"]
    runner: Literal["inline", "thread"] | FuturesExecutor | None
    abandon: bool
    metadata: Mapping[str, Any] | None
    isolate: bool | None
    key: Hashable
    cost: float
    after: Iterable[Any]
    retry: Retry | None
