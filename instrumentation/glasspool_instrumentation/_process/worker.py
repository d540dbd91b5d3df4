"""The part that runs in a worker process: it sets the submitter's context, times the call, and sends a report.

The report is sent with the result: the result (or the exception) is pickled together with a ``Report``, and unpickling
it in the submitting process delivers the report and returns the plain value. So futures are the pool's own, with their
usual results.
"""

from __future__ import annotations

import copyreg
import os
import time
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from glasspool._foreign.frames import getframe
from glasspool._foreign.guarded import drop_top_frame
from glasspool._foreign.otel_context import current_context, span_in
from glasspool._recorded_calls import own_calls, stand_in
from glasspool.telemetry import providers
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.tracing.propagation import extract
from glasspool.telemetry.tracing.spans import TaskTracer, attach, detach

from . import worker_telemetry
from .mailbox import receive, receive_error

__all__ = ["Errand", "Report", "Result"]


class Report(NamedTuple):
    """A worker's report: ``key`` identifies the call in the submitting process, ``ran`` is seconds of running.

    Of a call that succeeded, and had nothing else to tell, only these two are sent.
    """

    key: str
    ran: float
    pid: int = 0  # where there is a span
    spanned: bool = False  # the worker made the CONSUMER span itself
    stale: bool = False  # the worker still had a stranger's trace, inherited when it was forked
    missing: bool = False  # a trace was to be carried and did not arrive
    error: str = ""  # the type of the function's error, if it raised one


class Sender(NamedTuple):
    """Who sent the call: what the CONSUMER span says about it."""

    executor: str
    type: str
    runner: str
    task: str
    label: str
    task_id: int
    code: str  # the function's qualified name


@stand_in
class Errand:
    """A call on its way to a worker. Picklable if the function is."""

    __slots__ = ("carrier", "enveloped", "fn", "key", "sender", "settings", "topic")

    def __init__(
        self,
        fn: Callable[..., Any],
        key: str,
        carrier: dict[str, str],
        sender: Sender | None,
        *,
        settings: worker_telemetry.Settings | None = None,
        enveloped: bool = True,
        topic: str = "",
    ) -> None:
        self.fn = fn
        self.key = key
        self.carrier = carrier
        self.sender = sender  # None: the call has no span
        self.settings = settings  # for an SDK in the worker; None: it gets none
        self.enveloped = enveloped  # results are pickled to be returned, so a report can be sent with them
        self.topic = topic  # Dask: where the worker logs its report

    @classmethod
    def unpacked(cls, fn: Callable[..., Any], topic: str, parts: Any) -> Errand:
        """What ``Away.parts()`` says, with the function: a call by Dask."""
        key, carrier, sender = parts
        return cls(fn, key, carrier, None if sender is None else Sender(*sender), enveloped=False, topic=topic)

    def __reduce__(self) -> Any:
        return _unpack, (self.fn, self.key, self.carrier, self.sender, self.settings, self.enveloped)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The user's function, from which the name is taken."""
        return self.fn

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self.enveloped and (caller := getframe(1)).f_code not in _workers and not _is_worker(caller):
            # By a function of the pool's own, which may look at what comes of it, or run it again.
            self.enveloped = False
        run = _Run(self)
        try:
            value = self.fn(*args, **kwargs)
        except BaseException as error:
            run.end(self, error)
            raise
        report = run.end(self, None)
        return Result(value, report) if self.enveloped else value

    async def run_async(self, /, *args: Any, **kwargs: Any) -> Any:
        """The same for a coroutine function, on the worker's event loop."""
        run = _Run(self)
        try:
            value = await self.fn(*args, **kwargs)
        except BaseException as error:
            run.end(self, error)
            raise
        run.end(self, None)
        return value

    def log(self, report: tuple[Any, ...]) -> None:
        """Send the report where it is not sent with the result."""
        from distributed import get_worker

        get_worker().log_event(self.topic, report)


_WORKERS = ("concurrent.futures.", "loky.", "joblib.externals.loky.", "anyio.")


_workers: set[CodeType] = set()  # what is known to be theirs


def _is_worker(frame: FrameType) -> bool:
    """Is this the library's code that runs calls in a worker? anyio's is the ``__main__`` of its process."""
    spec = frame.f_globals.get("__spec__")
    if not str(getattr(spec, "name", None) or frame.f_globals.get("__name__")).startswith(_WORKERS):
        return False
    _workers.add(frame.f_code)
    return True


class _Run:
    """One run of an errand's function: it begins here, in the context that was carried, and is over with ``end``.

    It is what contexts that were copied meanwhile may keep, so it keeps nothing of the call.
    """

    __slots__ = ("_begun", "_missing", "_own", "_span", "_stale", "_token", "over")

    def __init__(self, errand: Errand) -> None:
        self.over = False  # see Running
        carrier, sender = errand.carrier, errand.sender
        self._stale = not _cleared and _clear_inherited(carrier)
        if errand.settings is not None or sender is not None:
            worker_telemetry.prepare_worker(errand.settings)
        context = extract(carrier) if carrier else _NOTHING
        self._span: Span | None = None
        self._missing = False
        if sender is not None:
            self._missing = not span_in(context).get_span_context().is_valid
            self._span = _consumer_span(sender, context)
        self._token = attach(context, self._span) if carrier or current_context() else None
        self._own = own_calls(self).enter()  # a pool of the application's own may run it within its submit()
        self._begun = time.perf_counter()

    def end(self, errand: Errand, error: BaseException | None) -> tuple[Any, ...]:
        """The function has ended, by this error or none. Frames of ours come off the error's traceback.

        :returns: the report.
        """
        ran = time.perf_counter() - self._begun
        self._own.leave()
        self.over = True
        report: tuple[Any, ...]
        if error is None and errand.sender is None and not self._stale:
            report = errand.key, ran
        else:
            report = self._full_report(errand, ran, error)
        if errand.topic:
            errand.log(report)
        if error is not None:
            if errand.enveloped:
                _send_along(error, report)
            drop_top_frame(error)
        if self._token is not None:
            detach(self._token)
        return report

    def _full_report(self, errand: Errand, ran: float, error: BaseException | None) -> tuple[Any, ...]:
        span, ending, pid = self._span, Ending.raised(error), os.getpid()
        if span is not None:
            TaskTracer.end(span, ending.timed(None, ran))
        return tuple(Report(errand.key, ran, pid, span is not None, self._stale, self._missing, ending.error_type))


_NOTHING = Context()


@lru_cache(maxsize=16)
def _tracer_of(executor: str, type: str) -> TaskTracer:
    return TaskTracer(executor, type, "all")


def _consumer_span(sender: Sender, context: Context) -> Span | None:
    if providers.tracer() is None:
        return None
    # "all": the submitting process has decided whether this is traced, and the carrier tells the sampler.
    return _tracer_of(sender.executor, sender.type).start(
        task_name=sender.task,
        label=sender.label,
        function=sender.code,
        task_id=sender.task_id,
        runner=sender.runner,
        queue_size=0,
        parent=context,
        kind=SpanKind.CONSUMER,
        attributes={Key.PROCESS_PID: os.getpid()},
    )


def _unpack(fn: Any, key: str, carrier: dict[str, str], sender: Any, settings: Any, enveloped: bool) -> Errand:
    return Errand(fn, key, carrier, sender, settings=settings, enveloped=enveloped)


class Result:
    """A value with its report: unpickled, it is the value."""

    __slots__ = ("report", "value")

    def __init__(self, value: Any, report: tuple[Any, ...]) -> None:
        self.value = value
        self.report = report

    def __reduce__(self) -> Any:
        return receive, (self.value, self.report)


class _ErrorReduction:
    """Stands in an exception's ``__dict__`` as its ``__reduce_ex__``: pickles the report once, then the exception."""

    def __init__(self, error: BaseException, report: tuple[Any, ...]) -> None:
        self.error = error
        self.report = report

    def __call__(self, protocol: int) -> Any:
        error = self.error
        del error.__dict__["__reduce_ex__"]
        reduced: Any = error.__reduce_ex__(protocol)
        build, args, *rest = reduced
        return receive_error, (build, args, self.report), *rest


def _send_along(error: BaseException, report: tuple[Any, ...]) -> None:
    if type(error) in copyreg.dispatch_table:
        return  # a custom reducer (such as tblib's) comes before __reduce_ex__; the submitter then measures itself
    try:
        error.__dict__["__reduce_ex__"] = _ErrorReduction(error, report)
    except Exception:  # noqa: BLE001, S110 - without a __dict__, or a custom one: the submitter measures itself
        pass


_cleared = False


def _clear_inherited(carrier: dict[str, str]) -> bool:
    """Clear, once per worker, the context that it inherited. True if that had an unrelated trace."""
    global _cleared
    if _cleared:
        return False
    _cleared = True
    inherited = trace.get_current_span().get_span_context()
    attach(Context())
    return inherited.is_valid and f"{inherited.trace_id:032x}" not in carrier.get("traceparent", "")


def _forget() -> None:
    global _cleared
    _cleared = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
