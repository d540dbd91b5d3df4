"""The observed pools of this process, wrapped by ``wrap_executor`` or found by an instrumentor."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from itertools import product
from typing import Any

from opentelemetry.trace import SpanKind

from glasspool._foreign.frames import queued_by
from glasspool._foreign.pool_parts import alive_workers, has_queue, most_workers, queue_size
from glasspool._recorded_calls import from_executor, recording, run_counted
from glasspool.telemetry.catalog import CONTEXT_LOSS_KINDS, RUN_PHASES
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.tracing.carried_call import Carried
from glasspool.telemetry.tracing.spans import Spans
from glasspool_instrumentation._patch.patching import Patch
from glasspool_instrumentation._process import pool_calls
from glasspool_instrumentation._process.arrivals import ArrivalRecorder
from glasspool_instrumentation._process.worker_telemetry import parent_settings

from . import thread_calls
from .batched_recorder import BatchedRecorder
from .observation import Observed
from .pool_kinds import PoolKind, default_name, is_own, kind_of
from .task_name_limit import MAX_TASK_NAMES, check_max_task_names
from .wait_objectives import WaitObjectives

__all__ = [
    "KILLERS",
    "Observing",
    "PoolState",
    "by_id",
    "dispatch",
    "drop",
    "find",
    "forget",
    "is_wrapped",
    "kill_workers",
    "killing",
    "observe",
    "serve",
    "shut_down",
    "shutting_down",
]

_CARRIES_NOTHING = ("loky", "futures")  # pools into which a HybridExecutor itself carries no context


class PoolState:
    """An observed pool. ``alive`` ends the observation when the pool is garbage-collected."""

    __slots__ = ("alive", "kind", "observed", "submit", "threads")

    def __init__(self, observed: Observed, kind: PoolKind, alive: weakref.ref[Any]) -> None:
        self.observed = observed
        self.kind = kind
        self.threads = kind.type == "thread_pool"
        self.alive = alive
        self.submit: Callable[..., Any] = thread_calls.submit  # hands a call to the pool's own, observed
        if kind.type == "dask":
            self.submit = _submit_to_dask
        elif kind.remote:
            self.submit = pool_calls.submit


_pools: dict[int, PoolState] = {}
by_id: Callable[[int], PoolState | None] = _pools.get
"""The observation of the pool with this ``id()``, if there is one: ``find`` for those who count nanoseconds."""
_lock = threading.RLock()

KILLERS = ("terminate_workers", "kill_workers")
"""Methods that pools of processes have since Python 3.14."""


def observe(
    pool: Any,
    name: str | None = None,
    *,
    spans: Spans = "parented",
    child_telemetry: bool = False,
    explicit: bool = False,
    wait_objective: float | None = None,
    max_task_names: int = MAX_TASK_NAMES,
) -> PoolState:
    """Begin to observe a pool, or return its observation if it is already observed."""
    with _lock:
        state = _pools.get(id(pool))
        if state is not None:
            return state
        kind = kind_of(pool)
        limit = most_workers(pool)
        key = id(pool)

        def gone(_: object) -> None:
            _pools.pop(key, None)
            observed.close_when_empty()

        alive = weakref.ref(pool, gone)
        knows_its_queue = not kind.remote and has_queue(pool)
        observed = Observed(
            name or default_name(pool),
            kind.type,
            kind.runner,
            limit=limit,
            workers=limit is not None,
            spans=spans,
            kind=SpanKind.PRODUCER if kind.remote else SpanKind.INTERNAL,
            explicit=explicit,
            wait_objective=wait_objective,
            max_task_names=max_task_names,
            recorder=_recorder_of(kind),
            cancels=product(("explicit", "shutdown"), RUN_PHASES if kind.type == "dask" else ("queued",)),
            rejects=("already_shutdown",) if kind.type == "dask" else ("already_shutdown", "broken"),
            losses=CONTEXT_LOSS_KINDS if kind.remote else (),
            alive=None if limit is None else lambda: alive_workers(alive()),
            queue_size=(lambda: queue_size(alive())) if knows_its_queue else None,
        )
        observed.reruns = is_own(type(pool).submit)
        if isinstance(observed.recorder, ArrivalRecorder):
            observed.queue_size = observed.recorder.queued
        observed.settings = parent_settings() if child_telemetry and kind.remote else None
        state = _pools[key] = PoolState(observed, kind, alive)
        return state


def _recorder_of(kind: PoolKind) -> Callable[..., Any]:
    if kind.type == "dask":  # nothing bounds its calls here, and each tells of its end alone
        return Recorder
    return ArrivalRecorder if kind.remote else BatchedRecorder


class Observing:
    """The options with which an instrumentor observes the pools that it finds.

    They have the names and meanings of ``wrap_executor``'s; ``wait_objectives`` takes patterns of the pools' names (see
    ``WaitObjectives``). Unknown options raise ``TypeError``.
    """

    def __init__(
        self,
        *,
        spans: Spans = "parented",
        child_telemetry: bool = False,
        wait_objectives: Mapping[str, float] | None = None,
        max_task_names: int = MAX_TASK_NAMES,
    ) -> None:
        self._spans: Spans = spans
        self._child_telemetry = child_telemetry
        self._objectives = WaitObjectives(wait_objectives)
        self._max_task_names = check_max_task_names(max_task_names)

    def begin(self, pool: Any, name: str) -> PoolState:
        """Begin to observe a pool under this name, or return its observation if it is already observed."""
        return observe(
            pool,
            name,
            spans=self._spans,
            child_telemetry=self._child_telemetry,
            wait_objective=self._objectives(name),
            max_task_names=self._max_task_names,
        )


def find(pool: Any) -> PoolState | None:
    """The observation of this pool, if there is one."""
    return by_id(id(pool))


def is_wrapped(pool: Any) -> bool:
    """Whether it was passed to ``wrap_executor``, so that it observes its own calls."""
    state = find(pool)
    return state is not None and state.observed.explicit


def dispatch(state: PoolState, original: Callable[..., Future[Any]], pool: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """Hand a call that no outer layer records to the pool: as a task of its own, or as that of a HybridExecutor.

    Called by what stands in place of the pool's ``submit``.

    :param state: the pool's observation
    :param original: the pool's own ``submit``, its class's function
    """
    if from_executor(2):
        return serve(state, pool, fn, lambda made: original(pool, made, *args, **kwargs))
    return state.submit(state.observed, original, pool, fn, args, kwargs)


def _submit_to_dask(observed: Observed, original: Any, pool: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    from glasspool_instrumentation.dask import submit_through  # it needs this module

    return submit_through(observed, functools.partial(original, pool), pool, fn, args, kwargs)


def serve(state: PoolState, pool: Any, fn: Any, original: Callable[[Any], Future[Any]]) -> Future[Any]:
    """Hand ``fn`` to the pool by ``original``: it is the task of a HybridExecutor, whose runner this pool is.

    The executor records it; here it only keeps a worker busy.
    """
    if state.kind.type in _CARRIES_NOTHING:
        fn = Carried(fn)
    elif state.threads:  # the task's context may not have come this far
        fn = functools.partial(run_counted, fn)
    try:
        with recording():
            future = original(fn)
    except BaseException as error:
        queued = queued_by(error)
        if queued is not None:
            _serves(state, queued)
        raise
    _serves(state, future)
    return future


def _serves(state: PoolState, future: Future[Any]) -> None:
    state.observed.serves()
    future.add_done_callback(state.observed.served)


def shutting_down(patch: Patch, original: Any) -> Any:
    """The replacement of ``shutdown``."""

    def shutdown(self: Any, *args: Any, **options: Any) -> None:
        shut_down(find(self) if patch.active else None, original, self, args, options)

    return shutdown


def shut_down(
    state: PoolState | None, original: Callable[..., None], pool: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """Call the pool's own ``shutdown`` (its class's function), observed if the pool is."""
    if state is None:
        original(pool, *args, **options)
        return
    wait = bool(args[0] if args else options.get("wait", True))
    # Where there is a second argument, it is that of loky, or of a custom executor.
    cancel = any([*args[1:2], options.get("cancel_futures"), options.get("kill_workers")])
    state.observed.shut_down(lambda: original(pool, *args, **options), wait=wait, cancel=cancel)


def killing(patch: Patch, original: Any) -> Any:
    """The replacement of one of ``KILLERS``."""

    def kill(self: Any, *args: Any, **options: Any) -> Any:
        return kill_workers(find(self) if patch.active else None, original, self, args, options)

    return kill


def kill_workers(state: PoolState | None, original: Callable[..., Any], pool: Any, args: Any, options: Any) -> Any:
    """Call the pool's own ``terminate_workers`` or ``kill_workers`` (its class's function), observed if the pool is."""
    if state is not None:
        state.observed.killing = True
    return original(pool, *args, **options)


def drop(pool: Any) -> None:
    """End the observation of one pool; its calls under way are still counted."""
    with _lock:
        state = _pools.pop(id(pool), None)
    if state is not None:
        state.observed.close_when_empty()


def forget(*types: str) -> None:
    """End the observation of all pools of these types except those that were passed to ``wrap_executor``."""
    with _lock:
        for key, state in list(_pools.items()):
            if state.kind.type in types and not state.observed.explicit:
                del _pools[key]
                state.observed.close_when_empty()


def _after_fork() -> None:
    # Pools live on in the child (an unstarted one may even be used there).
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
