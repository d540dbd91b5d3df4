"""``@instrumented``: metrics and spans for the calls of one function, without an executor."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from itertools import product
from typing import Any, ParamSpec, TypeVar, overload

from glasspool._foreign.guarded import attribute, is_a, is_awaitable, is_coroutine_function
from glasspool._recorded_calls import within_task
from glasspool.telemetry.recording.call_names import function_name, look_through, qualified_name
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.recording.error_types import ends_iteration
from glasspool.telemetry.recording.recorder import TaskRecord
from glasspool.telemetry.tracing.spans import Spans, TaskTracer, enter, leave

from ._observe.coroutines import cancellation_in
from ._observe.naming import check_name
from ._observe.observation import Observed
from ._observe.returned_awaitables import follow
from ._observe.thread_calls import hide_frames, ours
from ._observe.whereabouts import begins

__all__ = ["instrumented"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


@overload
def instrumented(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...


@overload
def instrumented(
    *, name: str | None = None, spans: Spans = "all"
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...


def instrumented(function: Any = None, /, *, name: str | None = None, spans: Spans = "all") -> Any:
    """Observe the calls of a sync or async function: span, outcome, duration, and number of active calls.

        @instrumented(name="checkout")
        async def charge(card): ...

    Within a task that is already counted (of a HybridExecutor, an observed pool or a limiter) the call gets its span
    and is not counted again. Tasks of an event loop are not submitted calls; within them the call is counted.

    If a plain function returns a coroutine, a future (of asyncio or ``concurrent.futures``), or an object that can only
    be awaited, the call ends when that ends. With any other object the call ends when the function returns, even if the
    object can also be awaited. ``@staticmethod`` and ``@classmethod`` may be above or below this decorator.

    :param function: the function; given by ``@instrumented`` without arguments.
    :param name: the executor's name of the series; default the function's module. The task name is the function's.
    :param spans: ``"all"`` (default), ``"parented"`` (only within a recorded span) or ``"off"``.
    :returns: the observed function, or a decorator if no function was given.
    :raises TypeError: it is not a function but, for example, a class or a generator function.
    :raises ValueError: ``name`` is empty or ``spans`` is unknown.
    """
    if name is not None:
        check_name(name)
    if spans not in ("all", "parented", "off"):
        raise ValueError(f"spans= must be 'all', 'parented' or 'off'; got {spans!r}")
    if function is None:
        return functools.partial(_decorate, name=name, spans=spans)
    return _decorate(function, name=name, spans=spans)


def _decorate(function: Any, *, name: str | None, spans: Spans) -> Any:
    given: object = function
    if isinstance(given, (staticmethod, classmethod)):
        return type(given)(_decorate(given.__func__, name=name, spans=spans))
    if not callable(given) or isinstance(given, type):
        raise TypeError(f"@instrumented takes a function; got {function!r}. Write @instrumented(name='…') above a def")
    called = (function, attribute(type(function), "__call__"))  # for an object that is called
    if any(inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found) for found in called):
        raise TypeError(
            f"@instrumented cannot observe the generator function {function_name(function)}: when a generator is done "
            "is up to who iterates it. Decorate the function that consumes it"
        )
    named = look_through(function)
    module = attribute(named, "__module__")
    calls = _Calls(name or (module if type(module) is str else "") or "functions", named, spans)

    if is_coroutine_function(function):

        @functools.wraps(function)
        async def observed_async(*args: Any, **kwargs: Any) -> Any:
            task, token = calls.begin()
            try:
                value = await function(*args, **kwargs)
            except BaseException as error:
                calls.end(task, token, error)
                hide_frames(error)
                del args, kwargs, task, token  # see Call.__call__
                raise
            calls.end(task, token, None)
            return value

        ours(observed_async)
        begins(observed_async)
        return observed_async

    @functools.wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        task, token = calls.begin()
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            calls.end(task, token, error)
            hide_frames(error)
            del args, kwargs, task, token  # see Call.__call__
            raise
        if is_awaitable(value) or is_a(value, Future):
            followed, value = follow(value, task, functools.partial(calls.end, task, None))
            if followed:
                if token is not None:
                    leave(token)
                return value
        calls.end(task, token, None)
        return value

    ours(observed)
    begins(observed)
    return observed


class _Calls:
    """The observation that all calls of one function share."""

    def __init__(self, name: str, function: Any, spans: Spans) -> None:
        self._observed = Observed(
            name,
            "function",
            "inline",
            queue=False,
            workers=False,
            spans=spans,
            cancels=product(("explicit", "parent_scope", "shutdown"), ("running",)),
        )
        self._code = qualified_name(function)
        self._name = function_name(function)

    def begin(self) -> tuple[TaskRecord, Any]:
        """A call begins: its record, and the token of its span's context."""
        observed, recorder = self._observed, self._observed.recorder
        task = recorder.task(self._name, "inline")
        span = task.span = observed.start_span(task, self._code, None)
        if within_task():
            task.started = recorder.record.clock()  # all that its span needs
        else:
            recorder.accept(task, queued=False)
            recorder.begin(task)
        if span is None:
            return task, None
        TaskTracer.begin(span)
        return task, enter(span)

    def end(self, task: TaskRecord, token: Any, error: BaseException | None, reason: str = "") -> None:
        """The call ends, by this error or none; ``reason``: it was a future, which was cancelled."""
        if token is not None:
            leave(token)
        ending = _ending_of(error, reason)
        if task.began:
            self._observed.settle(task, ending)
        elif task.span is not None:  # counted by the task around it
            TaskTracer.end(task.span, ending.timed(None, self._observed.record.clock() - task.started))


def _ending_of(error: BaseException | None, reason: str) -> Ending:
    if error is None or ends_iteration(error):
        return SUCCESS
    if is_a(error, SystemExit) and attribute(error, "code") in (None, 0):
        return SUCCESS  # the program ends as it was meant to
    if not reason and is_a(error, GeneratorExit):  # a coroutine that was closed, or thrown away with its loop
        reason = "shutdown"
    elif not reason and cancellation_in(error) is not None:
        reason = "parent_scope"
    return Ending.cancelled(reason) if reason else Ending.failed(error)
