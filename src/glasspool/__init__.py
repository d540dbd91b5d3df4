"""glasspool: concurrent Python work that you can see into.

    executor.py    HybridExecutor: open, submit, map, close                ── start reading here
    pile.py        a view over some tasks; iterators.py: map and as_completed
    task.py        what is asked for, where it stands, how it ended; stats.py: the figures of an executor
    services.py    what runs beside the tasks for as long as the executor is open
    _progress/     progress(): bars for the iterations of map, as_completed and piles
    errors.py      the error tree; signals.py and testing.py build upon the executor
    _core/         inside the executor: engine, queue, nursery, task_body, runners, backend (asyncio, trio)
    telemetry/     catalog ◀ recording ◀ tracing, export; configure()
    _doctor/       what loses telemetry: doctor()
    _foreign/      how objects and frames of other people's code are looked at without running that code

Imports go down only; import-linter checks it.
"""

from typing import TYPE_CHECKING

from ._lazy import lazy
from ._version import __version__

if TYPE_CHECKING:
    from ._doctor import Finding, doctor
    from ._progress.iterating import Progress, progress
    from .current import CurrentTask, current_task
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
    from .headers import retry_after
    from .iterators import AsCompleted, InOrder
    from .limits import Limit
    from .pile import Drained, Pile
    from .rates import Hold, Rate
    from .retries import Retry, RetryBudget
    from .services import Service, ServiceState
    from .stats import CutTask, ExecutorStats, PileStats, ShutdownReport, Stopped
    from .task import Completed, Outcome, TaskHandle, TaskState, WorkItem

__all__ = [
    "AsCompleted",
    "Completed",
    "ConfigurationError",
    "CurrentTask",
    "CutTask",
    "Drained",
    "ExecutorClosed",
    "ExecutorStats",
    "Finding",
    "GlasspoolError",
    "Hold",
    "HybridExecutor",
    "InOrder",
    "Limit",
    "NestedWait",
    "Outcome",
    "Pile",
    "PileEmpty",
    "PileStats",
    "Progress",
    "QueueFull",
    "Rate",
    "Retry",
    "RetryBudget",
    "Service",
    "ServiceState",
    "ShutdownReport",
    "Stopped",
    "TaskCancelled",
    "TaskHandle",
    "TaskState",
    "TaskTimeout",
    "WorkItem",
    "WrongThread",
    "__version__",
    "current_task",
    "doctor",
    "progress",
    "retry_after",
]

_HOME = {
    "AsCompleted": "iterators",
    "Completed": "task",
    "ConfigurationError": "errors",
    "CurrentTask": "current",
    "CutTask": "stats",
    "Drained": "pile",
    "ExecutorClosed": "errors",
    "ExecutorStats": "stats",
    "Finding": "_doctor",
    "GlasspoolError": "errors",
    "Hold": "rates",
    "HybridExecutor": "executor",
    "InOrder": "iterators",
    "Limit": "limits",
    "NestedWait": "errors",
    "Outcome": "task",
    "Pile": "pile",
    "PileEmpty": "errors",
    "PileStats": "stats",
    "Progress": "_progress.iterating",
    "QueueFull": "errors",
    "Rate": "rates",
    "Retry": "retries",
    "RetryBudget": "retries",
    "Service": "services",
    "ServiceState": "services",
    "ShutdownReport": "stats",
    "Stopped": "stats",
    "TaskCancelled": "errors",
    "TaskHandle": "task",
    "TaskState": "task",
    "TaskTimeout": "errors",
    "WorkItem": "task",
    "WrongThread": "errors",
    "current_task": "current",
    "doctor": "_doctor",
    "progress": "_progress.iterating",
    "retry_after": "headers",
}

if not TYPE_CHECKING:  # for a type checker, a name that is misspelt is an error
    # A program may import glasspool long before it needs an executor, or for its errors only.
    __getattr__, __dir__ = lazy(
        __name__,
        _HOME,
        (
            "current",
            "errors",
            "executor",
            "headers",
            "iterators",
            "limits",
            "pile",
            "rates",
            "retries",
            "services",
            "stats",
            "task",
            "telemetry",
        ),
    )
