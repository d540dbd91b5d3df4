"""What a task's span says from its start, kept as it was given until it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from glasspool.telemetry.catalog import Key

__all__ = ["StartAttributes"]


class StartAttributes(NamedTuple):
    """The values of the attributes, by the catalog's keys in ``made``."""

    shared: Mapping[str, Any]
    """What all spans of one executor say."""

    runner: str
    task_name: str
    task_id: int
    queue_size: int
    code: str
    more: Mapping[str, Any] | None

    def made(self) -> dict[str, Any]:
        """The attributes."""
        return {
            **self.shared,
            Key.RUNNER: self.runner,
            Key.TASK_NAME: self.task_name,
            Key.TASK_ID: self.task_id,
            Key.QUEUE_SIZE: self.queue_size,
            Key.CODE_FUNCTION: self.code,
            **(self.more or {}),
        }
