"""The instrumentor of ``ThreadPoolExecutor``, ``ProcessPoolExecutor`` and ``InterpreterPoolExecutor``."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from glasspool._foreign.frames import getframe
from glasspool._recorded_calls import STAND_INS, submitting

from ._observe import pools, thread_calls
from ._observe.naming import OTEL_THREADING, Selection
from ._observe.pool_kinds import any_pool, default_name, is_plumbing, remember_maker
from ._patch.patching import Patch, Patches
from .instrumentor import Instrumentor

__all__ = ["FuturesInstrumentor", "patches"]


class FuturesInstrumentor(Instrumentor):
    """Observes all pools of ``concurrent.futures``. These are the options of ``instrument()``:

    * ``include``: patterns of executor names; default all. The name is the pool's ``thread_name_prefix``, else the
        module that made the pool.
    * ``exclude``: patterns of executor names to leave out; default none.
    * ``spans``: ``"parented"`` (default), ``"all"`` or ``"off"``, as in ``wrap_executor``.
    * ``child_telemetry``: whether process workers set up an SDK of their own from the ``OTEL_*`` variables and flush
        it when they exit; default False.
    * ``wait_objectives``: patterns of executor names, each with the seconds that a call may wait before it is late,
        such as ``{"web-*": 0.5}``; the first pattern that matches counts. Default none.
    * ``max_task_names``: distinct task names that metrics show for each executor, default 25; 0 shows none.
    """

    libraries = ("concurrent.futures",)

    _selection = Selection()
    _observing = pools.Observing()

    def _instrument(self, selection: Selection, **options: Any) -> None:
        cls = FuturesInstrumentor
        cls._selection, cls._observing = selection, pools.Observing(**options)
        patches.put_on(cls)

    def _uninstrument(self) -> None:
        patches.take_off(FuturesInstrumentor)
        pools.forget("thread_pool", "process_pool", "interpreter_pool", "futures")

    @classmethod
    def selects(cls, name: str) -> bool:
        """Whether pools of this name are to be observed, as far as ``include`` and ``exclude`` say.

        :param name: the name of the executor.
        """
        return bool(cls._selection(name))

    @classmethod
    def found(cls, pool: Any) -> pools.PoolState | None:
        """The observation of a pool that submits; None if the pool is not to be observed."""
        state = pools.find(pool)
        if state is None and (cls._on or any_pool.wanted):
            name = default_name(pool)
            if (any_pool.wanted or cls._selection(name)) and not is_plumbing(pool):
                state = cls._observing.begin(pool, name)
        return state


def _submit(patch: Patch, original: Any) -> Any:
    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        state = pools.by_id(id(self))
        if (  # what most calls are
            state is not None
            and state.threads
            and patch.active
            and type(fn) is FunctionType
            and fn.__module__ != OTEL_THREADING
            and not submitting.inside
            and getframe(1).f_code.co_name != "submit"  # of a pool that may hand on what a HybridExecutor gave it
        ):
            return thread_calls.submit(state.observed, original, self, fn, args, kwargs)
        if not patch.active or type(fn) in STAND_INS or submitting.inside:
            return original(self, fn, *args, **kwargs)
        state = FuturesInstrumentor.found(self)
        if state is None:
            return original(self, fn, *args, **kwargs)
        return pools.dispatch(state, original, self, fn, args, kwargs)

    return submit


def _init(patch: Patch, original: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if patch.active:
            remember_maker(self)

    return __init__


def _patches_of(cls: type) -> list[Patch]:
    return [
        Patch(cls, "__init__", _init),
        Patch(cls, "submit", _submit),
        Patch(cls, "shutdown", pools.shutting_down),
        *(Patch(cls, name, pools.killing) for name in pools.KILLERS if hasattr(cls, name)),
    ]


patches = Patches(
    {
        "concurrent.futures.thread": lambda module: _patches_of(module.ThreadPoolExecutor),
        "concurrent.futures.process": lambda module: _patches_of(module.ProcessPoolExecutor),
    }
)
"""The patches on the pools' classes. The asyncio instrumentor uses them too."""
