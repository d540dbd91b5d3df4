"""Dask: ``Client.submit``, and so ``Client.get_executor()``; one task is one submitted call, wherever it runs.

Its results stay on the cluster, so a report cannot travel with them: workers log it as an event, which reaches the
client on the same stream before the result is announced.
"""

from __future__ import annotations

import functools
import logging
import types
import uuid
import weakref
from collections.abc import Callable
from itertools import product
from typing import Any

from opentelemetry.trace import SpanKind

from glasspool.telemetry.catalog import CANCEL_PHASES, CONTEXT_LOSS_KINDS
from glasspool.telemetry.tracing import Spans, capture

from .home import away
from .instrumentor import Instrumentor
from .layers import core_calls, submitting
from .naming import Selection, caller_module, look_through
from .observed import Observed
from .patching import Patch, Patches
from .remote import Away

__all__ = ["DaskInstrumentor"]

logger = logging.getLogger("glasspool")

_TOPIC = "glasspool"


class DaskInstrumentor(Instrumentor):
    """Observes what this process submits to Dask clusters through ``distributed.Client``.

    ``include`` and ``exclude`` match the executor's name: the client's ``name`` if it was given one, else the module
    that submits. Workers that have no glasspool run the plain function: counted all the same, with neither running
    time nor trace context.
    """

    libraries = ("distributed",)
    requires = ("distributed >= 2023.1",)

    _selection = Selection()
    _spans: Spans = "parented"
    _observed: dict[str, Observed] = {}  # noqa: RUF012  # one switch for all objects of this class

    def _instrument(self, selection: Selection, *, spans: Spans = "parented") -> None:
        cls = DaskInstrumentor
        cls._selection, cls._spans = selection, spans
        _patches.put_on(cls)

    def _uninstrument(self) -> None:
        cls = DaskInstrumentor
        _patches.take_off(cls)
        for observed in cls._observed.values():
            observed.close_when_empty()
        cls._observed.clear()

    @classmethod
    def found(cls, client: Any) -> Observed | None:
        """The observation for calls through this client; None when it is not wanted."""
        given = getattr(client, "name", None)
        name = given if isinstance(given, str) and given else caller_module()
        if not cls._selection(name):
            return None
        observed = cls._observed.get(name)
        if observed is None:
            observed = cls._observed[name] = Observed(
                name,
                "dask",
                "cluster",
                workers=False,
                spans=cls._spans,
                kind=SpanKind.PRODUCER,
                cancels=product(("explicit", "shutdown"), CANCEL_PHASES),
                losses=CONTEXT_LOSS_KINDS,
            )
        return observed


def _launch(function: Any, parts: Any, topic: str, /, *args: Any, **kwargs: Any) -> Any:
    """Runs on the worker, sent there by value: it must work where glasspool is not installed."""
    try:
        from glasspool_instrumentation.worker import Errand, Sender
    except ImportError:
        return function(*args, **kwargs)
    key, carrier, sender = parts
    made = None if sender is None else Sender(*sender)
    return Errand(function, key, carrier, made, enveloped=False, topic=topic)(*args, **kwargs)


def _by_value(function: Any) -> Any:
    # cloudpickle sends functions of no module by value.
    made = types.FunctionType(function.__code__, {"__builtins__": __builtins__}, function.__name__)
    made.__module__ = None  # type: ignore[assignment]  # that is the point
    made.__qualname__ = function.__qualname__
    return made


_launcher: Callable[..., Any] = _by_value(_launch)
_listening: weakref.WeakSet[Any] = weakref.WeakSet()  # clients that hand us their workers' reports


def _received(event: Any) -> None:
    _, report = event
    call = away.get(report[0])
    if call is not None:
        call.note(tuple(report))


def _submit(patch: Patch, original: Any) -> Any:
    def submit(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        if not patch.active or submitting.inside or core_calls() or not callable(func) or _is_actor(kwargs):
            return original(self, func, *args, **kwargs)
        observed = DaskInstrumentor.found(self)
        if observed is None:
            return original(self, func, *args, **kwargs)
        if kwargs.get("key") is None:
            kwargs["key"] = _key(func, args, kwargs)
        return _send(observed, self, functools.partial(original, self), func, args, kwargs, _done)

    return submit


def submit_through(observed: Observed, original: Any, pool: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """Hand a call to the ``submit`` of a client's executor, observed."""
    from dask.utils import funcname

    kwargs.setdefault("key", f"{funcname(fn)}-{uuid.uuid4()}")
    return _send(observed, pool._client, original, fn, args, kwargs, Away.done)


def _send(
    observed: Observed, client: Any, original: Any, func: Any, args: Any, kwargs: Any, done: Callable[[Away, Any], None]
) -> Any:
    if client not in _listening:
        _listening.add(client)
        client.subscribe_topic(_TOPIC, _received)
    call = Away(observed, look_through(func), capture())
    errand = call.errand(func)
    parts = (errand.key, errand.carrier, None if errand.sender is None else tuple(errand.sender))
    call.accept()
    submitting.inside = True
    try:
        future = original(functools.partial(_launcher, func, parts, _TOPIC), *args, **kwargs)
        future.add_done_callback(functools.partial(done, call))
    except BaseException as error:
        call.finish(error, cancelled=False)
        raise
    finally:
        submitting.inside = False
    return future


_OPTIONS = frozenset(
    {"key", "workers", "resources", "retries", "priority", "fifo_timeout", "allow_other_workers", "actor", "actors"}
)


def _key(func: Any, args: Any, kwargs: dict[str, Any]) -> str:
    """The key that the client would give the plain function: equal calls share one result."""
    from dask.tokenize import tokenize
    from dask.utils import funcname

    if not kwargs.get("pure", True):
        return f"{funcname(func)}-{uuid.uuid4()}"
    passed = {name: value for name, value in kwargs.items() if name not in _OPTIONS and name != "pure"}
    return f"{funcname(func)}-{tokenize(func, passed, *args)}"


def _is_actor(kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("actor") or kwargs.get("actors"))


def _done(call: Away, future: Any) -> None:
    if future.status == "cancelled":
        call.finish(None, cancelled=True)
        return
    error = None
    if future.status == "error":
        error = future.exception()  # at hand already; this callback has a thread of its own
    call.finish(error, cancelled=False)


_patches = Patches({"distributed.client": lambda module: [Patch(module.Client, "submit", _submit)]})
