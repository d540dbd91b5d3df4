"""The base class of the instrumentors of asyncio, anyio and trio: it selects and records the tasks of event loops."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from opentelemetry.context import Context

from glasspool.telemetry.recording.recorder import TaskRecord
from glasspool_instrumentation._patch.patching import Patches

from . import loops
from .coroutines import start_task
from .naming import Selection
from .observation import Observed
from .task_name_limit import MAX_TASK_NAMES, check_max_task_names

__all__ = ["LoopTasks"]


class LoopTasks:
    """The tasks of one library that are observed while its instrumentor is on.

    :param name: of the executor that they are shown as, and its type.
    :param reasons: those for which they are cancelled.
    :param options: others of ``Observed``.
    """

    def __init__(self, name: str, reasons: Iterable[str], **options: Any) -> None:
        self._name = name
        self._reasons = tuple(reasons)
        self._options = options
        self._selection = Selection()
        self._spans: Selection | None = None
        self.observed: Observed | None = None
        """None while the instrumentor is off."""

    @property
    def traced(self) -> bool:
        """Whether some of the tasks may get a span."""
        return self._spans is not None

    def begin(
        self,
        patches: Iterable[Patches],
        selection: Selection,
        *,
        spans: object = None,
        monitor: bool = True,
        max_task_names: int = MAX_TASK_NAMES,
    ) -> None:
        """Put the patches on and observe from now on. Options: the instrumentors' own, see ``AsyncioInstrumentor``."""
        most = check_max_task_names(max_task_names)
        self._selection = selection
        self._spans = None if spans is None else Selection(spans, parameter="spans")
        for each in patches:
            each.put_on(self)
        self.observed = Observed(
            self._name, self._name, "inline", queue=False, workers=False, cancels=product(self._reasons, ("running",)),
            max_task_names=most, **self._options,
        )  # fmt: skip
        loops.use(self, monitor=monitor)

    def cease(self, patches: Iterable[Patches]) -> None:
        """Take the patches off. Tasks that run are still counted when they end."""
        for each in patches:
            each.take_off(self)
        loops.release(self)
        observed, self.observed = self.observed, None
        if observed is not None:
            observed.close_when_empty()

    def start(self, full: str, name: str, parent: Context | None = None) -> tuple[Observed, TaskRecord] | None:
        """The record of a task that runs from now on; None if it is not to be observed.

        :param full: the task's name with the module.
        :param parent: the OpenTelemetry context that it will run in (None: the current one).
        """
        observed = self.observed
        if observed is None or not (self._selection.everything or self._selection(full, name)):
            return None
        traced = self._spans is not None and self._spans(full, name)
        return observed, start_task(observed, name, full, parent, span=traced)
