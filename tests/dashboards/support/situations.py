"""A program in trouble: every situation that panels and alerts must name, with real executors, and its own account.

Run as a module by the proof. It keeps book of every task by itself (when it was accepted, began and ended, and how it
had to end), without looking at any telemetry, ends in a state that stands still, writes the account as JSON and
blocks its event loop until its standard input is closed.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor

import anyio
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from glasspool.telemetry.configuration import configure
from glasspool.telemetry.eventloop import monitor_event_loop
from glasspool.telemetry.recording import overdue
from glasspool_instrumentation import AnyioInstrumentor, wrap_executor

from .held_tasks import LIMITS, held_for_a_while, held_for_good
from .retried_tasks import BUDGET, retried_for_a_while, retried_later
from .shop import LIMITER, Account, Shop, broken_observer, now
from .shop_services import serve

EXPORT_MILLIS = 2000


async def situations(shop: Shop, hold: float, out: str) -> None:
    pool = wrap_executor(ProcessPoolExecutor(2), "etl")
    pool.submit(abs, -1).result()  # workers are there before the loop has anything to lose
    shop.account.executor("etl", "process_pool", 2, None)
    warm = shop.account.task("etl", "abs", "process_pool", runner="process", outcome="success")
    warm["accepted"] = now()
    async with (
        monitor_event_loop("main"),
        shop.executor("orders", 4, 20, wait_objective=0.5) as orders,
        shop.executor("mail", 8, 100, observers=[broken_observer]) as mail,
        shop.executor("threads", 3, 10) as threads,
        shop.executor("crawl", 10, 100, limits=LIMITS) as crawl,
        shop.executor("bulk", 2, 10) as bulk,
        shop.executor("calls", 1, 10, retry_budget=BUDGET) as calls,
        anyio.create_task_group() as group,
    ):
        shop.account.data["failures"]["observer"] = 1
        group.start_soon(shop.ticks)
        go = anyio.Event()
        group.start_soon(shop.closings, go)
        group.start_soon(shop.cut, go)
        await shop.before(orders, crawl, threads, pool)
        shop.account.data["idle_from"] = now()
        await anyio.sleep(5)  # two exports and two scrapes see everything at 0
        async with anyio.create_task_group() as traffic:
            traffic.start_soon(shop.steady, mail, "letter", 0.02, 0.1, 220)
            await shop.steady(orders, "checkout", 0.12, 0.1, 100)
            for situation in (shop.rush, shop.errors, shop.timeouts, shop.cancels, shop.burst):
                await situation(orders)
            await shop.storm(crawl)
            await held_for_a_while(shop, crawl)
            await serve(shop, crawl)
            await retried_for_a_while(shop, calls)
            await shop.threads(threads)
            go.set()
            await shop.pool(pool)
            await shop.limiter(group)
            await shop.blocks()
            await shop.batch(bulk)
            await held_for_good(shop, crawl)
            await retried_later(shop, calls)
        await shop.standstill(orders, group)
        await anyio.sleep(hold)
        shop.account.data["frozen"] = now()
        with open(out, "w", encoding="utf-8") as file:
            json.dump(shop.account.data, file)
        print("FROZEN", flush=True)
        sys.stdin.read()  # blocks the loop, as a blocking call does
        shop.release.set()
        shop.let_go.set()
        group.cancel_scope.cancel()
        raise SystemExit(0)


def main() -> None:
    out, hold, traces, *endpoints = sys.argv[1:]
    resource = Resource.create({"service.name": "shop"})
    readers = [
        PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint), export_interval_millis=EXPORT_MILLIS)
        for endpoint in endpoints
    ]
    metrics.set_meter_provider(MeterProvider(readers, resource=resource))
    tracers = TracerProvider(resource=resource)
    if traces:
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=traces)))
    trace.set_tracer_provider(tracers)
    handle = configure(prometheus_port=0)
    print(f"PORT {handle.prometheus_port}", flush=True)
    # The limiter alone, not this program's task groups.
    AnyioInstrumentor().instrument(exclude=["*"], monitor=False, wait_objectives={LIMITER: 0.5})
    overdue.WATCHED_AFTER = 2.0  # the standstill lasts half a minute
    account = Account()
    anyio.run(situations, Shop(account), float(hold), out)


if __name__ == "__main__":
    main()
