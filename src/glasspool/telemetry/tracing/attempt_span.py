"""The span of one attempt of a task that may run more than once: a child of the task's own span."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Span

from glasspool.telemetry import providers
from glasspool.telemetry.attributes import Key
from glasspool.telemetry.recording.printable_text import SHOWN

from .spans import failed

__all__ = ["start"]


def start(task_span: Span, name: str, task_id: int, number: int) -> Span | None:
    """Start it in the current context, in which the task's span is the current one. None if it cannot be made.

    :param name: of the task, in full.
    :param number: of the attempt, from 1.
    """
    tracer = providers.tracer()
    if tracer is None:
        return None
    try:
        attributes: dict[str, Any] = {Key.TASK_NAME: SHOWN[name], Key.TASK_ID: task_id, Key.TASK_ATTEMPT: number}
        return tracer.start_span(
            f"{getattr(task_span, 'name', 'task')} attempt", attributes=attributes, record_exception=False,
            set_status_on_exception=False,
        )  # fmt: skip
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a sampler's or span processor's bug must not reach the task
        failed("starting a span")
        return None
