"""loky, joblib and Dask: calls that other processes run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog

from . import work
from .work import LIMIT, histogram, outcomes, value

pytestmark = pytest.mark.filterwarnings("ignore")  # other people's pools warn about forks, sockets and files of theirs


def test_loky(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    loky = pytest.importorskip("loky")
    gi.LokyInstrumentor().instrument()
    pool = loky.ProcessPoolExecutor(2)
    with tracer.start_as_current_span("request") as request:
        assert pool.submit(work.seen).result(LIMIT)[0] == request.get_span_context().trace_id
        assert pool.submit(lambda: 5).result(LIMIT) == 5
        error = pool.submit(work.fail, "x").exception(LIMIT)
    assert isinstance(error, KeyError)
    pool.shutdown()
    assert outcomes(__name__) == {"success": 2, "error": 1}
    assert work.executors() == {(__name__, "loky")}
    assert value(catalog.SLOT_LIMIT, __name__) == 0
    kinds = [span.kind for span in spans.get_finished_spans()]
    assert (kinds.count(SpanKind.PRODUCER), kinds.count(SpanKind.CONSUMER)) == (3, 3)


def test_joblib_batches_go_by_the_users_function(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    joblib = pytest.importorskip("joblib")
    gi.LokyInstrumentor().instrument()
    with tracer.start_as_current_span("request") as request:
        # Later batches are submitted from a thread of joblib's own.
        found = joblib.Parallel(n_jobs=2, batch_size=1)(joblib.delayed(work.seen)() for _ in range(12))
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    assert {trace_id for trace_id, _, _ in found} == {request.get_span_context().trace_id}
    batches = outcomes(__name__)["success"]
    made = [span for span in spans.get_finished_spans() if span.kind is SpanKind.PRODUCER]
    assert len(made) == batches == 12
    assert {span.parent.span_id for span in made if span.parent} == {request.get_span_context().span_id}
    assert histogram(catalog.TASK_DURATION, __name__, task_name="seen")[0] == batches


@pytest.fixture(params=["processes", "threads"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=2, processes=request.param == "processes", dashboard_address=":0"
            ) as cluster,
            distributed.Client(cluster) as made,
        ):
            yield made


def test_dask(client: Any, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    gi.instrument()
    with tracer.start_as_current_span("request") as request:
        trace_id = request.get_span_context().trace_id
        first = client.submit(work.seen, pure=False)
        assert first.result(LIMIT)[0] == trace_id
        assert first.key.startswith("seen-")
        assert client.submit(work.add, client.submit(work.add, 1)).result(LIMIT) == 3
        with pytest.raises(KeyError):
            client.submit(work.fail, "x").result(LIMIT)
        assert client.get_executor().submit(work.seen).result(LIMIT)[0] == trace_id
    same = client.submit(work.add, 40)
    assert client.submit(work.add, 40).key == same.key  # equal calls still share one result
    assert same.result(LIMIT) == 41
    work.until(lambda: outcomes(__name__) == {"success": 6, "error": 1}, "the outcomes")
    pools = {found for found in work.executors() if found[1] not in ("asyncio", "anyio", "trio")}
    assert pools == {(__name__, "dask")}
    work.until(
        lambda: sum(span.kind is SpanKind.PRODUCER for span in spans.get_finished_spans()) == 5, "the PRODUCER spans"
    )


def test_dask_by_name(client: Any) -> None:
    gi.DaskInstrumentor().instrument(wait_objectives={__name__: 3600, "*": 1e-9})
    assert client.submit(work.add, 1).result(LIMIT) == 2
    work.until(lambda: outcomes(__name__) == {"success": 1}, "the outcome")
    assert (value(catalog.QUEUE_WAIT_OBJECTIVE, __name__), value(catalog.QUEUE_WAIT_LATE, __name__)) == (3600, 0)


def test_a_wrapped_dask_executor(client: Any, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    pool = gi.wrap_executor(client.get_executor(), "cluster")
    with tracer.start_as_current_span("request") as request:
        assert pool.submit(work.seen).result(LIMIT)[0] == request.get_span_context().trace_id
    assert isinstance(pool.submit(work.fail, "x").exception(LIMIT), KeyError)
    assert list(pool.map(work.add, [1, 2])) == [2, 3]
    work.until(lambda: outcomes("cluster").get("error") == 1, "the outcomes")
    assert outcomes("cluster")["success"] >= 1
