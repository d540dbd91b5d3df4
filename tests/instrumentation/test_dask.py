"""The ways to submit to Dask: counts, the context of the function, and that no future is kept alive."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool_instrumentation._process import dask_states

from . import work
from .work import LIMIT, histogram, outcomes, value

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

pytestmark = pytest.mark.filterwarnings("ignore")  # a cluster warns about forks, sockets and files of its own

NAME = "cluster"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", silence_logs=50
        ) as made:
            yield made


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    with distributed.Client(cluster, name=NAME) as made:
        yield made


@pytest.fixture
def observed() -> Iterator[None]:
    gi.DaskInstrumentor().instrument()
    yield
    gi.DaskInstrumentor().uninstrument()


class Gate:
    """Holds the worker's threads: its tasks run in this process."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.running = threading.Semaphore(0)

    def __reduce__(self) -> Any:
        if self not in GATES:
            GATES.append(self)
        return _gate, (GATES.index(self),)

    def hold(self, number: int = 0) -> int:
        self.running.release()
        assert self.open.wait(LIMIT)
        return number


GATES: list[Gate] = []


def _gate(number: int) -> Gate:
    return GATES[number]


def hold(gate: Gate, number: int) -> int:
    return gate.hold(number)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


def _trace_id(_: int, *, more: int = 0) -> int:
    return work.seen()[0]


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise KeyError(number)
    return number


async def _later(number: int) -> tuple[int, int]:
    await asyncio.sleep(0)
    return work.seen()[0], number


async def _fail_later(number: int) -> None:
    await asyncio.sleep(0)
    raise KeyError(number)


def _counted(expected: dict[str, int], name: str = NAME) -> None:
    work.until(lambda: outcomes(name) == expected, f"{expected}, not {outcomes(name)}")
    assert value(catalog.TASK_SUBMITTED, name) == sum(expected.values())
    assert value(catalog.TASK_ACTIVE, name) == 0


@pytest.mark.usefixtures("observed")
@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_a_map_of_n_is_n_tasks_in_the_callers_trace(
    workers: str, cluster: Any, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    own = workers == "processes" and distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0", silence_logs=50
    )
    try:
        with distributed.Client(own or cluster, name=NAME) as client:
            with tracer.start_as_current_span("request") as request:
                trace_id = request.get_span_context().trace_id
                assert client.gather(client.map(_trace_id, range(10), more=1)) == [trace_id] * 10
            _counted({"success": 10})
    finally:
        if own:
            own.close()
    made = [span for span in spans.get_finished_spans() if span.kind is SpanKind.PRODUCER]
    assert {span.name for span in made} == {f"{NAME} _trace_id"}
    assert {span.parent.span_id for span in made if span.parent} == {request.get_span_context().span_id}
    assert {(span.attributes or {})[Key.CODE_FUNCTION] for span in made} == {f"{__name__}._trace_id"}
    assert len(made) == 10
    assert histogram(catalog.TASK_DURATION, NAME, task_name="_trace_id")[0] == 10
    assert value(catalog.CONTEXT_LOSSES, NAME) == 0


MAPS: list[tuple[str, dict[str, Any]]] = [
    ("pure", {}),
    ("impure", {"pure": False}),
    ("named", {"key": "mine"}),
    ("listed", {"key": ["a", "b", "c", "d", "e"]}),
    ("batched", {"batch_size": 2}),
    ("one batch", {"batch_size": 50}),
    ("with options", {"retries": 1, "priority": 3, "workers": None}),
]


@pytest.mark.parametrize(("options"), [options for _, options in MAPS], ids=[name for name, _ in MAPS])
def test_a_map_has_the_keys_and_results_that_it_has_without_us(client: Any, options: dict[str, Any]) -> None:
    with distributed.Client(client.cluster) as plain:
        bare = plain.map(work.add, range(5), [10] * 5, **options)
        expected, keys = plain.gather(bare), [future.key for future in bare]
    gi.DaskInstrumentor().instrument()
    futures = client.map(work.add, range(5), [10] * 5, **options)
    assert client.gather(futures) == expected == [10, 11, 12, 13, 14]
    if "pure" in options:
        assert {future.key.rpartition("-")[2] for future in futures} == set("01234")
    else:
        assert [future.key for future in futures] == keys
    _counted({"success": 5})
    assert histogram(catalog.TASK_DURATION, NAME, task_name="add")[0] == 5


@pytest.mark.usefixtures("observed")
def test_equal_calls_share_a_result_and_are_each_counted(client: Any) -> None:
    futures = client.map(work.add, [1, 1, 1])
    assert client.gather(futures) == [2, 2, 2]
    again = client.map(work.add, [1])
    assert again[0].key == futures[0].key
    _counted({"success": 4})


@pytest.mark.usefixtures("observed")
def test_errors_of_a_map_are_its_tasks(client: Any, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    with tracer.start_as_current_span("request"):
        futures = client.map(_odd, range(4))
        assert [future.exception(LIMIT) is None for future in futures] == [False, True, False, True]
    _counted({"success": 2, "error": 2})
    assert value(catalog.TASK_COMPLETED, NAME, error_type="KeyError") == 2
    failed = [span for span in spans.get_finished_spans() if span.status.status_code is StatusCode.ERROR]
    assert {span.kind for span in failed} == {SpanKind.PRODUCER, SpanKind.CONSUMER}
    assert {(span.attributes or {})[Key.ERROR_TYPE] for span in failed} == {"KeyError"}


@pytest.mark.usefixtures("observed")
def test_what_a_client_refuses_it_refuses(client: Any) -> None:
    with pytest.raises(TypeError, match="callable"):
        client.map(5, [1])
    with pytest.raises(TypeError, match="no longer supports"):
        client.map(work.add, iter([1]))
    with pytest.raises(TypeError, match="callable"):
        client.submit(5)
    assert client.map(work.add, []) == []
    assert work.executors() == set()
    client.close()
    with pytest.raises(Exception, match="closed"):
        client.submit(work.add, 1)
    assert value(catalog.TASK_REJECTED, NAME, error_type="already_shutdown") == 1
    assert value(catalog.TASK_SUBMITTED, NAME) == 0


@pytest.mark.usefixtures("observed")
def test_coroutine_functions_run_on_the_workers_loop(client: Any, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    with tracer.start_as_current_span("request") as request:
        trace_id = request.get_span_context().trace_id
        assert client.submit(_later, 5).result(LIMIT) == (trace_id, 5)
        assert client.gather(client.map(_later, [1, 2])) == [(trace_id, 1), (trace_id, 2)]
        assert isinstance(client.submit(_fail_later, 1).exception(LIMIT), KeyError)
    _counted({"success": 3, "error": 1})


GRAPHS: dict[str, Callable[[Any, Any], Any]] = {
    "client.compute": lambda client, lazy: client.compute(lazy).result(),
    "client.compute, sync": lambda client, lazy: client.compute(lazy, sync=True),
    "client.compute, several": lambda client, lazy: client.gather(client.compute([lazy]))[0],
    "dask.compute": lambda client, lazy: dask.compute(lazy)[0],
    "client.persist": lambda client, lazy: client.persist(lazy).compute(),
    "client.get": lambda client, lazy: client.get({"x": (_trace_id, 1)}, "x"),
}


@pytest.mark.usefixtures("observed")
@pytest.mark.parametrize("how", GRAPHS)
def test_a_graph_is_a_task_for_each_future_and_a_loss_of_context(
    how: str, client: Any, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    lazy = dask.delayed(_trace_id)(1)
    with tracer.start_as_current_span("request"):
        assert GRAPHS[how](client, lazy) == 0
    tasks = 2 if how == "client.persist" else 1  # and the one that fetches it
    _counted({"success": tasks})
    assert value(catalog.CONTEXT_LOSSES, NAME, context_loss_kind="missing") == tasks
    made = [span for span in spans.get_finished_spans() if span.kind is SpanKind.PRODUCER]
    assert len(made) == tasks
    assert GRAPHS[how](client, dask.delayed(_trace_id)(2)) == 0
    assert value(catalog.CONTEXT_LOSSES, NAME) == tasks  # there was none to lose


def _tasks_on_scheduler(client: Any) -> int:
    return int(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))


WAYS: dict[str, Callable[[Any, Gate], Any]] = {
    "submit": lambda client, gate: [client.submit(hold, gate, n, pure=False) for n in range(6)],
    "map": lambda client, gate: client.map(hold, [gate] * 6, range(6), pure=False),
    "compute": lambda client, gate: client.compute([dask.delayed(hold)(gate, n) for n in range(6)]),
    "persist": lambda client, gate: client.persist([dask.delayed(hold)(gate, n) for n in range(6)]),
}


@pytest.mark.usefixtures("observed")
@pytest.mark.parametrize("way", WAYS)
def test_futures_that_are_dropped_are_released_and_cancelled(way: str, client: Any, gate: Gate) -> None:
    gc.collect()
    gc.disable()
    try:
        futures = WAYS[way](client, gate)
        assert gate.running.acquire(timeout=LIMIT)
        assert value(catalog.TASK_ACTIVE, NAME) == 6
        references = [weakref.ref(future) for future in distributed.futures_of(futures)]
        del futures
        assert [reference() for reference in references] == [None] * 6
    finally:
        gc.enable()
    work.until(lambda: _tasks_on_scheduler(client) <= 2, "the tasks that have not begun to be forgotten")
    _counted({"cancelled": 6})
    assert value(catalog.TASK_CANCELLATIONS, NAME, cancel_reason="explicit") == 6
    gate.open.set()
    work.until(lambda: _tasks_on_scheduler(client) == 0, "all of them to be forgotten")


@pytest.mark.usefixtures("observed")
def test_cancelled_by_whom(cluster: Any, gate: Gate) -> None:
    with distributed.Client(cluster, name=NAME) as client:
        kept = client.map(hold, [gate] * 4, range(4), pure=False)
        assert gate.running.acquire(timeout=LIMIT)
        client.cancel(kept[3])
        work.until(lambda: outcomes(NAME) == {"cancelled": 1}, "the cancellation")
        assert value(catalog.TASK_CANCELLATIONS, NAME, cancel_reason="explicit") == 1
    gate.open.set()
    _counted({"cancelled": 4})
    assert value(catalog.TASK_CANCELLATIONS, NAME, cancel_reason="shutdown") == 3
    del kept


@pytest.mark.usefixtures("observed")
@pytest.mark.parametrize("outcome", ["success", "error"])
def test_what_is_fired_and_forgotten_ends_as_its_worker_says(client: Any, gate: Gate, outcome: str) -> None:
    future = client.submit(_held_then, gate, outcome == "error", pure=False)
    distributed.fire_and_forget(future)
    assert gate.running.acquire(timeout=LIMIT)
    del future
    work.until(lambda: not client.futures, "the future to be released")
    assert outcomes(NAME) == {}
    gate.open.set()
    _counted({outcome: 1})
    assert value(catalog.TASK_COMPLETED, NAME, error_type="KeyError") == (outcome == "error")


def _held_then(gate: Gate, fails: bool) -> None:
    gate.hold()
    if fails:
        raise KeyError("held")


@pytest.mark.parametrize("instrumented", [True, False], ids=["instrumented", "alone"])
@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "plain"])
def test_an_executors_map_and_submit_are_one_task_a_call(
    client: Any, instrumented: bool, wrapped: bool, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    if instrumented:
        gi.DaskInstrumentor().instrument()
    pool = client.get_executor(pure=False)
    if wrapped:
        assert gi.wrap_executor(pool, "wrapped") is pool
    with tracer.start_as_current_span("request") as request:
        trace_id = request.get_span_context().trace_id
        traced = [trace_id if instrumented or wrapped else 0]
        assert list(pool.map(_trace_id, range(5))) == traced * 5
        assert [pool.submit(_trace_id, 1).result(LIMIT)] == traced
    if instrumented or wrapped:
        name = "wrapped" if wrapped else NAME
        _counted({"success": 6}, name)
        assert {found for found in work.executors() if found[1] == "dask"} == {(name, "dask")}
    else:
        assert work.executors() == set()


@pytest.mark.usefixtures("observed")
@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "plain"])
def test_an_executors_map_that_is_left_cancels_the_rest(client: Any, gate: Gate, wrapped: bool) -> None:
    pool = client.get_executor(pure=False)
    name = NAME
    if wrapped:
        gi.wrap_executor(pool, "wrapped")
        name = "wrapped"
    results = pool.map(_hold_but_first, [gate] * 6, range(6))
    assert next(results) == 0
    assert gate.running.acquire(timeout=LIMIT)
    results.close()
    gate.open.set()
    work.until(lambda: value(catalog.TASK_ACTIVE, name) == 0, "the calls to end")
    assert outcomes(name) == {"success": 1, "cancelled": 5}


def _hold_but_first(gate: Gate, number: int) -> int:
    return gate.hold(number) if number else 0


@pytest.mark.usefixtures("observed")
def test_as_the_runner_of_an_executor_it_counts_nothing(client: Any) -> None:
    async def main() -> Any:
        async with HybridExecutor("hybrid", max_in_flight=2) as executor:
            return await executor.run(work.add, 1, runner=client.get_executor())

    assert anyio.run(main) == 2
    assert outcomes("hybrid") == {"success": 1}
    assert work.executors() == {("hybrid", "hybrid")}


def test_calls_under_way_are_counted_after_it_was_turned_off(client: Any, gate: Gate) -> None:
    finish = distributed.client.FutureState.finish
    gi.DaskInstrumentor().instrument()
    kept = client.map(hold, [gate] * 2, range(2), pure=False)
    assert gate.running.acquire(timeout=LIMIT)
    gi.DaskInstrumentor().uninstrument()
    assert distributed.client.FutureState.finish is not finish
    gate.open.set()
    assert client.gather(kept) == [0, 1]
    _counted({"success": 2})
    assert distributed.client.FutureState.finish is finish
    assert not dask_states.watched
    assert client.gather(client.map(work.add, [1])) == [2]
    _counted({"success": 2})
