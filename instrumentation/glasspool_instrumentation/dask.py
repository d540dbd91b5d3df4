"""The instrumentor of Dask: calls that this process submits through a ``distributed.Client``.

With ``submit`` and ``map``, and so with ``get_executor()``, one task is one call, wherever it runs. ``compute``,
``persist`` and ``get`` pass a graph to the scheduler, which divides it: there one task is one future that they make,
under the name of its key, and the trace context does not reach it.

Results stay on the cluster, so a worker cannot send its report with the result. It logs the report as an event, which
reaches the client on the same stream before the result is announced.
"""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from opentelemetry.trace import SpanKind

from glasspool._foreign.pool_parts import client_of
from glasspool._recorded_calls import recorded_above, recording
from glasspool.telemetry.catalog import CONTEXT_LOSS_KINDS, RUN_PHASES
from glasspool.telemetry.recording.call_names import look_through
from glasspool.telemetry.tracing.propagation import inject
from glasspool.telemetry.tracing.spans import Spans, capture

from ._observe.naming import Selection, caller_module
from ._observe.observation import Observed
from ._observe.shared_observations import SharedObservations
from ._observe.task_name_limit import MAX_TASK_NAMES, check_max_task_names
from ._observe.wait_objectives import WaitObjectives
from ._patch.patching import Patch, Patches
from ._process import dask_states
from ._process.dask_launch import launcher_of
from ._process.dask_states import TOPIC, listen, watch
from ._process.mailbox import away
from ._process.remote_calls import Away
from .instrumentor import Instrumentor

__all__ = ["DaskInstrumentor", "map_through", "submit_through"]


class DaskInstrumentor(Instrumentor):
    """Observes the calls that this process submits to Dask clusters through ``distributed.Client``.

    Workers without glasspool run the plain function: such a call is counted, but has neither a running time nor a trace
    context. These are the options of ``instrument()``:

    * ``include``: patterns of executor names; default all. The name is the client's ``name``, if it was given one,
        else the module that submits.
    * ``exclude``: patterns of executor names to leave out; default none.
    * ``spans``: ``"parented"`` (default), ``"all"`` or ``"off"``, as in ``wrap_executor``.
    * ``wait_objectives``: patterns of executor names, each with the seconds that a call may wait before it is late,
        such as ``{"myapp.*": 0.5}``; the first pattern that matches counts. Default none.
    * ``max_task_names``: distinct task names that metrics show for each executor, default 25; 0 shows none.
    """

    libraries = ("distributed",)
    requires = ("distributed >= 2023.1",)

    _selection = Selection()
    _spans: Spans = "parented"
    _observed = SharedObservations()  # one switch for all objects of this class
    _objectives = WaitObjectives()
    _max_task_names = MAX_TASK_NAMES

    def _instrument(
        self,
        selection: Selection,
        *,
        spans: Spans = "parented",
        wait_objectives: Mapping[str, float] | None = None,
        max_task_names: int = MAX_TASK_NAMES,
    ) -> None:
        cls = DaskInstrumentor
        cls._max_task_names = check_max_task_names(max_task_names)
        cls._objectives = WaitObjectives(wait_objectives)
        cls._selection, cls._spans = selection, spans
        _patches.put_on(cls)

    def _uninstrument(self) -> None:
        cls = DaskInstrumentor
        _patches.take_off(cls)
        cls._observed.end()

    @classmethod
    def found(cls, client: Any) -> Observed | None:
        """The observation for calls through this client; None if they are not to be observed."""
        name = _given_name(client) or caller_module()
        if not cls._selection(name):
            return None
        return cls._observed.find(
            name,
            lambda: Observed(
                name,
                "dask",
                "cluster",
                workers=False,
                spans=cls._spans,
                kind=SpanKind.PRODUCER,
                cancels=product(("explicit", "shutdown"), RUN_PHASES),
                rejects=("already_shutdown",),
                losses=CONTEXT_LOSS_KINDS,
                wait_objective=cls._objectives(name),
                max_task_names=cls._max_task_names,
            ),
        )


_ID = re.compile(r"[^-]+-(.+)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _given_name(client: Any) -> str:
    """The ``name`` that a client was given. A client keeps it only in its id: class, name, UUID."""
    found = _ID.fullmatch(str(client.id))
    name = found[1] if found is not None else ""
    return "" if name == "worker" else name  # Dask's own name for the clients that tasks have


def _observed_for(patch: Patch, client: Any) -> Observed | None:
    """The observation for a call of one of the client's methods (our caller's caller's), if it is to be recorded."""
    if not patch.active or recorded_above(2):
        return None
    return DaskInstrumentor.found(client)


# -- calls of functions ------------------------------------------------------------------------------------------------

_OPTIONS = frozenset(
    {"key", "workers", "resources", "retries", "priority", "fifo_timeout", "allow_other_workers", "actor", "actors",
     "pure", "batch_size"}
)  # fmt: skip
"""Keywords of the client's methods; the others are the function's."""


def _submit(patch: Patch, original: Any) -> Any:
    def submit(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        observed = None if _is_actor(kwargs) or not callable(func) else _observed_for(patch, self)
        if observed is None:
            return original(self, func, *args, **kwargs)
        if kwargs.get("key") is None:
            kwargs["key"] = _key(func, args, kwargs)
        call = _call(observed, func)
        launch = functools.partial(launcher_of(func), func, TOPIC, call.parts())
        future = _hand_over(observed, self, [call], functools.partial(original, self, launch, *args, **kwargs))
        _accepted(call, self, future)
        return future

    return submit


def _map(patch: Patch, original: Any) -> Any:
    def map(self: Any, func: Any, *iterables: Any, **kwargs: Any) -> Any:
        observed = _observed_for(patch, self)
        if observed is None:
            return original(self, func, *iterables, **kwargs)
        return _mapped(observed, self, functools.partial(original, self), func, iterables, kwargs)

    return map


def _mapped(
    observed: Observed, client: Any, original: Callable[..., Any], func: Any, iterables: Any, kwargs: dict[str, Any]
) -> Any:
    batch = kwargs.get("batch_size")
    sizes = [len(it) for it in iterables] if all(hasattr(it, "__len__") for it in iterables) else []
    if not sizes or not callable(func) or _is_actor(kwargs) or (batch and 1 < batch < sum(sizes)):
        return original(func, *iterables, **kwargs)  # invalid, empty, or in batches, each by a map() of its own
    keys = _keys(func, iterables, min(sizes), kwargs)
    calls = [_call(observed, func) for _ in keys]
    launch = functools.partial(launcher_of(func), func, TOPIC)
    kwargs = {**kwargs, "key": keys}
    parts = [call.parts() for call in calls]
    futures = _hand_over(observed, client, calls, functools.partial(original, launch, parts, *iterables, **kwargs))
    for call, future in zip(calls, futures, strict=True):
        _accepted(call, client, future)
    return futures


def _call(observed: Observed, func: Any) -> Away:
    return Away(observed, look_through(func), capture())


def _hand_over(observed: Observed, client: Any, calls: list[Away], submit: Callable[[], Any]) -> Any:
    listen(client)
    try:
        with recording():
            return submit()
    except BaseException as error:
        for call in calls:
            away.pop(call.key, None)
        _refused(observed, error)
        raise


def _accepted(call: Away, client: Any, future: Any) -> None:
    call.accept()
    watch(client, future, call)


def _refused(observed: Observed, error: BaseException) -> None:
    if type(error).__name__ == "ClosedClientError":
        observed.record.reject("already_shutdown")
    else:
        observed.refuse(error)


def _is_actor(kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("actor") or kwargs.get("actors"))


def _key(func: Any, args: Any, kwargs: dict[str, Any]) -> str:
    """The key that the client would give the plain function: equal calls share one result."""
    from dask.tokenize import tokenize
    from dask.utils import funcname

    if not kwargs.get("pure", True):
        return f"{funcname(func)}-{uuid.uuid4()}"
    return f"{funcname(func)}-{tokenize(func, _passed(kwargs), *args)}"


def _keys(func: Any, iterables: Any, count: int, kwargs: dict[str, Any]) -> list[Any]:
    """The same for a map of ``count`` calls."""
    from dask.tokenize import tokenize
    from dask.utils import funcname

    key = kwargs.get("key") or funcname(func)
    if not isinstance(key, str):
        return list(key)
    if not kwargs.get("pure", True):
        made = uuid.uuid4()
        return [f"{key}-{made}-{number}" for number in range(count)]
    token = tokenize(func, _passed(kwargs))
    return [f"{key}-{tokenize(token, args)}" for args in zip(*iterables, strict=False)]


def _passed(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in _OPTIONS}


# -- graphs ------------------------------------------------------------------------------------------------------------


def _graph_to_futures(patch: Patch, original: Any) -> Any:
    def graph_to_futures(self: Any, *args: Any, **kwargs: Any) -> Any:
        observed = _observed_for(patch, self)
        if observed is None:
            return original(self, *args, **kwargs)
        from dask.utils import key_split

        try:
            futures = original(self, *args, **kwargs)
        except BaseException as error:
            _refused(observed, error)
            raise
        if inject():
            observed.record.context_lost("missing")
        for key, future in futures.items():
            call = Away(observed, str(key_split(key)), capture())
            call.parts()
            _accepted(call, self, future)
        return futures

    return graph_to_futures


def _send_to_scheduler(patch: Patch, original: Any) -> Any:
    def send_to_scheduler(self: Any, msg: Any) -> Any:
        if patch.active and msg.get("client") == "fire-and-forget":
            dask_states.fired(self, msg.get("keys", ()))
        return original(self, msg)

    return send_to_scheduler


# -- a client's executor, wrapped --------------------------------------------------------------------------------------


def submit_through(observed: Observed, original: Any, pool: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """Pass a call to the ``submit`` of a client's executor, and observe it."""
    from dask.utils import funcname

    kwargs.setdefault("key", f"{funcname(fn)}-{uuid.uuid4()}")
    call = _call(observed, fn)
    launch = functools.partial(launcher_of(fn), fn, TOPIC, call.parts())
    future = _hand_over(observed, client_of(pool), [call], functools.partial(original, launch, *args, **kwargs))
    call.accept()
    future.add_done_callback(call.done)
    return future


class _Through:
    """Stands for a client or its executor, whose ``map`` is observed."""

    def __init__(self, shown: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced, _shown=shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown, name)


def map_through(observed: Observed, original: Any, pool: Any, fn: Any, iterables: Any, options: Any) -> Any:
    """The ``map`` of a client's executor, which does not pass through its ``submit``, observed."""
    client = client_of(pool)

    def mapped(func: Any, *items: Any, **kwargs: Any) -> Any:
        return _mapped(observed, client, client.map, func, items, kwargs)

    return original(_Through(pool, _client=_Through(client, map=mapped)), fn, *iterables, **options)


_patches = Patches(
    {
        "distributed.client": lambda module: [
            Patch(module.Client, "submit", _submit),
            Patch(module.Client, "map", _map),
            Patch(module.Client, "_graph_to_futures", _graph_to_futures),
            Patch(module.Client, "_send_to_scheduler", _send_to_scheduler),
        ]
    }
)
