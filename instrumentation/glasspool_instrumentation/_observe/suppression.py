"""One call, one task: tells an inner instrumented layer that an outer one already records the call.

``to_thread`` calls ``run_in_executor`` calls ``submit``: the outermost instrumented layer records. Within one
synchronous call it says so by a thread-local mark; across an ``await`` by a context variable. Whoever runs the user's
function takes both off again, because what that function submits is its own.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any, TypeVar

from glasspool._foreign.frames import locals_of
from glasspool._foreign.guarded import attribute, is_a
from glasspool.telemetry.recording.call_names import links

__all__ = [
    "RECORDED",
    "awaiting",
    "core_calls",
    "every_pool",
    "handing_on",
    "is_own",
    "is_recorded",
    "recorded",
    "recording",
    "submitting",
]

_Class = TypeVar("_Class", bound=type)

RECORDED: set[type] = set()
"""Classes of objects that an outer layer submits in place of the function that it records."""


def recorded(cls: _Class) -> _Class:
    """A class decorator: objects of this class stand for a function whose calls are recorded."""
    RECORDED.add(cls)
    return cls


def is_recorded(fn: Any, args: Any, kwargs: Any) -> bool:
    """Whether an outer layer records this call, even if other code has wrapped it since."""
    return any(
        type(link) in RECORDED or type(attribute(link, "__self__")) in RECORDED for link in links(fn, args, kwargs)
    )


class _Submitting(threading.local):
    """``inside`` is True while this thread is within a submission that an outer layer records.

    ``any_pool`` is True while it hands a call to a pool that is to be observed whichever it is.
    """

    inside = False
    any_pool = False


submitting = _Submitting()


class recording:
    """Within this block, the code that entered it records what the thread submits; blocks may be nested."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = submitting.inside
        submitting.inside = True

    def __exit__(self, *_: object) -> None:
        submitting.inside = self._before


class every_pool:
    """Within this block, a pool that the thread submits to is observed whichever it is; blocks may be nested."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = submitting.any_pool
        submitting.any_pool = True

    def __exit__(self, *_: object) -> None:
        submitting.any_pool = self._before


def is_own(submit: Any) -> bool:
    """Whether this ``submit`` of a pool's class is custom, not a library's.

    It may hand a call on to another pool, put functions of its own around it and run it again; a library's does not.
    """
    return not str(getattr(submit, "__module__", "")).startswith(_LIBRARIES)


def handing_on(submit: Callable[..., Any]) -> Callable[..., Any]:
    """A custom ``submit`` whose calls are recorded: pools to which it passes them on do not record them."""
    return functools.partial(_hand_on, submit)


def _hand_on(submit: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with recording():
        return submit(*args, **kwargs)


_LIBRARIES = ("concurrent.futures.", "loky.", "joblib.externals.loky.", "distributed.")

awaiting: ContextVar[bool] = ContextVar("glasspool_awaiting", default=False)
"""True within an awaited call (``to_thread.run_sync``) that an outer layer records."""

_PLUMBING = (
    "anyio", "asyncio", "trio", "concurrent", "uvloop", "distributed", "glasspool_instrumentation", "opentelemetry",
    "wrapt",
)  # fmt: skip
_USER, _CORE, _PASSED = range(3)
_MOST_KINDS = 256  # a program that makes code as it goes has no end of it
_kinds: dict[CodeType, int] = {}  # looking up a code object is cheaper than looking at its module's name


def core_calls(depth: int = 2) -> bool:
    """Whether the call comes from glasspool's own executor, which records its tasks itself.

    ``depth`` as in ``sys._getframe``; frames of the async libraries between it and the caller are passed over, and so
    is the ``submit`` of a pool that hands the call on.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        kind = _kinds.get(frame.f_code)
        if kind is None:
            if len(_kinds) >= _MOST_KINDS:
                _kinds.clear()
            kind = _kinds[frame.f_code] = _kind_of(frame)
        if kind != _PASSED:
            return kind == _CORE
        frame = frame.f_back
    return False


def _kind_of(frame: FrameType) -> int:
    package = str(frame.f_globals.get("__name__") or "").partition(".")[0]
    if package in _PLUMBING or _is_submit(frame):
        return _PASSED
    return _CORE if package == "glasspool" else _USER


def _is_submit(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_name != "submit" or not code.co_argcount:
        return False
    return any(is_a(pool, Executor) for pool in locals_of(frame, code.co_varnames[0]).values())


def _forget() -> None:
    # A pool forks its workers inside a submission: the child is not in one.
    submitting.inside = submitting.any_pool = False
    if awaiting.get():
        awaiting.set(False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
