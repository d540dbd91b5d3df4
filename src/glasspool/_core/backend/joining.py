"""Controls which threads the interpreter waits for at exit, through private parts of ``threading`` and
``concurrent.futures``."""

from __future__ import annotations

import atexit
import concurrent.futures.thread as pools
import threading
from collections.abc import Callable, Iterable
from typing import Any, cast

__all__ = ["before_joining", "let_go"]

_threading = cast("Any", threading)
_let_go: set[threading.Thread] = set()


def before_joining(hook: Callable[[], None]) -> None:
    """Call ``hook`` when the program has ended, before the interpreter waits for threads. Hooks run in reverse
    order."""
    register: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)
    try:
        register(hook)
    except RuntimeError:  # it waits already, and goes on
        pass


def let_go(threads: Iterable[threading.Thread]) -> bool:
    """Let the interpreter end without these threads of pools, as if they were daemons. Called by such a hook.

    Returns False if this Python records its threads elsewhere than expected; then it will wait.
    """
    threads = list(threads)
    queues = getattr(pools, "_threads_queues", None)
    if queues is None:
        return False
    if hasattr(threading, "_shutdown_locks"):  # up to Python 3.12
        with _threading._shutdown_locks_lock:
            for thread in threads:
                _threading._shutdown_locks.discard(cast("Any", thread)._tstate_lock)
    elif hasattr(threading, "_thread_shutdown"):
        _let_go.update(threads)
        _threading._thread_shutdown = _join_the_others
    else:
        return False
    for thread in threads:
        queues.pop(thread, None)
    return True


def _join_the_others() -> None:
    # From Python 3.13 on the record of threads is kept in C and none can be removed: this joins the others instead.
    here = threading.current_thread()
    while others := [t for t in threading.enumerate() if not t.daemon and t is not here and t not in _let_go]:
        for thread in others:
            thread.join()
