"""The base class of the instrumentors of asyncio, anyio and trio: it selects and records the tasks of event loops."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from opentelemetry.context import Context

from glasspool.telemetry.recording.recorder import TaskRecord
from glasspool_instrumentation._patch.patching import Patches
from glasspool_instrumentation.instrumentor import Instrumentor

from . import loops
from .coroutines import start_task
from .naming import Selection
from .observation import Observed
from .task_name_limit import MAX_TASK_NAMES, check_max_task_names

__all__ = ["TaskInstrumentor"]


class TaskInstrumentor(Instrumentor):
    """Observes the tasks of event loops, and watches the loops.

    ``include`` and ``exclude`` select the tasks that are counted, ``spans`` those of them that get a span (default:
    none). Their patterns match the function's qualified name, with and without its module. ``monitor`` starts an
    event-loop monitor on each loop. ``max_task_names``: distinct task names that metrics show (default 25; 0: none).
    """

    _selection = Selection()
    _traced: Selection | None = None
    _tasks: Observed | None = None

    @classmethod
    def _begin(
        cls,
        name: str,
        patches: tuple[Patches, ...],
        selection: Selection,
        reasons: Iterable[str],
        *,
        spans: object = None,
        monitor: bool = True,
        max_task_names: int = MAX_TASK_NAMES,
    ) -> None:
        most = check_max_task_names(max_task_names)
        cls._selection = selection
        cls._traced = None if spans is None else Selection(spans, parameter="spans")
        for each in patches:
            each.put_on(cls)
        cls._tasks = Observed(
            name, name, "inline", queue=False, workers=False, cancels=product(reasons, ("running",)),
            # A cancellation of asyncio's own may be taken back, by a timeout within the task for one.
            unretrieved=name == "asyncio", requests=name != "asyncio", max_task_names=most,
        )  # fmt: skip
        loops.use(cls, monitor=monitor)

    @classmethod
    def _cease(cls, patches: tuple[Patches, ...]) -> None:
        for each in patches:
            each.take_off(cls)
        loops.release(cls)
        observed, cls._tasks = cls._tasks, None
        if observed is not None:
            observed.close_when_empty()

    @classmethod
    def start(cls, full: str, name: str, parent: Context | None = None) -> tuple[Observed, TaskRecord] | None:
        """The record of a task that runs from now on, if it is to be observed; ``full`` is its name with the module.

        ``parent`` is the OpenTelemetry context that it will run in (default: the current one).
        """
        observed = cls._tasks
        if observed is None or not (cls._selection.everything or cls._selection(full, name)):
            return None
        traced = cls._traced is not None and cls._traced(full, name)
        return observed, start_task(observed, name, full, parent, span=traced)
