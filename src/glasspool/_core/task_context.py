"""The context variables of tasks, and of what belongs to no task."""

from __future__ import annotations

from contextvars import Context, copy_context

from glasspool.telemetry.tracing import spans as tracing

from .task_state import CURRENT, Task

__all__ = ["context_of", "context_without_span"]


def context_without_span() -> Context:
    """A copy of the current context in which no span is current: what is started in it belongs to no span."""
    context = copy_context()
    context.run(tracing.attach, tracing.without_span())
    return context


def context_of(task: Task) -> Context | None:
    """The task's context variables as it has set them: within the task itself a copy of what is current."""
    reference = CURRENT.get()
    return task.context if reference is None or reference() is not task else copy_context()
