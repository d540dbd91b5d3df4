"""The body of the backend tasks that the executor spawns: it runs one task from its first step to its end.

begin ──▶ call the function (here, or on a runner inside the task's own scope) ──▶ settle ──▶ pass cancellation on
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, cast
from weakref import ref

from glasspool._foreign.guarded import is_a, traceback_of

from .backend import Scope, cancellation_in, is_ordinary
from .endings import end_anyhow, end_by
from .engine import Engine
from .runners.base import HIDDEN, Raised
from .task_state import CURRENT, Plan, Task

__all__ = ["run_task"]


async def run_task(engine: Engine, task: Task) -> None:
    """Run the task's function and settle it. Raises only cancellation."""
    value: Any = None
    error: BaseException | None = None
    passing: BaseException | None = None
    try:
        if engine.backend.pause is not None and task.native is None:
            await engine.backend.pause
        if not _begin(engine, task):
            # It was cancelled, or ran out of time, between getting its slot and this first step.
            if engine.nursery.spawner is not None:
                engine.nursery.spawner.finished(task)
            return
        if task.plan.runner is None and (task.scope is None or task.late):
            # The common case: a coroutine function, called here to have one coroutine less on the hot path. A scope
            # is inserted around it, around this very frame, when it is cancelled; an observer may have done so already.
            if engine.backend.call is None:
                value = await task.item.function(*task.item.arguments)
            else:
                value = await engine.backend.call(task.item.function, task.item.arguments)
        else:
            value = await _call_in_scope(engine, task)
            if type(value) is Raised:
                error = value.error
    except BaseException as raised:  # noqa: BLE001 - an outcome; cancellation is passed on below
        error = passing = raised
    try:
        try:
            if task.late and not (passing is None and engine.backend.left(task)):
                passing = _leave(cast("Scope", task.scope), passing)
            if error is None and passing is None:
                engine.settle(task, "success", value)
                return
            # Without `error` the function has left scopes of its own open.
            end_by(engine, task, error if error is not None else cast("BaseException", passing))
        except BaseException as broken:  # noqa: BLE001 - raised when its backend task has ended, if it ends the program
            end_anyhow(engine, task, broken)
        if passing is not None:
            _pass_on(engine, passing)
    finally:
        if engine.nursery.spawner is not None:
            engine.nursery.spawner.finished(task)
        # The frame lives on while the traceback of what the function raised does (from Python 3.13 on), and the
        # task leads to that traceback: it must keep nothing.
        del task, value, error, passing


def _begin(engine: Engine, task: Task) -> bool:
    """Prepare the call of the function; returns False if it must not be called any more."""
    if task.completed is not None:
        return False
    plan = task.plan
    limit = math.inf
    if plan.timeout is not None or plan.deadline is not None:
        now = engine.backend.now()  # read once: a pause between two readings is not the task's running time
        limit = _time_limit(plan, now)
        if limit <= now:
            engine.settle_timeout(task)
            return False
        engine.reporter.asked_in(task, limit - now)
    CURRENT.set(ref(task))
    # Threads look for the scope around them when they start (anyio.from_thread.check_cancelled).
    if not engine.backend.begin(task) or plan.runner is not None:
        task.begin(engine.backend.scope(limit))
    elif limit != math.inf:
        engine.limits.begin(task, limit)
    else:
        task.begin(None)
    if task.attempts is not None:
        engine.retrying().began(task, task.attempts)
    elif task.record.span is None and not engine.reporter.observed:
        engine.reporter.counted_begin(task.record)
    else:
        engine.reporter.began(task)
    return True


def _time_limit(plan: Plan, now: float) -> float:
    """The time limit of the task if it starts ``now``, on the loop's clock."""
    until = math.inf if plan.timeout is None else now + plan.timeout
    return until if plan.deadline is None else min(until, plan.deadline)


async def _call_in_scope(engine: Engine, task: Task) -> Any:
    """Call the function inside the task's own scope. Returns its value, or ``Raised`` if the scope took in the rest."""
    error: BaseException | None = None
    shown: BaseException | None = None
    passing: BaseException | None = None
    value: Any = None
    try:
        try:
            with cast("Scope", task.scope or nullcontext()):
                try:
                    runner = task.plan.runner
                    if runner is None:
                        if engine.backend.call is None:
                            return await task.item.function(*task.item.arguments)
                        return await engine.backend.call(task.item.function, task.item.arguments)
                    value = await runner.run(task, engine.left.freed)
                    if type(value) is not Raised:
                        return value
                    error = value.error
                except BaseException as raised:  # noqa: BLE001 - as in run_task
                    error = raised
                shown = _shown(error)
                if shown is not None:
                    raise shown
        except BaseException as raised:  # noqa: BLE001 - as in run_task
            passing = raised
        if passing is None:
            return Raised(cast("BaseException", error))
        raise error if passing is shown and error is not None else passing
    finally:
        del task, value, error, shown, passing  # see run_task


def _shown(error: BaseException) -> BaseException | None:
    """The part of an error that a scope gets: only the cancellation, since it would split a group of the user's; or the
    GeneratorExit of a coroutine that is being destroyed, which works without a running loop."""
    return error if is_a(error, GeneratorExit) else cancellation_in(error)


def _leave(scope: Scope, passing: BaseException | None) -> BaseException | None:
    """Leave a scope that was inserted around the task late. Returns the exception that is still to be raised after
    that."""
    shown: BaseException | None = None
    try:
        shown = None if passing is None else _shown(passing)
        swallowed = (
            scope.__exit__(None, None, None)
            if shown is None
            else scope.__exit__(type(shown), shown, traceback_of(shown))
        )
    except BaseException as replaced:  # noqa: BLE001 - decided by the caller
        passing, swallowed = replaced, False
    try:
        return None if swallowed else passing
    finally:
        del passing, shown  # see Completed.unwrap


def _pass_on(engine: Engine, passing: BaseException) -> None:
    """Raise the backend's cancellation that is in ``passing``, if there is one and it is meant for this task: a foreign
    one would cancel the other tasks."""
    if is_ordinary(passing):
        return
    try:
        cancellation = cancellation_in(passing)
    except RuntimeError:  # no loop runs any more that could receive it
        return
    if cancellation is not None and engine.backend.is_cancelled(cancellation):
        try:
            raise cancellation
        finally:
            del passing, cancellation  # see Completed.unwrap


HIDDEN.update((run_task.__code__, _call_in_scope.__code__))
