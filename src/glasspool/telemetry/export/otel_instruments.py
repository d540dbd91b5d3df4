"""The recorder's figures as OpenTelemetry instruments.

Counters and gauges are observable instruments that read the registry. At each collection their callbacks pass on what
the histograms have counted (see ``whole_histograms``). Instruments come from the global API, whose proxies become
real when a provider is set. However late that is, it gets everything since process start.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Span, set_span_in_context

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Metric
from glasspool.telemetry.recording.histograms import Histogram, Holder
from glasspool.telemetry.recording.registry import Registry
from glasspool.telemetry.recording.snapshot import Snapshot

from .whole_histograms import Change, Changes

__all__ = ["Instruments"]

logger = logging.getLogger("glasspool")

_NO_SPAN = Context()
_Callback = Callable[[CallbackOptions], Iterable[Observation]]


class Instruments:
    """Every instrument of the catalog on one meter, over one registry."""

    def __init__(self, registry: Registry, meter: metrics.Meter) -> None:
        self._registry = registry
        self._reader = _SnapshotPerCollection(self._begin_collection)
        self._warned = False
        self._changes = Changes()
        self._waiting: deque[Change] = deque()  # to be handed over
        self._one_by_one: set[str] = set()  # metrics whose measurements are recorded one by one
        self._later: deque[tuple[Holder, Histogram, float, Context]] = deque()  # see catch_up
        self._inside = _Inside()
        _watch_garbage_collections()
        create = {
            "counter": meter.create_observable_counter,
            "updowncounter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }
        self.histograms: dict[str, metrics.Histogram] = {}
        for metric in catalog.ALL_METRICS:
            if metric.kind == "histogram":
                self.histograms[metric.name] = meter.create_histogram(
                    metric.name,
                    unit=metric.unit,
                    description=metric.help,
                    explicit_bucket_boundaries_advisory=list(metric.buckets),
                )
            else:
                callback = self._callback(metric)
                create[metric.kind](metric.name, callbacks=[callback], unit=metric.unit, description=metric.help)

    def take_over(self) -> None:
        """Take all measurements from now on. The current contents of the registry's series wait for the next
        collection."""
        for holder in self._registry.holders():
            self.take(holder)

    def take(self, holder: Holder) -> None:
        """The same for one holder of histograms; does nothing if its measurements are already taken."""
        if holder.sink is None:
            holder.take(self._take, holder)

    def _take(self, holder: Holder) -> None:
        if holder.sink is None:
            holder.sink = self
            for series in holder.histograms():
                series.one_by_one = series.metric.name in self._one_by_one
                self._take_change(holder, series)

    def _take_change(self, holder: Holder, series: Histogram) -> None:
        change = self._changes.take(holder, series)
        if change is not None:
            self._waiting.append(change)

    def _take_changes(self, holder: Holder) -> None:
        for series in holder.histograms():
            if not series.one_by_one:
                self._take_change(holder, series)

    def _leave_one_by_one(self, series: Histogram) -> None:
        # All that it has counted up to now was recorded, or is about to be.
        if series.one_by_one:
            series.one_by_one = False
            self._changes.pass_over(series)

    def _take_one_by_one(self, holder: Holder, series: Histogram) -> None:
        if not series.one_by_one:
            self._take_change(holder, series)
            series.one_by_one = True

    def forget(self) -> None:
        """In a forked child: what waits is the parent's."""
        self._waiting.clear()
        self._changes.clear()
        self._later.clear()

    def record(self, holder: Holder, series: Histogram, value: float, span: Span | None) -> None:
        """Hand one measurement in seconds to the SDK, its exemplar being the trace of ``span``. Never raises."""
        context = set_span_in_context(span, Context()) if span is not None else _NO_SPAN
        inside = self._inside
        if inside.active or _is_collecting_garbage():
            self._later.append((holder, series, value, context))
            return
        inside.active = True
        try:
            self._record(holder, series, value, context)
        finally:
            inside.active = False
        if self._later:
            self.catch_up()

    def catch_up(self) -> None:
        """Record what a signal handler or a finalizer measured while its thread was in the SDK.

        The SDK's locks are not re-entrant: recording at that point would deadlock.
        """
        inside = self._inside
        while self._later and not inside.active:  # checked again, since something may re-enter at the last moment
            inside.active = True
            try:
                while self._later:
                    self._record(*self._later.popleft())
            except IndexError:  # another thread was faster
                pass
            finally:
                inside.active = False

    def _record(self, holder: Holder, series: Histogram, value: float, context: Context) -> None:
        name = series.metric.name
        try:
            instrument = self.histograms[name]
            instrument.record(value, series.attributes, context)
            if name not in self._one_by_one:
                if self._changes.fit(series, instrument) is None:
                    self._one_by_one.add(name)
                else:
                    holder.take(self._leave_one_by_one, series)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a foreign provider's bug must not reach the task
            self._failed("export", f"recording {series.metric.name}")

    def _callback(self, metric: Metric) -> _Callback:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            try:
                if self._later:
                    self.catch_up()
                points = self._reader.read(metric.name).points.get(metric.name, ())
                return [Observation(point.value, point.attributes) for point in points]
            except Exception:  # noqa: BLE001 - the SDK would only log and drop it; here it is counted
                self._failed("callback", f"reading {metric.name}")
                return []

        return observe

    def _begin_collection(self) -> Snapshot:
        # Callbacks run before the SDK collects its histograms: what is recorded here is in the same collection.
        self.take_over()
        snapshot = self._registry.collect()  # now all that was noted is counted
        for holder in self._registry.holders():
            holder.tell_rest()
            holder.take(self._take_changes, holder)
        while self._waiting:
            try:
                change = self._waiting.popleft()
            except IndexError:  # another reader's thread was faster
                break
            name = change.series.metric.name
            try:
                if not self._changes.hand_over(change, self.histograms[name]):
                    self._one_by_one.add(name)
                    change.holder.take(self._take_one_by_one, change.holder, change.series)
            except Exception:  # noqa: BLE001 - as in _record
                self._failed("export", f"recording {name}")
        return snapshot

    def _failed(self, kind: str, what: str) -> None:
        self._registry.telemetry_failed(kind)
        if not self._warned:
            self._warned = True
            logger.exception("%s failed; further failures of the telemetry are only counted", what)


class _Inside(threading.local):
    """``active`` is True while this thread records measurements in the SDK."""

    active = False


class _SnapshotPerCollection(threading.local):
    """One snapshot for all callbacks of one collection.

    A collection calls each callback once, in one thread; a callback that comes round again begins the next one.
    """

    def __init__(self, begin: Callable[[], Snapshot]) -> None:
        self._begin = begin
        self._served: set[str] = set()
        self._snapshot: Snapshot | None = None

    def read(self, name: str) -> Snapshot:
        if self._snapshot is None or name in self._served:
            self._snapshot = self._begin()
            self._served.clear()
        self._served.add(name)
        return self._snapshot


# A garbage collection can finalize a lost executor in any thread at any allocation, also in the SDK's code while that
# thread holds one of the SDK's locks, which are not re-entrant: recording then would deadlock.
#
# The phase that was told last is the last key. Nothing but C code runs when it is told: Python raises an interrupt
# (Ctrl-C) in whichever Python function runs next, and drops what a callback of the garbage collector raises.
_phases: OrderedDict[str, None] = OrderedDict(start=None, stop=None)


def _watch_garbage_collections() -> None:
    callbacks = getattr(gc, "callbacks", [])  # CPython's
    if _phases.move_to_end not in callbacks:
        callbacks.append(_phases.move_to_end)  # its second argument, always true here, means the last end


def _is_collecting_garbage() -> bool:
    try:
        return next(reversed(_phases)) == "start"
    except RuntimeError:  # a collection in another thread began or ended between the two steps
        return True  # what is measured now waits for the next measurement
