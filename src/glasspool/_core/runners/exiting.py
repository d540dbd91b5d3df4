"""Calls that still run when the program has ended: they are named on stderr, and the process does not wait for them.

The executor's own threads are daemons, for which the interpreter does not wait. It would wait for the threads and
processes of a user's pool; this is prevented if they are busy only with calls that tasks have left behind.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, Future, wait
from typing import Any

from glasspool._core.backend.joining import before_joining, let_go
from glasspool._core.backend.pools import PoolParts
from glasspool._foreign.frames import stack_of

__all__ = ["RunningCall", "leave_in_pool", "running"]

_PLUMBING = ("threading", "concurrent", "anyio", "trio", "outcome", "glasspool", "glasspool_instrumentation")
"""Packages whose frames lie between the start of a thread and the user's function."""


class RunningCall:
    """A call of a task, since an instant of ``time.monotonic()``, in a thread if that is known."""

    __slots__ = ("executor", "since", "task", "thread")

    def __init__(self, executor: str, task: str, since: float, thread: int | None = None) -> None:
        self.executor = executor
        self.task = task
        self.since = since
        self.thread = thread

    def __str__(self) -> str:
        text = f"task {self.task!r} of executor {self.executor!r}, for {time.monotonic() - self.since:.1f} s"
        frames = stack_of(self.thread)
        if not frames:
            return text
        users = [frame for frame in frames if str(frame.f_globals.get("__name__")).partition(".")[0] not in _PLUMBING]
        places = [users[-1], *frames[:1]] if users and users[-1] is not frames[0] else frames[:1]
        return ", ".join([text, *(f"in {f.f_code.co_name} ({f.f_code.co_filename}:{f.f_lineno})" for f in places)])


running: dict[RunningCall, int] = {}
"""Calls in threads of executors, with the numbers of their tasks. Each thread adds and removes its own; a single dict
operation is atomic."""


_left: dict[Future[Any], tuple[PoolParts, RunningCall]] = {}  # calls in pools that their tasks have left behind
_kinds: set[type] = set()  # of pools in which that has happened


def leave_in_pool(pool: Executor, future: Future[Any], call: RunningCall) -> None:
    """Note that a task has ended while ``pool`` still runs its call."""
    if type(pool) not in _kinds:
        _kinds.add(type(pool))
        # Once for each kind: the module of a pool may have such a hook, which waits, and hooks run in reverse order.
        before_joining(_before_joining)
    _left[future] = PoolParts(pool), call
    future.add_done_callback(lambda done: _left.pop(done, None))


def _before_joining() -> None:
    pools: dict[int, tuple[PoolParts, dict[Future[Any], RunningCall]]] = {}
    for future, (pool, call) in list(_left.items()):
        if _left.pop(future, None) is not None and not future.done():
            pools.setdefault(pool.key, (pool, {}))[1][future] = call
    for pool, calls in pools.values():
        try:
            _leave(pool, calls)
        except Exception:  # noqa: BLE001 - an error would keep the interpreter from joining what it should
            traceback.print_exc()


def _leave(pool: PoolParts, calls: Mapping[Future[Any], RunningCall]) -> None:
    if isinstance(pool.threads, set):
        waits = not _leave_threads(pool, calls)
        _say(calls.values(), "the process waits for it" if waits else "the process does not wait for it")
    elif isinstance(pool.processes, dict) and isinstance(pool.pending, dict):
        _say(calls.values(), "the processes of its pool are killed")
        pending: list[Any] = list(pool.pending.values())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        wait([item.future for item in pending if item.future not in calls])
        pids: list[int] = list(pool.processes)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        for pid in pids:
            _kill(pid)
    else:
        _say(calls.values(), "its pool decides how long the process waits for it")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows SIGTERM cannot be caught, either
    except OSError:  # it has just ended by itself
        pass


def _leave_threads(pool: PoolParts, calls: Mapping[Future[Any], RunningCall]) -> bool:
    """Have the process end without the threads of these calls; False: it waits for them."""
    found = pool.threads_of(calls)
    for thread, future in found.items():
        calls[future].thread = thread.ident
    if found.keys() >= pool.threads and pool.has_work():
        return False  # no other code would do it
    return let_go(found)


def _say(calls: Iterable[RunningCall], what: str) -> None:
    calls = list(calls)
    if calls and sys.stderr is not None:
        lines = [f"glasspool: the program is over and this still runs; {what}:", *map(str, calls), ""]
        try:
            sys.stderr.write("\n  ".join(lines[:-1]) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # closed, or without a reader
            pass


def _at_exit() -> None:
    _say(list(running), "the process does not wait for it")


def _after_fork() -> None:
    # The child has none of these threads.
    running.clear()
    _left.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
