"""glasspool: concurrent Python work that you can see into.

    executor.py    HybridExecutor: open, submit, map, close      ── start reading here
    engine.py      the synchronous state machine behind it       (queue.py, limits.py, waits.py, reporting.py)
    nursery.py     where tasks live and are started              (_backend/: asyncio, trio)
    running.py     one task from first step to end               (runners/: inline, thread, futures)
    pile.py        a view over some tasks                        (collecting.py, iterators.py)
    task.py        what is asked for, where it stands, how it ended       (host.py: of whom)
    telemetry/     catalog ◀ recorder ◀ exporters; configure()
    errors.py      the error tree

Imports go down this list only; import-linter holds it.
"""

from ._version import __version__
from .closing import CutTask, ExecutorStats, ShutdownReport, Stopped
from .errors import (
    ConfigurationError,
    ExecutorClosed,
    GlasspoolError,
    NestedWait,
    PileEmpty,
    QueueFull,
    TaskCancelled,
    TaskTimeout,
    WrongThread,
)
from .executor import HybridExecutor
from .iterators import AsCompleted, InOrder
from .pile import Drained, Pile, PileStats
from .task import Completed, Outcome, TaskHandle, TaskState, WorkItem

__all__ = [
    "AsCompleted",
    "Completed",
    "ConfigurationError",
    "CutTask",
    "Drained",
    "ExecutorClosed",
    "ExecutorStats",
    "GlasspoolError",
    "HybridExecutor",
    "InOrder",
    "NestedWait",
    "Outcome",
    "Pile",
    "PileEmpty",
    "PileStats",
    "QueueFull",
    "ShutdownReport",
    "Stopped",
    "TaskCancelled",
    "TaskHandle",
    "TaskState",
    "TaskTimeout",
    "WorkItem",
    "WrongThread",
    "__version__",
]
