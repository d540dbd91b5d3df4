"""Task names together with other vendors' instrumentation and under frameworks: those of the user's functions.

What patches globally runs in processes of its own, with the real packages.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key

from . import work

fastapi = pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

ROOT = Path(__file__).parents[2]
PACKAGES = {"logfire": "logfire", "sentry": "sentry_sdk", "otel": "opentelemetry.instrumentation.asyncio"}


def _run(program: str, *arguments: str) -> Any:
    path = [str(ROOT), str(ROOT / "src"), str(ROOT / "instrumentation")]
    code = f"import sys; sys.path[:0] = {path}; sys.argv[1:] = {list(arguments)}; import runpy; "
    code += f"runpy.run_module('tests.instrumentation.{program}', run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=work.LIMIT, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("order", ["ours-first", "theirs-first"])
@pytest.mark.parametrize("vendors", [["logfire"], ["sentry"], ["otel"], ["logfire", "sentry", "otel"]], ids=" ".join)
def test_the_users_functions_keep_their_names_beside(vendors: list[str], order: str) -> None:
    for vendor in vendors:
        pytest.importorskip(PACKAGES[vendor])
    found = _run("vendor_program", order, *vendors)
    for path, seen in found.items():
        expected = Counter(seen["expected"])
        names = {name: count for name, count in seen["names"].items() if path != "asyncio" or name in expected}
        assert names == expected, path
        assert seen["codes"] == sorted(f"__main__.{name}" for name in expected), path


@pytest.mark.parametrize("beside", ["nothing", "sentry"])
def test_synchronous_views_of_django_keep_their_names(beside: str) -> None:
    pytest.importorskip("django")
    if beside == "sentry":
        pytest.importorskip("sentry_sdk")
    found = _run("django_program", beside)
    assert found["answers"] == ["report", "lookup", "detail 5", "back 7", "till", 6, "till", 6]
    in_threads = {name for kind, names in found["names"].items() if kind != "asyncio" for name in names}
    assert in_threads >= {"report", "lookup", "Detail", "there_and_back", "Till.open", "tax"}
    assert not any("thread_handler" in name or "partial" in name for name in in_threads)
    assert "fetch" in found["names"]["asyncio"]  # which async_to_sync has brought there
    assert not any("main_wrap" in name or "SyncToAsync" in name for name in found["names"]["asyncio"])


def test_endpoints_of_fastapi_keep_their_names(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    from fastapi.responses import StreamingResponse

    gi.AnyioInstrumentor().instrument(monitor=False)
    app = fastapi.FastAPI()

    def user() -> str:
        return "eve"

    def database() -> Any:
        yield "db"

    def audit(text: str) -> None:
        pass

    def counted(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(**kwargs: Any) -> Any:
            return function(**kwargs)

        return wrapper

    class Report:
        def __call__(self) -> str:
            return "report"

        def summary(self) -> str:
            return "summary"

    def rows() -> Any:
        yield "row"

    def priced(rate: int, amount: int) -> int:
        return rate * amount

    @app.get("/slow")
    def slow(tasks: fastapi.BackgroundTasks, name: str = fastapi.Depends(user), db: str = fastapi.Depends(database)):  # type: ignore[no-untyped-def,name-defined]  # as FastAPI wants it
        tasks.add_task(audit, "done")
        return name + db

    @app.get("/decorated")
    @counted
    def decorated(n: int = 1) -> int:
        return n

    app.get("/callable")(Report())
    app.get("/method")(Report().summary)
    app.get("/partial")(functools.partial(priced, 2))

    @app.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(rows())

    async def go() -> list[str]:
        paths = ("slow", "decorated", "callable", "method", "partial?amount=3", "stream")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            with tracer.start_as_current_span("request"):
                return [(await client.get(f"/{path}")).text for path in paths]

    assert anyio.run(go) == ['"evedb"', "1", '"report"', '"summary"', "6", "row"]
    found = {
        str(point.attributes[Key.TASK_NAME]).rpartition("<locals>.")[2]
        for point in work.REGISTRY.collect().histograms[catalog.TASK_DURATION.name]
        if point.attributes[Key.EXECUTOR_NAME] == "anyio.to_thread"
    }
    wanted = {"slow", "user", "database", "audit", "decorated", "Report", "Report.summary", "priced", "stream", "rows"}
    assert wanted <= found
    assert not {name for name in found if name.startswith("_")}
    codes = {str((span.attributes or {}).get(Key.CODE_FUNCTION)) for span in spans.get_finished_spans()}
    local = f"{__name__}.{test_endpoints_of_fastapi_keep_their_names.__qualname__}.<locals>."
    assert {f"{local}{name}" for name in ("slow", "database", "Report", "priced", "rows")} <= codes
