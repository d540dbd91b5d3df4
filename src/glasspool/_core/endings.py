"""Turns the exception that a task's function raised into the task's outcome, by the table of docs/semantics.md.

An exception is an error, except the backend's cancellation. That is a cancellation or a timeout, depending on its first
cause: a request, the task's own time limit, an enclosing scope, or an unknown one.
"""

from __future__ import annotations

from types import TracebackType

from glasspool._foreign.guarded import interrupt_in, is_a, set_traceback, traceback_of

from .backend import INTERRUPTIBLE, is_ordinary, split_cancellation
from .engine import Engine
from .runners.base import HIDDEN
from .task_state import Task, timeout_error

__all__ = ["end_anyhow", "end_by"]


def end_by(engine: Engine, task: Task, error: BaseException) -> None:
    """Settle the task, whose function has ended with ``error``."""
    if task.completed is not None:
        return  # cancelled before its first step, twice
    set_traceback(error, _users_part(traceback_of(error)))
    if is_ordinary(error) and engine.backend.is_current():  # most of them
        _end_by_error(engine, task, error, None)
        return
    if is_a(error, GeneratorExit) and not (task.began and engine.backend.is_current()):
        _end_destroyed(engine, task)
        return
    cancelled, rest = split_cancellation(error)
    if rest is not None:
        _end_by_error(engine, task, rest, cancelled)
    else:
        _end_by_cancellation(engine, task, cancelled)
    runner = task.plan.runner
    if (runner is None or runner.name == "inline") and (interrupt := interrupt_in(error)) is not None:
        engine.crashed(interrupt)


def _end_destroyed(engine: Engine, task: Task) -> None:
    """Settle the task whose coroutine is being destroyed, usually because its loop is gone."""
    if engine.backend.is_current():
        engine.settle_cancelled(task, "shutdown")
    else:
        engine.finalize()


def _end_by_error(engine: Engine, task: Task, error: BaseException, cancelled: BaseException | None) -> None:
    if (
        engine.escalate
        and not engine.closing.reason
        and (source := engine.backend.cancellation_source(cancelled)) is not None
    ):
        # It raised an error when everything was cancelled: the others end by that cancellation.
        engine.abort(source, requests=False)
    if task.attempts is None or cancelled is not None or not engine.retrying().again(task, "error", error):
        engine.settle(task, "error", error=error)


def _end_by_cancellation(engine: Engine, task: Task, cancelled: BaseException | None) -> None:
    if task.request is not None:
        engine.settle_cancelled(task, task.request.reason)
    elif task.scope_cancelled:
        # There was no request, so the scope's deadline has passed.
        error = timeout_error(task)
        if task.attempts is None or not engine.retrying().again(task, "timeout", error):
            engine.settle(task, "timeout", error=error)
    else:
        source = engine.backend.cancellation_source(cancelled)
        if source is not None:
            # The whole nursery is being cancelled: start nothing more in it.
            engine.abort(source, requests=False)
        if task.completed is None:  # the abort has ended it if its function had not been called
            engine.settle_cancelled(task, source or "unknown")


def end_anyhow(engine: Engine, task: Task, broken: BaseException) -> None:
    """Settle the task as an error after its result, or a bug of ours, made settling it fail; its slot becomes free."""
    if not engine.backend.is_current():
        engine.finalize()
        return
    if task.completed is None:
        engine.settle(task, "error", error=broken)
    engine.reporter.broken(broken)


def _users_part(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without our own frames at its top."""
    while traceback is not None and ((code := traceback.tb_frame.f_code) in HIDDEN or code in INTERRUPTIBLE):
        traceback = traceback.tb_next
    return traceback
