"""The task within which code runs, as that code itself may know it."""

from __future__ import annotations

import os
import uuid
from contextvars import ContextVar
from typing import NamedTuple

__all__ = ["CARRIED", "CurrentTask", "idempotency_key"]


class CurrentTask(NamedTuple):
    """The task within which the caller runs.

    ``name``: its ``name=``, else the function's qualified name. ``attempt``: how often it has been started, from 1.
    ``idempotency_key``: the same text in every attempt of the task and for no other task, such as servers take in a
    header to do a thing once.
    """

    name: str
    attempt: int
    idempotency_key: str


CARRIED: ContextVar[CurrentTask | None] = ContextVar("glasspool_carried_task", default=None)
"""The task of another process for which this one runs a function."""

_process: tuple[int, str] = (0, "")


def idempotency_key(task_id: int) -> str:
    """The key of a task of this process: a random number of the process, and the task's."""
    global _process
    if _process[0] != os.getpid():  # a forked child goes on with its parent's numbers of tasks
        _process = os.getpid(), uuid.uuid4().hex
    return f"{_process[1]}-{task_id}"
