"""Awaitables that a plain function returns: the call ends when the awaitable ends, not when the function returns.

A coroutine is replaced by one that passes its steps through. A future ends when it is done, and is returned unchanged.
Other awaitables are replaced by one that awaits them, unless they can do more than be awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextvars import Context
from typing import Any

from glasspool._foreign.asyncio_ import failure_of
from glasspool._foreign.guarded import is_a
from glasspool.telemetry.recording.task_record import TaskRecord

from .coroutines import PassedThrough, SteppedCoroutine
from .thread_calls import hide_frames, ours
from .whereabouts import begins

__all__ = ["End", "follow"]

End = Callable[..., None]
"""Ends the call, by this error or none; with a reason if it was cancelled."""

_MORE = ("__aenter__", "__aiter__", "add_done_callback", "cancel")


def follow(value: Any, task: TaskRecord, end: End) -> tuple[bool, Any]:
    """Whether ``end`` will be called when ``value`` ends, and what is to be returned in its place."""
    kind, span = type(value), task.span
    if issubclass(kind, Coroutine) and not hasattr(kind, "__aenter__"):
        return True, _FollowedCoroutine(value if span is None else SteppedCoroutine(value, span), task, end)
    if is_a(value, Future):
        value.add_done_callback(_Done(end))
        return True, value
    if asyncio.isfuture(value):
        value.add_done_callback(_Done(end), context=Context())
        return True, value
    if issubclass(kind, Awaitable) and not any(hasattr(kind, name) for name in _MORE):
        return True, _FollowedAwaitable(value, task, end)
    return False, value


class _Once:
    """The end of a call, reported once, also if the awaitable is destroyed before its end."""

    __slots__ = ("_end",)

    def __init__(self, end: End) -> None:
        self._end: End | None = end

    def __call__(self, error: BaseException | None, reason: str = "") -> None:
        end, self._end = self._end, None
        if end is not None:
            end(error, reason)

    def __del__(self) -> None:
        self(GeneratorExit())


class _FollowedCoroutine(PassedThrough):
    __slots__ = ("_once", "_task")

    def __init__(self, coro: Coroutine[Any, Any, Any], task: TaskRecord, end: End) -> None:
        super().__init__(coro)
        self._task = task
        self._once = _Once(end)

    def of_task(self) -> TaskRecord:
        """See OfTask."""
        return self._task

    def send(self, value: Any) -> Any:
        try:
            return self.around.send(value)
        except BaseException as error:
            self._ended(error)
            del value  # see ObservedCoroutine.send
            raise

    def throw(self, *error: Any) -> Any:
        try:
            return self.around.throw(*error)
        except BaseException as raised:
            self._ended(raised)
            del error
            raise

    def close(self) -> None:
        try:
            self.around.close()
        finally:
            self._once(GeneratorExit())

    def _ended(self, error: BaseException) -> None:
        self._once(None if is_a(error, StopIteration) else error)
        hide_frames(error)


class _FollowedAwaitable:
    """Awaits the awaitable that it replaces; all other attributes are those of that awaitable."""

    def __init__(self, awaitable: Awaitable[Any], task: TaskRecord, end: End) -> None:
        self._awaitable = awaitable
        self._task = task
        self._once = _Once(end)

    def __await__(self) -> Generator[Any, Any, Any]:
        coro: Coroutine[Any, Any, Any] = _awaiting(self._awaitable)
        if self._task.span is not None:
            coro = SteppedCoroutine(coro, self._task.span)
        return _FollowedCoroutine(coro, self._task, self._once).__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._awaitable, name)

    def __repr__(self) -> str:
        return repr(self._awaitable)


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except BaseException as error:
        hide_frames(error)
        del awaitable  # see Call.__call__
        raise


class _Done:
    """The done-callback of a future, which may keep it: it keeps nothing when it was called."""

    __slots__ = ("_once",)

    def __init__(self, end: End) -> None:
        self._once = _Once(end)

    def __call__(self, future: Any) -> None:
        if future.cancelled():
            self._once(CancelledError(), "explicit")
        elif is_a(future, Future):
            self._once(future.exception())
        else:  # not exception(): that would count as retrieving it
            self._once(failure_of(future))


begins(_FollowedCoroutine.send, _FollowedCoroutine.throw)
ours(_FollowedCoroutine.send, _FollowedCoroutine.throw, _awaiting)
