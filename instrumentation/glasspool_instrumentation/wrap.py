"""``wrap_executor``: observe one pool, whatever its class.

The pool object is the same. Its class becomes a subclass with the same name, whose ``submit`` and ``shutdown`` are
observed. So ``isinstance`` checks, attributes, ``map`` and garbage collection work as before; ``type(pool)`` is the
subclass. A copy, pickled or not, has the pool's original class and is not observed.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
from abc import ABCMeta
from collections.abc import Callable
from concurrent.futures import Executor
from types import FunctionType
from typing import Any, TypeVar

from glasspool import _checks as checks
from glasspool._foreign.frames import getframe
from glasspool._recorded_calls import submitting
from glasspool.telemetry.tracing.spans import Spans

from ._observe import pools
from ._observe.naming import check_name
from ._observe.pool_kinds import handing_on, is_dask, is_own
from ._observe.pools import by_id
from ._observe.task_name_limit import MAX_TASK_NAMES, check_max_task_names

__all__ = ["unwrap_executor", "wrap_executor"]
_Pool = TypeVar("_Pool", bound=Executor)


def wrap_executor(
    pool: _Pool,
    name: str | None = None,
    *,
    spans: Spans = "parented",
    child_telemetry: bool = False,
    wait_objective: float | None = None,
    max_task_names: int = MAX_TASK_NAMES,
) -> _Pool:
    """Observe ``pool`` from its next ``submit`` on, and return the same object.

        pool = wrap_executor(ThreadPoolExecutor(8), "etl")

    :param pool: any ``concurrent.futures.Executor``.
    :param name: the executor's name in metrics and spans. Default: the pool's ``thread_name_prefix``, else the calling
        module.
    :param spans: ``"parented"`` (default) gives a span to the calls of a submitter whose own span is recorded,
        ``"all"`` to every call, ``"off"`` to none.
    :param child_telemetry: whether the workers of a process pool set up an OpenTelemetry SDK from the ``OTEL_*``
        variables and flush it when they exit; default False.
    :param wait_objective: seconds that a call may wait before it is late. The alerts on waits then watch the pool.
        None (default): its calls may wait, as those of a batch do.
    :param max_task_names: distinct task names that metrics show, default 25; 0 shows none.
    :returns: ``pool``.
    :raises TypeError: ``pool`` is not an executor, or its ``submit`` was set on the object, where no class can observe
        it; or an argument has the wrong type.
    :raises ValueError: ``name`` is empty, ``spans`` is unknown, a number is out of range, or the pool is already
        wrapped.
    """
    given: object = pool
    if not isinstance(given, Executor):
        hint = f"; pass an instance: wrap_executor({given.__name__}(…))" if isinstance(given, type) else ""
        raise TypeError(f"wrap_executor() takes a concurrent.futures.Executor; got {pool!r}{hint}")
    if "submit" in getattr(pool, "__dict__", ()):
        raise TypeError(
            f"wrap_executor() observes submit in a pool's class, and {pool!r} has one in the object itself: "
            f"wrap the pool before it is set, or set it in a subclass"
        )
    if name is not None:
        check_name(name)
    if spans not in ("all", "parented", "off"):
        raise ValueError(f"spans= must be 'all', 'parented' or 'off'; got {spans!r}")
    wait_objective = checks.wait_objective(wait_objective)
    check_max_task_names(max_task_names)
    state = pools.find(pool)
    if type(pool) in _made or pools.is_wrapped(pool):
        known = state.observed.record.name if state is not None else "?"
        raise ValueError(f"{pool!r} is wrapped already, as {known!r}; unwrap_executor(pool) first to rename it")
    made = _observing(type(pool))
    pools.drop(pool)  # an instrumentor may observe it under a default name
    pools.observe(
        pool, name, spans=spans, child_telemetry=child_telemetry, explicit=True, wait_objective=wait_objective,
        max_task_names=max_task_names,
    )  # fmt: skip
    _set_class(pool, made)
    return pool


def unwrap_executor(pool: _Pool) -> _Pool:
    """Stop observing ``pool``. Calls under way are still counted. Idempotent.

    :param pool: a pool that was passed to ``wrap_executor``; others are left as they are.
    :returns: ``pool``, with its original class.
    """
    if type(pool) in _made:
        pools.drop(pool)
        _set_class(pool, _made[type(pool)])
    return pool


def _set_class(pool: Any, cls: type) -> None:
    object.__setattr__(pool, "__class__", cls)  # the pool's own __setattr__ may refuse it, as a frozen dataclass's does


# What object.__reduce_ex__ has called to make the copy.
_NEW, _NEW_WITH_OPTIONS = vars(copyreg)["__newobj__"], vars(copyreg)["__newobj_ex__"]

_subclasses: dict[type, type] = {}
_made: dict[type, type] = {}  # the same, the other way round


def _make(cls: Any, space: dict[str, Any]) -> type:
    """A subclass, made without ``cls.__init_subclass__``: it may count subclasses, refuse them, or need arguments."""
    meta = type(cls)
    make = meta if meta in (type, ABCMeta) else functools.partial(type.__new__, meta)
    told = cls.__init_subclass__.__func__ if hasattr(cls.__init_subclass__, "__func__") else None
    if told is None:
        made: type = make(cls.__name__, (cls,), space)
        return made
    base = next(base for base in cls.__mro__ if getattr(base.__init_subclass__, "__func__", None) is not told)
    made = make(cls.__name__, (base,), space)
    made.__bases__ = (cls,)
    return made


def _observing(cls: Any) -> type:
    """The subclass of the same name whose ``submit`` and ``shutdown`` are observed."""
    if cls in _subclasses:
        return _subclasses[cls]

    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        state = by_id(id(self))
        own = cls.submit if is_function else called  # a patch may have replaced it
        if state is None or submitting.inside:
            return own(self, fn, *args, **kwargs)
        original = handing_on(own) if hands_on else own
        if state.threads and type(fn) is FunctionType and getframe(1).f_code.co_name != "submit":  # nearly every call
            return state.submit(state.observed, original, self, fn, args, kwargs)
        return pools.dispatch(state, original, self, fn, args, kwargs)

    def shutdown(self: Any, *args: Any, **options: Any) -> None:
        pools.shut_down(by_id(id(self)), cls.shutdown, self, args, options)

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        reduced = cls.__reduce_ex__(self, protocol)
        if not isinstance(reduced, tuple) or not any(arg is made for arg in reduced[1]):
            return reduced
        rebuild, args, *state = reduced
        if rebuild is _NEW:  # pickle compares what that makes with the class of the pool
            rebuild = cls.__new__
        elif rebuild is _NEW_WITH_OPTIONS:
            _, args, options = args
            rebuild, args = functools.partial(cls.__new__, cls, *args, **options), ()
        return rebuild, tuple(cls if arg is made else arg for arg in args), *state

    def map(self: Any, fn: Callable[..., Any], *iterables: Any, **options: Any) -> Any:
        state = by_id(id(self))
        if state is None:
            return cls.map(self, fn, *iterables, **options)
        from .dask import map_through  # it needs the pools

        return map_through(state.observed, cls.map, self, fn, iterables, options)

    def called(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        above: Any = super(_subclasses[cls], self)
        return above.submit(*args, **kwargs)

    is_function = type(inspect.getattr_static(cls, "submit")) is FunctionType  # else a static method, a property, …
    hands_on = not is_function or is_own(cls.submit)
    replaced = [submit, shutdown, *(_killing(cls, name) for name in pools.KILLERS if hasattr(cls, name))]
    if is_dask(cls):
        replaced.append(map)
    named = {function.__name__: function for function in replaced}
    for name, function in named.items():
        functools.update_wrapper(function, getattr(cls, name))  # whose own name may be another one
    if not is_function:
        vars(submit).pop("__wrapped__", None)  # which is called in another way
    space = {
        **named,
        "__reduce_ex__": __reduce_ex__,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    made = _subclasses.setdefault(cls, _make(cls, space))  # another thread may have been here
    _made[made] = cls
    return made


def _killing(cls: Any, name: str) -> Callable[..., Any]:
    def kill(self: Any, *args: Any, **options: Any) -> Any:
        return pools.kill_workers(by_id(id(self)), getattr(cls, name), self, args, options)

    kill.__name__ = name
    return kill
