"""The kind and the name of a pool, and whether it, and its ``submit``, belong to a library or to the application."""

from __future__ import annotations

import functools
import os
import re
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from glasspool._foreign.frames import getframe
from glasspool._foreign.pool_classes import of_interpreters, of_processes
from glasspool._foreign.pool_parts import name_prefix
from glasspool._recorded_calls import recording

from .naming import caller_module

__all__ = [
    "PoolKind",
    "any_pool",
    "default_name",
    "every_pool",
    "handing_on",
    "has_maker",
    "is_dask",
    "is_own",
    "is_plumbing",
    "kind_of",
    "remember_maker",
]

_PLUMBING = ("opentelemetry.", "distributed.", "dask.", "glasspool.")
_LIBRARIES = ("concurrent.futures.", "loky.", "joblib.externals.loky.", "distributed.")
_NUMBERED = re.compile("(Thread|Interpreter)PoolExecutor-[0-9]*$")  # prefixes that the pools give themselves


class PoolKind(NamedTuple):
    """The kind of a pool, as the catalog names it, and whether its calls leave the process."""

    type: str
    runner: str
    remote: bool


def kind_of(pool: Any) -> PoolKind:
    """The kind of any executor. Unknown ones are taken to run their calls in this process."""
    if of_interpreters(pool):
        return PoolKind("interpreter_pool", "interpreter", True)
    if isinstance(pool, ThreadPoolExecutor):
        return PoolKind("thread_pool", "thread", False)
    if of_processes(pool):
        return PoolKind("process_pool", "process", True)
    modules = {base.__module__ for base in type(pool).__mro__}
    if any(module.startswith(("loky.", "joblib.externals.loky.")) for module in modules):
        return PoolKind("loky", "process", True)
    if is_dask(type(pool)):
        return PoolKind("dask", "cluster", True)
    return PoolKind("futures", "futures", False)


def is_dask(cls: type) -> bool:
    """Whether it is the executor of a Dask client, whose ``map`` does not call its ``submit``."""
    return any(base.__module__ == "distributed.cfexecutor" for base in cls.__mro__)


# -- names -------------------------------------------------------------------------------------------------------------

_makers: dict[int, tuple[weakref.ref[Any], str]] = {}  # by the pool's id, for it may have no hash: module that made it


def remember_maker(pool: Any) -> None:
    """Note which module makes this pool (the caller's caller), for its name."""
    maker = str(getframe(2).f_globals.get("__name__") or "")
    key = id(pool)
    gone = weakref.ref(pool, lambda _: _makers.pop(key, None))
    _makers[key] = gone, maker if maker.startswith(_PLUMBING) else caller_module(2)


def _maker(pool: Any) -> str:
    made = _makers.get(id(pool))
    return "" if made is None else made[1]


def has_maker(pool: Any) -> bool:
    """Whether it is known which module made the pool: it was made while pools were observed."""
    return bool(_maker(pool))


def default_name(pool: Any) -> str:
    """The pool's ``thread_name_prefix``, else the module that made it, else the one that uses it."""
    prefix = name_prefix(pool)
    if prefix and not _NUMBERED.match(prefix):
        return prefix
    return _maker(pool) or caller_module()


def is_plumbing(pool: Any) -> bool:
    """Whether it is a library's internal pool: not part of the application, or with calls that a layer above
    records."""
    if name_prefix(pool).startswith("Dask-"):  # made at import, before pools were observed
        return True
    return type(pool).__module__.startswith(_PLUMBING) or _maker(pool).startswith(_PLUMBING)


# -- whose submit it is ------------------------------------------------------------------------------------------------


def is_own(submit: Any) -> bool:
    """Is this ``submit``, of a pool's class, the application's own?

    It may hand a call on to another pool, put functions of its own around it and run it again; a library's does not.
    """
    return not str(getattr(submit, "__module__", "")).startswith(_LIBRARIES)


def handing_on(submit: Callable[..., Any]) -> Callable[..., Any]:
    """A ``submit`` of the application's own, whose calls are recorded: pools that it hands them on to stay silent."""
    return functools.partial(_hand_on, submit)


def _hand_on(submit: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with recording():
        return submit(*args, **kwargs)


class _AnyPool(threading.local):
    """``wanted`` is True while this thread hands a call to a pool that is observed whichever it is. Only read it."""

    wanted = False


any_pool = _AnyPool()


class every_pool:
    """Within this block, a pool that the thread submits to is observed whichever it is; blocks may be nested."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = any_pool.wanted
        any_pool.wanted = True

    def __exit__(self, *_: object) -> None:
        any_pool.wanted = self._before


def _after_fork() -> None:
    any_pool.wanted = False  # a pool forks its workers inside a submission: the child is not in one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
