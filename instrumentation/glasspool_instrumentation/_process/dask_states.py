"""Detects the ends of a Dask client's tasks without keeping references to its futures.

Dropping the last reference to a Dask future releases its task, so we must not hold one, and a done-callback of the
client would. All futures of a key share a ``FutureState``, which the client notifies of the end. This module watches
the state while it is pending, when it refers to nothing of the user's.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, NamedTuple

from glasspool._foreign.pool_parts import state_of
from glasspool_instrumentation._patch.patching import Patch, Patches

from .mailbox import away
from .remote_calls import Away

__all__ = ["TOPIC", "fired", "listen", "patches", "watch"]

TOPIC = "glasspool"
"""Where workers log their reports."""

_MOST_FIRED = 1000  # calls that were fired and forgotten and not reported: workers without glasspool never do


class _Watched(NamedTuple):
    state: Any  # kept, because its id() is what we know it by
    calls: list[Away]
    client: weakref.ref[Any]


watched: dict[int, _Watched] = {}
_fired: dict[str, Away] = {}  # fired and forgotten, by the key of their report: only that says how they end
_listening: weakref.WeakSet[Any] = weakref.WeakSet()  # clients that hand us their workers' reports
_lock = threading.RLock()


def watch(client: Any, future: Any, call: Away) -> None:
    """Settle the accepted call when the state of this future ends."""
    state = state_of(future)
    with _lock:
        if not watched:
            patches.put_on(watch)
        known = watched.setdefault(id(state), _Watched(state, [], weakref.ref(client)))
        known.calls.append(call)
    if state.status not in ("pending", "lost"):  # equal calls share a result, which may be there
        _ended(state)


def listen(client: Any) -> None:
    """Have the reports of this client's workers delivered. Idempotent."""
    if client not in _listening:
        _listening.add(client)
        client.subscribe_topic(TOPIC, _received)


def _received(event: Any) -> None:
    _, report = event
    call = away.get(report[0])
    if isinstance(call, Away):
        call.note(tuple(report))
        with _lock:
            forgotten = _fired.pop(report[0], None)
        if forgotten is not None:
            forgotten.finish(None, cancelled=False)


def _ended(state: Any) -> None:
    with _lock:
        found = watched.pop(id(state), None)
        if found is None:
            return
        if not watched:
            patches.take_off(watch)
    client = found.client()
    reason = "shutdown" if client is None or client.status in ("closing", "closed") else "explicit"
    for call in found.calls:
        if state.status == "finished":
            call.finish(None, cancelled=False)
        elif state.status == "error":
            call.finish(state.exception, cancelled=False)
        elif not call.fired:
            call.finish(None, cancelled=True, reason=reason)
        elif call.report is not None:
            call.finish(None, cancelled=False)
        else:
            _wait_for_report(call)


def _wait_for_report(call: Away) -> None:
    with _lock:
        _fired[call.key] = call
        given_up = _fired.pop(next(iter(_fired))) if len(_fired) > _MOST_FIRED else None
    if given_up is not None:
        given_up.finish(None, cancelled=True, reason="unknown")


def fired(client: Any, keys: Any) -> None:
    """``fire_and_forget`` was called for these keys: dropping their futures ends nothing."""
    with _lock:
        for key in keys:
            found = watched.get(id(client.futures.get(key)))
            for call in found.calls if found is not None else ():
                call.fired = True


def _ending(patch: Patch, original: Any) -> Any:
    def ended(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        finally:
            if id(self) in watched:
                _ended(self)

    return ended


patches = Patches(
    {
        "distributed.client": lambda module: [
            Patch(module.FutureState, name, _ending) for name in ("finish", "set_error", "cancel")
        ]
    }
)
"""On while a call is watched."""
