"""The instrumentor of loky, and of the copy of loky in joblib.

joblib submits its first batches in the caller's thread, and each later batch in the thread that received the result of
an earlier one. No trace is current there, so the context of the caller is set for the submission.
"""

from __future__ import annotations

import weakref
from typing import Any

from opentelemetry.context import Context

from glasspool._recorded_calls import submitting
from glasspool.telemetry.tracing.spans import attach, capture, detach

from ._observe import pools
from ._observe.naming import Selection
from ._observe.pool_kinds import default_name
from ._patch.patching import Patch, Patches
from .instrumentor import Instrumentor

__all__ = ["LokyInstrumentor"]

_MODULES = ("loky.process_executor", "joblib.externals.loky.process_executor")


class LokyInstrumentor(Instrumentor):
    """Observes every loky pool; joblib's ``loky`` backend (its default) submits its batches to one.

    These are the options of ``instrument()``:

    * ``include``: patterns of executor names; default all. The name is the module that first used the pool.
    * ``exclude``: patterns of executor names to leave out; default none.
    * ``spans``: ``"parented"`` (default), ``"all"`` or ``"off"``, as in ``wrap_executor``.
    * ``child_telemetry``: whether the workers set up an SDK of their own from the ``OTEL_*`` variables and flush it
        when they exit; default False.
    * ``wait_objectives``: patterns of executor names, each with the seconds that a call may wait before it is late,
        such as ``{"myapp.*": 0.5}``; the first pattern that matches counts. Default none.
    * ``max_task_names``: distinct task names that metrics show for each executor, default 25; 0 shows none.
    """

    libraries = ("loky", "joblib")
    requires = ("loky >= 3.0",)

    _selection = Selection()
    _observing = pools.Observing()

    def _instrument(self, selection: Selection, **options: Any) -> None:
        cls = LokyInstrumentor
        cls._selection, cls._observing = selection, pools.Observing(**options)
        _patches.put_on(cls)

    def _uninstrument(self) -> None:
        _patches.take_off(LokyInstrumentor)
        pools.forget("loky")


def _submit(patch: Patch, original: Any) -> Any:
    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not patch.active or submitting.inside:
            return original(self, fn, *args, **kwargs)
        cls = LokyInstrumentor
        state = pools.find(self)
        if state is None:
            name = default_name(self)
            if not cls._selection(name):
                return original(self, fn, *args, **kwargs)
            state = cls._observing.begin(self, name)
        return pools.dispatch(state, original, self, fn, args, kwargs)

    return submit


def _patches_of(module: Any) -> list[Patch]:
    cls = module.ProcessPoolExecutor
    return [Patch(cls, "submit", _submit), Patch(cls, "shutdown", pools.shutting_down)]


_callers: weakref.WeakKeyDictionary[Any, Context] = weakref.WeakKeyDictionary()  # joblib.Parallel -> its caller's


def _call(patch: Patch, original: Any) -> Any:
    def __call__(self: Any, iterable: Any) -> Any:
        if patch.active:
            _callers[self] = capture()
        return original(self, iterable)

    return __call__


def _dispatch_next(patch: Patch, original: Any) -> Any:
    def dispatch_next(self: Any) -> Any:
        caller = _callers.get(self) if patch.active else None
        if caller is None:
            return original(self)
        token = attach(caller)
        try:
            return original(self)
        finally:
            detach(token)

    return dispatch_next


def _patches_of_parallel(module: Any) -> list[Patch]:
    cls = module.Parallel
    if not hasattr(cls, "dispatch_next"):
        return []  # another joblib: later batches have no parent
    return [Patch(cls, "__call__", _call), Patch(cls, "dispatch_next", _dispatch_next)]


_patches = Patches({**dict.fromkeys(_MODULES, _patches_of), "joblib.parallel": _patches_of_parallel})
