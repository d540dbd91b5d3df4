"""One task from its first step to its end: the body of every backend task that the executor spawns."""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio

from ._backend import Scope, split_cancellation
from .runners.base import HIDDEN, Raised
from .task import CURRENT, Plan, TaskHandle

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["run_task"]


async def run_task(handle: TaskHandle[Any]) -> None:
    """Run the task's function inside its own cancel scope and report how it ended. Raises only cancellation."""
    engine: Engine = handle._host  # type: ignore[assignment]  # every handle that is spawned is its engine's own
    value: Any = None
    error: BaseException | None = None
    try:
        if engine.backend.pause is not None:
            await engine.backend.pause
        scope = _begin(engine, handle)
        if scope is None:
            return  # it was cancelled, or ran out of time, between getting its slot and this first step
        with scope:
            try:
                runner, item = handle._plan.runner, handle._item
                if runner is None:  # a coroutine function: called here, one coroutine less on the hot path
                    value = await item.function(*item.arguments)
                else:
                    value = await runner.run(handle, engine.thread_freed)
                    if type(value) is Raised:
                        raise value.error
            except BaseException as raised:
                error = raised
                raise
    except BaseException as passing:
        # Without `error` it was not the function but the scope (the function left scopes of its own open), or
        # cancellation before the first step.
        _end(engine, handle, passing if error is None else error)
        cancellation = passing if isinstance(passing, GeneratorExit) else _cancellation_in(passing)
        if cancellation is passing:
            raise
        if cancellation is not None:
            raise cancellation from None
    else:
        if error is not None:  # the scope took in its own cancellation
            _end(engine, handle, error)
        elif handle._completed is None:
            engine.settle(handle, "success", value)
    finally:
        if engine.spawner is not None:
            engine.spawner.finished(handle)
        # Frames of settled tasks may live on in tracebacks; they must not keep results alive.
        del value, error


def _begin(engine: Engine, handle: TaskHandle[Any]) -> Scope | None:
    """The scope to run the function in, or None if it is not to be called any more."""
    if handle._completed is not None:
        return None
    plan = handle._plan
    limit = math.inf
    if plan.timeout is not None or plan.deadline is not None:
        limit = _time_limit(plan)
        if limit <= anyio.current_time():
            engine.settle_timeout(handle)
            return None
    CURRENT.set(handle)
    scope = handle._scope = engine.backend.scope(limit, handle)
    handle._began = True
    engine.reporter.began(handle)
    return scope


def _end(engine: Engine, handle: TaskHandle[Any], error: BaseException) -> None:
    if handle._completed is not None:
        return  # cancelled before its first step, twice
    error.__traceback__ = _users_part(error.__traceback__)
    if isinstance(error, GeneratorExit) and not (handle._began and engine.backend.is_current()):
        engine.settle_cancelled(handle, "shutdown")  # the loop is gone and the coroutine is being destroyed
        return
    engine.end(handle, error)
    runner = handle._plan.runner
    if isinstance(error, (KeyboardInterrupt, SystemExit)) and (runner is None or runner.name == "inline"):
        engine.crashed(error)


def _cancellation_in(error: BaseException) -> BaseException | None:
    """The backend's cancellation in ``error``, to be passed on; None without one or without a running loop."""
    try:
        return split_cancellation(error)[0]
    except RuntimeError:  # no loop runs any more: nobody to pass it on to
        return None


def _time_limit(plan: Plan) -> float:
    """Until when the task may run if it starts now, on the loop's clock."""
    until = math.inf if plan.timeout is None else anyio.current_time() + plan.timeout
    return until if plan.deadline is None else min(until, plan.deadline)


def _users_part(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without our own frames at its top."""
    while traceback is not None and traceback.tb_frame.f_code in HIDDEN:
        traceback = traceback.tb_next
    return traceback


HIDDEN.add(run_task.__code__)
