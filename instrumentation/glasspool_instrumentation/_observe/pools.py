"""The observed pools of this process, wrapped by ``wrap_executor`` or found by an instrumentor."""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from multiprocessing import connection
from typing import Any, NamedTuple

from opentelemetry.trace import SpanKind

from glasspool._foreign.counted_calls import run_counted
from glasspool._foreign.frames import queued_by
from glasspool._foreign.pool_classes import of_interpreters, of_processes
from glasspool.telemetry.catalog import CANCEL_PHASES, CONTEXT_LOSS_KINDS
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.tracing.carried_call import Carried
from glasspool.telemetry.tracing.spans import Spans
from glasspool_instrumentation._patch.patching import Patch
from glasspool_instrumentation._process import remote_calls
from glasspool_instrumentation._process.worker_telemetry import Settings, parent_settings

from . import thread_calls
from .batched_recorder import NotingRecorder
from .naming import caller_module
from .observation import Observed
from .suppression import core_calls, is_own, recording
from .task_name_limit import MAX_TASK_NAMES, check_max_task_names
from .wait_objectives import WaitObjectives

__all__ = [
    "KILLERS",
    "Observing",
    "PoolKind",
    "PoolState",
    "by_id",
    "default_name",
    "dispatch",
    "drop",
    "find",
    "forget",
    "is_dask",
    "is_plumbing",
    "is_wrapped",
    "kill_workers",
    "killing",
    "kind_of",
    "observe",
    "remember_maker",
    "serve",
    "shut_down",
    "shutting_down",
    "submit",
]

_PLUMBING = ("opentelemetry.", "distributed.", "dask.", "glasspool.")
_NUMBERED = re.compile("(Thread|Interpreter)PoolExecutor-[0-9]*$")  # prefixes that the pools give themselves
_CARRIES_NOTHING = ("loky", "futures")  # pools into which a HybridExecutor itself carries no context


class PoolKind(NamedTuple):
    """The kind of a pool, as the catalog names it, and whether its calls leave the process."""

    type: str
    runner: str
    remote: bool


class PoolState:
    """An observed pool. ``alive`` ends the observation when the pool is garbage-collected."""

    __slots__ = ("alive", "kind", "local", "observed", "settings", "threads")

    def __init__(self, observed: Observed, kind: PoolKind, alive: weakref.ref[Any], settings: Settings | None) -> None:
        self.observed = observed
        self.kind = kind
        self.local = not kind.remote  # calls stay in this process
        self.threads = kind.type == "thread_pool"
        self.alive = alive
        self.settings = settings  # for an SDK in the workers


_pools: dict[int, PoolState] = {}
by_id: Callable[[int], PoolState | None] = _pools.get
"""The observation of the pool with this ``id()``, if there is one: ``find`` for those who count nanoseconds."""
_makers: dict[int, tuple[weakref.ref[Any], str]] = {}  # by the pool's id, for it may have no hash: module that made it
_lock = threading.RLock()

KILLERS = ("terminate_workers", "kill_workers")
"""Methods that pools of processes have since Python 3.14."""


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
        limit = getattr(pool, "_max_workers", None)
        limit = limit if isinstance(limit, int) and limit > 0 else None
        key = id(pool)

        def gone(_: object) -> None:
            _pools.pop(key, None)
            observed.close_when_empty()

        alive = weakref.ref(pool, gone)
        knows_its_queue = not kind.remote and hasattr(pool, "_work_queue")
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
            recorder=Recorder if kind.remote else NotingRecorder,
            cancels=product(("explicit", "shutdown"), CANCEL_PHASES if kind.type == "dask" else ("queued",)),
            rejects=("already_shutdown",) if kind.type == "dask" else ("already_shutdown", "broken"),
            losses=CONTEXT_LOSS_KINDS if kind.remote else (),
            alive=None if limit is None else lambda: workers_of(alive()),
            queue_size=(lambda: _queue_size(alive())) if knows_its_queue else None,
        )
        observed.reruns = is_own(type(pool).submit)
        settings = parent_settings() if child_telemetry and kind.remote else None
        state = _pools[key] = PoolState(observed, kind, alive, settings)
        return state


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
    if core_calls(3):
        return serve(state, pool, fn, lambda made: original(pool, made, *args, **kwargs))
    return submit(state, original, pool, fn, args, kwargs)


def submit(state: PoolState, original: Callable[..., Future[Any]], pool: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """Hand a call to the pool's own ``submit`` (its class's function), observed."""
    observed = state.observed
    if state.local:
        return thread_calls.submit(observed, original, pool, fn, args, kwargs)
    original = functools.partial(original, pool)
    if state.kind.type == "dask":
        from glasspool_instrumentation.dask import submit_through  # it needs this module

        return submit_through(observed, original, pool, fn, args, kwargs)
    return remote_calls.submit(observed, original, fn, args, kwargs, settings=state.settings)


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


def workers_of(pool: Any) -> int:
    """The number of a pool's processes, or threads, that are alive. This waits for none of them."""
    processes = getattr(pool, "_processes", None)
    if not processes:
        return sum(thread.is_alive() for thread in list(getattr(pool, "_threads", None) or ()))
    sentinels = []
    for process in list(processes.values()):
        try:
            sentinels.append(process.sentinel)
        except ValueError:  # closed
            pass
    try:
        return len(sentinels) - len(connection.wait(sentinels, timeout=0))
    except (OSError, ValueError):  # one of them was closed meanwhile
        return 0


def _queue_size(pool: Any) -> int:
    return 0 if pool is None else int(pool._work_queue.qsize())


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


def remember_maker(pool: Any) -> None:
    """Note which module makes this pool (the caller's caller), for its name."""
    maker = str(sys._getframe(2).f_globals.get("__name__") or "")
    key = id(pool)
    gone = weakref.ref(pool, lambda _: _makers.pop(key, None))
    _makers[key] = gone, maker if maker.startswith(_PLUMBING) else caller_module(2)


def _maker(pool: Any) -> str:
    made = _makers.get(id(pool))
    return "" if made is None else made[1]


def drop(pool: Any) -> None:
    """End the observation of one pool; its calls under way are still counted."""
    with _lock:
        state = _pools.pop(id(pool), None)
    if state is not None:
        state.observed.close_when_empty()


def is_plumbing(pool: Any) -> bool:
    """Whether it is a library's internal pool: not part of the application, or with calls that a layer above
    records."""
    if str(getattr(pool, "_thread_name_prefix", "")).startswith("Dask-"):  # made at import, before anybody noted it
        return True
    return type(pool).__module__.startswith(_PLUMBING) or _maker(pool).startswith(_PLUMBING)


def forget(*types: str) -> None:
    """End the observation of all pools of these types except those that were passed to ``wrap_executor``."""
    with _lock:
        for key, state in list(_pools.items()):
            if state.kind.type in types and not state.observed.explicit:
                del _pools[key]
                state.observed.close_when_empty()


def default_name(pool: Any) -> str:
    """The pool's ``thread_name_prefix``, else the module that made it, else the one that uses it."""
    prefix = getattr(pool, "_thread_name_prefix", "")
    if isinstance(prefix, str) and prefix and not _NUMBERED.match(prefix):
        return prefix
    return _maker(pool) or caller_module()


def _after_fork() -> None:
    # Pools live on in the child (an unstarted one may even be used there); the calls under way do not.
    global _lock
    _lock = threading.RLock()
    for state in _pools.values():
        state.observed.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
