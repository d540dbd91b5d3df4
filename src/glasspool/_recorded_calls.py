"""Who records a call that several layers see: each call is one task, recorded by the outermost layer that is observed.

``to_thread`` calls ``run_in_executor``, which calls ``submit``. The layer that records a call makes the inner layers'
part of it within ``recording``, and they ask ``recorded_above``. The user's function runs within ``own_calls``: what
it submits is recorded anew. ``@instrument`` asks ``within_task``: is the function part of a task that is counted?

There are four sources for the answer, because none of them is there everywhere: a mark on the thread (for one
synchronous call, never copied), a context variable (across an ``await``), the stack (the executor makes no mark,
which would cost each of its tasks), and the type of the function (where a pool hands its calls to another thread).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar, Token
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from glasspool._foreign.frames import getframe, locals_of
from glasspool._foreign.guarded import attribute, drop_top_frame, is_a

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "CALLERS",
    "STAND_INS",
    "SUBMITTERS",
    "Running",
    "enter_function",
    "from_executor",
    "own_calls",
    "recognise",
    "recorded_above",
    "recording",
    "recording_await",
    "run_counted",
    "stand_in",
    "stands_in",
    "submitting",
    "within_task",
]

_Class = TypeVar("_Class", bound=type)


class Running(Protocol):
    """A call that runs, or ran: contexts copied from its own may outlive it."""

    @property
    def over(self) -> bool:
        """Whether its function has ended."""
        ...


class _Submitting(threading.local):
    """``inside`` is True while this thread makes a call that a layer further out records. Only read it elsewhere."""

    inside = False


submitting = _Submitting()
_awaiting: ContextVar[bool] = ContextVar("glasspool_awaiting", default=False)  # the same, across an await
_running: ContextVar[Running | None] = ContextVar("glasspool_running", default=None)  # whose function runs here


# -- who records says so -----------------------------------------------------------------------------------------------


class recording:
    """Within this block the caller records what its thread submits; blocks may be nested."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = submitting.inside
        submitting.inside = True

    def __exit__(self, *_: object) -> None:
        submitting.inside = self._before


class recording_await:
    """Within this block, across its awaits and in tasks that are made in it, the caller records what is called."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token: Token[bool] | None = _awaiting.set(True)

    def __exit__(self, *_: object) -> None:
        token, self._token = self._token, None  # a token leads to the context, and an error's traceback to this block
        if token is not None:
            _awaiting.reset(token)


class own_calls:
    """Within this block a user's function runs: what it submits is recorded anew.

    :param call: the recorded call that this function is, for ``within_task``; None where the stack says so.
    """

    __slots__ = ("_before", "_call", "_token")

    def __init__(self, call: Running | None = None) -> None:
        self._call = call
        self._before = False
        self._token: Token[Running | None] | None = None

    def enter(self) -> Self:
        """Begin the block, where it is no block of the source."""
        self._before = submitting.inside
        submitting.inside = False
        if self._call is not None:
            self._token = _running.set(self._call)
        return self

    def leave(self) -> None:
        """End the block."""
        submitting.inside = self._before
        token, self._token, self._call = self._token, None, None
        if token is not None:
            _running.reset(token)

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self.leave()


def enter_function(call: Running) -> None:
    """As ``own_calls``, for the rest of this context, which is the call's own: a copy of its caller's."""
    _awaiting.set(False)
    _running.set(call)
    submitting.inside = False


# -- who observes asks -------------------------------------------------------------------------------------------------


def recorded_above(depth: int = 1, *, awaits: bool = False) -> bool:
    """Does a layer further out, or the executor, record the call that is made here?

    :param depth: how many frames above this function's caller the call is made from.
    :param awaits: the call is a coroutine function's. It may run in the first step of a task that starts at once,
        within the call that made the task, which says nothing of what the task's function calls.
    """
    return (submitting.inside and not awaits) or _awaiting.get() or from_executor(depth + 1)


def within_task() -> bool:
    """Does the caller run in a task that is counted already?"""
    call = _running.get()
    return (call is not None and not call.over) or any(test() for test in _tests) or _is_around()


_tests: list[Callable[[], bool]] = []


def recognise(test: Callable[[], bool]) -> None:
    """``test`` says whether the caller runs in a task of an executor that enters no ``own_calls``."""
    _tests.append(test)


# -- the stack ---------------------------------------------------------------------------------------------------------

_PLUMBING = (
    "anyio", "asyncio", "trio", "concurrent", "uvloop", "distributed", "glasspool_instrumentation", "opentelemetry",
    "wrapt",
)  # fmt: skip
_USER, _CORE, _PASSED = range(3)
MOST_KINDS = 256
"""How many entries ``code_kinds`` has at most: a program that makes code as it goes has no end of it."""

code_kinds: dict[CodeType, int] = {}
"""Whose code it is, by code object: looking that up is cheaper than looking at the name of its module."""


def from_executor(depth: int = 1) -> bool:
    """Is the call from glasspool's own executor, which records its tasks itself?

    Frames of the async libraries between it and the caller are passed over, and so is the ``submit`` of a pool that
    hands the call on.

    :param depth: how many frames above this function's caller the call is made from.
    """
    frame: FrameType | None = getframe(depth + 1)
    while frame is not None:
        kind = code_kinds.get(frame.f_code)
        if kind is None:
            if len(code_kinds) >= MOST_KINDS:
                code_kinds.clear()
            kind = code_kinds[frame.f_code] = _kind_of(frame)
        if kind != _PASSED:
            return kind == _CORE
        frame = frame.f_back
    return False


def _kind_of(frame: FrameType) -> int:
    if frame.f_code in CALLERS and frame.f_code not in SUBMITTERS:
        return _USER  # the function is a pool's own submit, say: its call is the user's
    package = str(frame.f_globals.get("__name__") or "").partition(".")[0]
    if package in _PLUMBING or _is_submit(frame):
        return _PASSED
    return _CORE if package == "glasspool" else _USER


def _is_submit(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_name != "submit" or not code.co_argcount:
        return False
    return any(is_a(pool, Executor) for pool in locals_of(frame, code.co_varnames[0]).values())


def run_counted(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call ``function``, whose call is counted by the one that sent it to this thread."""
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        drop_top_frame(error)
        del function, args, kwargs  # the error leads to this frame also without that
        raise


CALLERS: set[CodeType] = {run_counted.__code__}
"""The code that calls functions whose calls are counted. A context variable would not do: a function may have been
packed into a context that was made elsewhere. Each call would pay for a mark; code is entered here once."""

SUBMITTERS: set[CodeType] = set()
"""Those of ``CALLERS`` that hand functions to a pool, which may call them at once."""

_inherited: FrameType | None = None  # in a forked child: the parent's call that it was forked in


def _is_around() -> bool:
    found = _innermost()
    return found is not None and found is not _inherited


def _innermost() -> FrameType | None:
    frame: FrameType | None = getframe(1)
    while frame is not None and frame.f_code not in CALLERS:
        frame = frame.f_back
    return frame


# -- the type of the function ------------------------------------------------------------------------------------------

STAND_INS: set[type] = set()
"""Types of what a recording layer submits in place of the user's function."""


def stand_in(cls: _Class) -> _Class:
    """A class decorator: objects of this class stand for a function whose calls are recorded."""
    STAND_INS.add(cls)
    return cls


def stands_in(function: Any) -> bool:
    """Does this function, or the object whose method it is, stand for one whose calls are recorded?"""
    return type(function) in STAND_INS or type(attribute(function, "__self__")) in STAND_INS


def _after_fork() -> None:
    # The child was forked within these calls; it is in none of them.
    global _inherited
    _inherited = _innermost()
    submitting.inside = False
    _running.set(None)
    if _awaiting.get():
        _awaiting.set(False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
