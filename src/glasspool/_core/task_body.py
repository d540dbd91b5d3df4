"""One task from its first step to its end: the body of every backend task that the executor spawns."""

from __future__ import annotations

import math
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

import anyio

from glasspool._foreign.guarded import interrupt_in, is_a, set_traceback, traceback_of
from glasspool.task import CURRENT, Plan, TaskHandle

from .backend import INTERRUPTIBLE, Scope, cancellation_in
from .runners.base import HIDDEN, Raised

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["run_task"]


async def run_task(handle: TaskHandle[Any]) -> None:
    """Run the task's function and report how it ended. Raises only cancellation."""
    engine: Engine = handle._host  # type: ignore[assignment]  # every handle that is spawned is its engine's own
    value: Any = None
    error: BaseException | None = None
    passing: BaseException | None = None
    try:
        if engine.backend.pause is not None:
            await engine.backend.pause
        if not _begin(engine, handle):
            # It was cancelled, or ran out of time, between getting its slot and this first step.
            if engine.nursery.spawner is not None:
                engine.nursery.spawner.finished(handle)
            return
        if handle._plan.runner is None and (handle._scope is None or handle._late):
            # The common case: a coroutine function, called here to have one coroutine less on the hot path. A scope
            # is put around it, around this very frame, when somebody cancels it; an observer may have done so already.
            if engine.backend.call is None:
                value = await handle._item.function(*handle._item.arguments)
            else:
                value = await engine.backend.call(handle._item.function, handle._item.arguments)
        else:
            value = await _call(engine, handle)
            if type(value) is Raised:
                error = value.error
    except BaseException as raised:  # noqa: BLE001 - an outcome; cancellation is passed on below
        error = passing = raised
    try:
        try:
            if handle._late:
                passing = _leave(cast("Scope", handle._scope), passing)
            if error is None and passing is None:
                engine.settle(handle, "success", value)
                return
            # Without `error` the function left scopes of its own open.
            _end(engine, handle, error if error is not None else cast("BaseException", passing))
        except BaseException as broken:  # noqa: BLE001 - raised when its backend task has ended, if it ends the program
            engine.end_anyhow(handle, broken)
        if passing is not None:
            _pass_on(engine, passing)
    finally:
        if engine.nursery.spawner is not None:
            engine.nursery.spawner.finished(handle)
        # The frame lives on while the traceback of what the function raised does (from Python 3.13 on), and the
        # handle leads to that traceback: it must keep nothing.
        del handle, value, error, passing


async def _call(engine: Engine, handle: TaskHandle[Any]) -> Any:
    """Call the function inside the task's own scope. Returns its value, or ``Raised`` if the scope took in the rest."""
    error: BaseException | None = None
    shown: BaseException | None = None
    passing: BaseException | None = None
    value: Any = None
    try:
        try:
            with cast("Scope", handle._scope or nullcontext()):
                try:
                    runner = handle._plan.runner
                    if runner is None:
                        if engine.backend.call is None:
                            return await handle._item.function(*handle._item.arguments)
                        return await engine.backend.call(handle._item.function, handle._item.arguments)
                    value = await runner.run(handle, engine.thread_freed)
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
        del handle, value, error, shown, passing  # see run_task


def _shown(error: BaseException) -> BaseException | None:
    """What a scope is shown of an error: cancellation and no more, since it would ask a group of the user's to split
    itself; and that the coroutine is being destroyed, for which no loop need run any more."""
    return error if is_a(error, GeneratorExit) else cancellation_in(error)


def _leave(scope: Scope, passing: BaseException | None) -> BaseException | None:
    """Leave a scope that was put around the task late; what is still to be passed on after that."""
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
    """Raise the backend's cancellation that is in ``passing``, if there is any and it is meant for this task: one of
    somebody else's would cancel the others here."""
    try:
        cancellation = cancellation_in(passing)
    except RuntimeError:  # no loop runs any more: nobody to pass it on to
        return
    if cancellation is not None and engine.backend.is_cancelled(cancellation):
        try:
            raise cancellation
        finally:
            del passing, cancellation  # see Completed.unwrap


def _begin(engine: Engine, handle: TaskHandle[Any]) -> bool:
    """Whether the function is still to be called; if so, all is made ready for it."""
    if handle._completed is not None:
        return False
    plan = handle._plan
    limit = math.inf
    if plan.timeout is not None or plan.deadline is not None:
        now = anyio.current_time()  # read once: a pause between two readings is not the task's running time
        limit = _time_limit(plan, now)
        if limit <= now:
            engine.settle_timeout(handle)
            return False
        engine.recorder.ask(handle._record, engine.recorder.clock() + limit - now)
    CURRENT.set(ref(handle))
    # Threads look for the scope around them when they start (anyio.from_thread.check_cancelled).
    if not engine.backend.begin(handle) or limit != math.inf or plan.runner is not None:
        handle._scope = engine.backend.scope(limit)
    handle._began = True
    if handle._record.span is None and not engine.reporter.observed:
        engine.recorder.begin(handle._record)
    else:
        engine.reporter.began(handle)
    return True


def _end(engine: Engine, handle: TaskHandle[Any], error: BaseException) -> None:
    if handle._completed is not None:
        return  # cancelled before its first step, twice
    set_traceback(error, _users_part(traceback_of(error)))
    if is_a(error, GeneratorExit) and not (handle._began and engine.backend.is_current()):
        # The coroutine is being destroyed, and mostly its loop is gone.
        if engine.backend.is_current():
            engine.settle_cancelled(handle, "shutdown")
        else:
            engine.finalize()
        return
    engine.end(handle, error)
    runner = handle._plan.runner
    if (runner is None or runner.name == "inline") and (interrupt := interrupt_in(error)) is not None:
        engine.crashed(interrupt)


def _time_limit(plan: Plan, now: float) -> float:
    """Until when the task may run if it starts ``now``, on the loop's clock."""
    until = math.inf if plan.timeout is None else now + plan.timeout
    return until if plan.deadline is None else min(until, plan.deadline)


def _users_part(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without our own frames at its top."""
    while traceback is not None and ((code := traceback.tb_frame.f_code) in HIDDEN or code in INTERRUPTIBLE):
        traceback = traceback.tb_next
    return traceback


HIDDEN.update((run_task.__code__, _call.__code__))
