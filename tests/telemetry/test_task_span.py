"""A task's own span is to everybody what the SDK's span would have been: field by field, in JSON and in OTLP."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.baggage import set_baggage
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from glasspool.telemetry import providers
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.tracing.spans import TaskTracer
from glasspool.telemetry.tracing.task_span import TaskSpan

START = 1_700_000_000_000_000_000
Use = Callable[[Any], object]


class Counting(IdGenerator):
    """Ids that are the same in each run."""

    def __init__(self) -> None:
        self._last = 0x1234_5678_9ABC_DEF0

    def generate_span_id(self) -> int:
        self._last += 1
        return self._last

    def generate_trace_id(self) -> int:
        self._last += 1
        return self._last << 64 | self._last

    def is_trace_id_random(self) -> bool:
        return True


class Wrapped(trace.TracerProvider):
    """A provider around the SDK's, as vendors have them: its tracers are not the SDK's own."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    def get_tracer(self, *args: Any, **options: Any) -> trace.Tracer:
        inner = self._provider.get_tracer(*args, **options)

        class Around(trace.Tracer):
            def start_span(self, *args: Any, **options: Any) -> Span:
                return inner.start_span(*args, **options)

            def start_as_current_span(self, *args: Any, **options: Any) -> Any:
                return inner.start_as_current_span(*args, **options)

        return Around()


class Setup:
    """A provider with an exporter; ``options`` are the provider's."""

    def __init__(self, *processors: SpanProcessor, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(
            id_generator=Counting(), resource=Resource({"service.name": "shop"}), shutdown_on_exit=False, **options
        )
        for each in processors:
            self.provider.add_span_processor(each)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[trace.TracerProvider], None]]:
    """Puts a provider in the place of the global one."""

    def put(provider: trace.TracerProvider) -> None:
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    monkeypatch.setattr(sdk_trace, "time_ns", lambda: START + 3_000)  # of the events of exceptions
    yield put
    monkeypatch.undo()
    providers.refresh()


def started(tracer: TaskTracer, **options: Any) -> Any:
    """A task's span, begun."""
    span = tracer.start(
        task_name="load", label="load", function="shop.load", task_id=7, runner="thread", queue_size=3, at=START,
        **options,
    )  # fmt: skip
    assert span is not None
    tracer.begin(span, at=START + 1_000)
    return span


def ended(span: Span, ending: Ending = SUCCESS) -> None:
    """The task of this span has ended."""
    TaskTracer.end(span, ending.timed(0.25, 0.5), at=START + 2_000)


def same(put: Any, make: Callable[[], Setup], task: Callable[[TaskTracer], object]) -> list[dict[str, Any]]:
    """What was exported of a task, which is the same with the SDK's span and with the task's own."""
    found: list[Sequence[ReadableSpan]] = []
    for wrapped in (True, False):
        setup = make()
        put(Wrapped(setup.provider) if wrapped else setup.provider)
        task(TaskTracer("pool", "hybrid"))
        found.append(setup.exporter.get_finished_spans())
        setup.provider.shutdown()
    theirs, ours = found
    assert not any(isinstance(span, TaskSpan) for span in theirs)
    assert all(isinstance(span, TaskSpan) for span in ours if span.instrumentation_scope.name == "glasspool")
    assert encode_spans(ours).SerializeToString(True) == encode_spans(theirs).SerializeToString(True)
    assert [span.to_json() for span in ours] == [span.to_json() for span in theirs]
    for mine, sdks in zip(ours, theirs, strict=True):
        for field in (
            "name", "context", "parent", "kind", "start_time", "end_time", "attributes", "resource",
            "instrumentation_scope", "dropped_attributes", "dropped_events", "dropped_links",
        ):  # fmt: skip
            assert getattr(mine, field) == getattr(sdks, field), field
        assert [(e.name, e.timestamp, dict(e.attributes or {})) for e in mine.events] == [
            (e.name, e.timestamp, dict(e.attributes or {})) for e in sdks.events
        ]
        assert [(link.context, dict(link.attributes or {})) for link in mine.links] == [
            (link.context, dict(link.attributes or {})) for link in sdks.links
        ]
        status = mine.status
        assert (status.status_code, status.description) == (sdks.status.status_code, sdks.status.description)
    return [json.loads(span.to_json()) for span in ours]


ENDINGS = {
    "success": SUCCESS,
    "error": Ending.failed(ValueError("no such order")),
    "timeout": Ending.timed_out(),
    "left behind": Ending.timed_out(abandoned=True),
    "cancelled": Ending.cancelled("explicit", "not wanted any more"),
    "for a sibling": Ending.cancelled("sibling_failure", "load failed"),
    "for no reason": Ending.cancelled(""),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_ending(name: str, in_place: Any) -> None:
    (span,) = same(in_place, Setup, lambda tracer: ended(started(tracer), ENDINGS[name]))
    assert span["attributes"]["glasspool.task.outcome"] == ENDINGS[name].outcome


def test_a_task_that_never_began(in_place: Any) -> None:
    def task(tracer: TaskTracer) -> None:
        span: Any = tracer.start(
            task_name="load", label="", function=started, task_id=7, runner="inline", queue_size=0, at=START
        )
        TaskTracer.end(span, Ending.cancelled("explicit").timed(1.0, None), at=START + 5)

    (span,) = same(in_place, Setup, task)
    assert span["events"] == []


KINDS: dict[str, dict[str, Any]] = {
    "child": {"parent": trace.set_span_in_context(NonRecordingSpan(SpanContext(5, 6, False, TraceFlags(1))))},
    "remote child": {
        "parent": trace.set_span_in_context(
            NonRecordingSpan(SpanContext(5, 6, True, TraceFlags(3), TraceState([("vendor", "x")])))
        )
    },
    "root in a context": {"parent": set_baggage("tenant", "a", Context())},
    "link": {
        "parent": trace.set_span_in_context(NonRecordingSpan(SpanContext(5, 6, False, TraceFlags(1)))), "mode": "link",
    },
    "consumer": {"kind": SpanKind.CONSUMER, "attributes": {"process.pid": 12}},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_parent(kind: str, in_place: Any) -> None:
    assert same(in_place, Setup, lambda tracer: ended(started(tracer, **KINDS[kind])))


def _children(span: Any) -> None:
    tracer = trace.get_tracer("application")
    with trace.use_span(span), tracer.start_as_current_span("query", start_time=START, end_on_exit=False) as child:
        child.end(START + 10)


def _context_manager(span: Any) -> None:
    with pytest.raises(KeyError), trace.use_span(span, record_exception=False, set_status_on_exception=False):
        raise KeyError("x")


USES: dict[str, Use] = {
    "set_attribute": lambda span: span.set_attribute("order", 3),
    "set_attributes": lambda span: span.set_attributes({"order": 3, "glasspool.task.name": "mine", "bad": object()}),
    "add_event": lambda span: span.add_event("halfway", {"rows": [1, 2]}, START + 1_500),
    "add_link": lambda span: span.add_link(SpanContext(1, 2, False, TraceFlags(1)), {"why": "retry"}),
    "add an invalid link": lambda span: span.add_link(SpanContext(0, 0, False)),
    "update_name": lambda span: span.update_name("another"),
    "set_status": lambda span: span.set_status(Status(StatusCode.ERROR, "bad")),
    "set_status twice": lambda span: (span.set_status(StatusCode.OK), span.set_status(StatusCode.ERROR, "late")),
    "record_exception": lambda span: span.record_exception(ValueError("seen"), timestamp=START + 1_600),
    "read": lambda span: (span.attributes, span.events, span.links, span.status, span.to_json(), repr(span.resource)),
    "children": _children,
    "context manager": _context_manager,
}


@pytest.mark.parametrize("outcome", ["success", "error", "cancelled"])
@pytest.mark.parametrize("use", USES)
def test_what_the_users_code_does_with_it(use: str, outcome: str, in_place: Any) -> None:
    def task(tracer: TaskTracer) -> None:
        span = started(tracer)
        assert span.is_recording()
        USES[use](span)
        ended(span, ENDINGS[outcome])
        assert not span.is_recording()

    assert same(in_place, Setup, task)


@pytest.mark.parametrize("use", [*USES, "end"])
def test_what_is_done_after_its_end_changes_nothing_and_is_warned_of(
    use: str, in_place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    warnings: list[list[str]] = []

    def task(tracer: TaskTracer) -> None:
        caplog.clear()
        span = started(tracer)
        ended(span)
        with caplog.at_level(logging.WARNING):
            span.end() if use == "end" else USES[use](span)
        warnings.append([record.getMessage() for record in caplog.records])

    assert same(in_place, Setup, task)
    assert warnings[0] == warnings[1]


def test_a_span_that_the_users_code_ends_stays_as_it_was_then(in_place: Any) -> None:
    def task(tracer: TaskTracer) -> None:
        span = started(tracer)
        span.end(START + 1_200)
        ended(span)

    (span,) = same(in_place, Setup, task)
    assert "glasspool.task.outcome" not in span["attributes"]


class Changes(SpanProcessor):
    """Changes each span when it starts, and looks at it when it ends."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        span.set_attribute("host", "a")
        span.add_event("seen", timestamp=START + 1)
        span.update_name(span.name + "!")

    def on_end(self, span: ReadableSpan) -> None:
        self.seen.append(dict(span.attributes or {}))


def test_processors_that_change_it(in_place: Any) -> None:
    (span,) = same(in_place, lambda: Setup(Changes()), lambda tracer: ended(started(tracer)))
    assert span["name"] == "pool load!"
    assert [event["name"] for event in span["events"]] == ["seen", "glasspool.task.started"]


class Adds(Sampler):
    """Says what it is told to, and adds an attribute, leaves one out and sets the trace state."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *more: Any, **options: Any) -> Any:
        given = dict(more[1])
        del given["glasspool.task.queue_size" if "glasspool.task.queue_size" in given else "glasspool.runner"]
        return SamplingResult(self._decision, {**given, "sampler.rule": name}, TraceState([("rule", "7")]))

    def get_description(self) -> str:
        return "Adds"


class Plain(Sampler):
    """A sampler of the application's own that changes nothing."""

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, kind: Any = None, attributes: Any = None, *more: Any,
        **options: Any,
    ) -> SamplingResult:  # fmt: skip
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        return "Plain"


SAMPLERS: dict[str, Sampler] = {
    "on": ALWAYS_ON,
    "off": ALWAYS_OFF,
    "some": TraceIdRatioBased(0.5),
    "parent based": ParentBased(ALWAYS_ON),
    "parent based, off": ParentBased(ALWAYS_OFF),
    "parent based, some": ParentBased(TraceIdRatioBased(0.99), local_parent_sampled=TraceIdRatioBased(0.01)),
    "parent based on one of the application's": ParentBased(Plain()),
    "adds": Adds(Decision.RECORD_AND_SAMPLE),
    "adds and records only": Adds(Decision.RECORD_ONLY),
    "adds and drops": Adds(Decision.DROP),
}


@pytest.mark.parametrize("parent", ["none", *KINDS])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler(sampler: str, parent: str, in_place: Any) -> None:
    contexts: list[Any] = []

    def task(tracer: TaskTracer) -> None:
        span = started(tracer, **KINDS.get(parent, {}))
        contexts.append(span.get_span_context())
        ended(span)

    same(in_place, lambda: Setup(sampler=SAMPLERS[sampler]), task)
    assert contexts[0] == contexts[1]


LIMITS = {
    "attributes": SpanLimits(max_span_attributes=4),
    "no attributes": SpanLimits(max_span_attributes=0),
    "length": SpanLimits(max_span_attribute_length=3, max_attribute_length=2),
    "events": SpanLimits(max_events=1),
    "links": SpanLimits(max_links=0),
}


@pytest.mark.parametrize("limits", LIMITS)
def test_the_limits_of_spans(limits: str, in_place: Any) -> None:
    def task(tracer: TaskTracer) -> None:
        span = started(tracer, **KINDS["link"])
        span.add_event("halfway", {"rows": "many"}, START + 1_500)
        ended(span)

    assert same(in_place, lambda: Setup(span_limits=LIMITS[limits]), task)


class Own(TracerProvider):
    """Its tracers are of a class of its own, in the SDK's module."""

    def get_tracer(self, *args: Any, **options: Any) -> trace.Tracer:
        tracer = super().get_tracer(*args, **options)
        tracer.__class__ = type("Tracer", (type(tracer),), {"__module__": "opentelemetry.sdk.trace"})
        return tracer


@pytest.mark.parametrize(
    "provider", [Own, lambda **options: Wrapped(TracerProvider(**options))], ids=["own", "wrapped"]
)
def test_a_tracer_that_makes_the_spans_itself_is_logged_once_at_debug_level(
    provider: Callable[..., trace.TracerProvider], in_place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    in_place(provider(shutdown_on_exit=False))
    with caplog.at_level(logging.DEBUG, "glasspool"):
        for _ in range(2):
            ended(started(TaskTracer("pool", "hybrid")))
    assert len([record for record in caplog.records if "takes longer" in record.getMessage()]) == 1
