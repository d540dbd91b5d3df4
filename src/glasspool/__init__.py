"""glasspool: concurrent Python work that you can see into.

    executor.py    HybridExecutor: open, submit, map, close                ── start reading here
    pile.py        a view over some tasks; iterators.py: map and as_completed
    task.py        what is asked for, where it stands, how it ended; stats.py: the figures of an executor
    errors.py      the error tree; signals.py and testing.py build upon the executor
    _core/         inside the executor: engine, queue, nursery, task_body, runners, backend (asyncio, trio)
    telemetry/     catalog ◀ recording ◀ tracing, export; configure()
    _foreign/      how objects and frames of other people's code are looked at without running that code

Imports go down only; import-linter checks it.
"""

from ._version import __version__
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
from .stats import CutTask, ExecutorStats, ShutdownReport, Stopped
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
