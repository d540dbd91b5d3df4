"""The time for which a collector may delay the exit: one second if it never answered, five if it did."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .receiver import PROTOCOLS, receiver
from .support import Finished, run_python
from .test_configure import SETUP

GIVEN_UP = "the last export did not end within {} s: is the collector reachable? Leaving without it"

ENDED = "import atexit\natexit.register(print, 'ended', flush=True)\n"
"""Registered before configure(): runs when its own end is over."""

LEAVING = {
    "exit": "configure()\nwork()",
    "shutdown": "handle = configure()\nwork()\nhandle.shutdown()\nprint('notes', handle.notes)",
    "fork": """
configure()
pid = os.fork()
if pid == 0:
    work()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
    "multiprocessing": """
import multiprocessing
configure()
worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
assert worker.exitcode == 0
""",
}


@contextmanager
def nobody() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening
        yield closed.getsockname()[1]


@contextmanager
def silence() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield silent.getsockname()[1]


def leave(code: str, port: int, protocol: str, **env: str) -> Finished:
    """Run a program whose exporters would go on for an hour: that it ends at all is the proof."""
    done = run_python(
        ENDED + SETUP + "import os\n" + code,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
        OTEL_EXPORTER_OTLP_TIMEOUT="3600",
        OTEL_BSP_SCHEDULE_DELAY="3600000",
        OTEL_METRIC_EXPORT_INTERVAL="3600000",
        **env,
    )
    assert "ended" in done.out
    return done


def leave_program(directory: Path, code: str, method: str, port: int, protocol: str, **env: str) -> Finished:
    """The same for a program in a file, which processes that are spawned import; ``method`` starts them."""
    program = directory / "program.py"
    program.write_text(code)
    run = f"import subprocess\nsubprocess.run([sys.executable, {str(program)!r}, {method!r}], check=True)"
    return leave(run, port, protocol, **env)


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("collector", [nobody, silence])
def test_a_collector_that_was_never_there_holds_up_no_exit(collector, protocol, signal):
    with collector() as port:
        done = leave(LEAVING["exit"], port, protocol, **{f"OTEL_{signal}_EXPORTER": "none"})
    # Over HTTP exporters of some versions do not come again when they are refused: their export fails at once.
    failed_at_once = collector is nobody and protocol != "grpc" and "failed: is the collector reachable?" in done.err
    assert failed_at_once or GIVEN_UP.format(1) in done.err


@pytest.mark.parametrize("way", ["shutdown", "fork", "multiprocessing"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nor_a_shutdown_or_the_end_of_a_forked_worker(protocol, way):
    if way != "shutdown" and not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    with silence() as port:
        done = leave(LEAVING[way], port, protocol)
    assert done.err.count(GIVEN_UP.format(1) + "; 3 spans were not sent") == 1
    assert GIVEN_UP.format(5) not in done.err
    if way == "shutdown":
        assert GIVEN_UP.format(1) in next(done.lines("notes"))


POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from opentelemetry import trace
from glasspool_instrumentation import wrap_executor

if __name__ == "__main__":
    configure()
    context = multiprocessing.get_context(sys.argv[1])
    with wrap_executor(ProcessPoolExecutor(1, mp_context=context), "pool", child_telemetry=True) as pool:
        with trace.get_tracer("parent").start_as_current_span("request"):
            assert pool.submit(abs, -1).result() == 1
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_nor_the_workers_of_a_pool(tmp_path, method):
    with silence() as port:
        done = leave_program(tmp_path, ENDED + SETUP + POOL, method, port, "http/protobuf")
    assert done.err.count(GIVEN_UP.format(0.5)) == 1, "the worker's"
    assert done.err.count(GIVEN_UP.format(1)) == 1, "the program's own"
    assert GIVEN_UP.format(5) not in done.err


OTHER_POOL = """
import multiprocessing
from opentelemetry import trace
import glasspool_instrumentation

def work(number):
    with trace.get_tracer("worker").start_as_current_span("work"):
        return number

if __name__ == "__main__":
    configure()
    glasspool_instrumentation.instrument()
    with trace.get_tracer("parent").start_as_current_span("request"):
        if sys.argv[1] == "loky":
            import loky
            pool = glasspool_instrumentation.wrap_executor(loky.ProcessPoolExecutor(1), child_telemetry=True)
            assert pool.submit(work, 1).result() == 1
            pool.shutdown()
        else:
            pool = multiprocessing.get_context("fork").Pool(1)
            assert pool.apply(work, (1,)) == 1
            pool.close()
            pool.join()
"""


@pytest.mark.parametrize("kind", ["loky", "multiprocessing.Pool"])
def test_nor_the_workers_of_other_libraries_pools(tmp_path, kind):
    if kind == "loky":
        pytest.importorskip("loky")
    with silence() as port:
        done = leave_program(tmp_path, ENDED + SETUP + OTHER_POOL, kind, port, "http/protobuf")
    assert done.err.count(GIVEN_UP.format(0.5)) == 1, "the worker's"
    assert done.err.count(GIVEN_UP.format(1)) == 1, "the program's own"
    assert GIVEN_UP.format(5) not in done.err


OWN_SDK = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.{protocol}.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from glasspool_instrumentation import wrap_executor

def set_up():
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        provider = TracerProvider(shutdown_on_exit=__name__ != "__main__")
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)

if __name__ == "__main__":
    set_up()
    context = multiprocessing.get_context(sys.argv[1])
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=set_up)
    with wrap_executor(pool, "pool") as pool:
        with trace.get_tracer("parent").start_as_current_span("request"):
            assert pool.submit(abs, -1).result() == 1
"""
"""The SDK is the application's, in the worker too; its exporter would go on for an hour there."""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("collector", [nobody, silence])
def test_nor_a_worker_whose_sdk_is_the_applications(tmp_path, collector, protocol, method):
    code = SETUP + OWN_SDK.format(protocol=protocol)
    with collector() as port:
        done = leave_program(tmp_path, code, method, port, "grpc" if protocol == "grpc" else "http/protobuf")
    failed_at_once = collector is nobody and protocol == "http"  # in versions that do not come again
    assert failed_at_once or "were not all sent within 0.5 s: is the collector reachable?" in done.err


@pytest.mark.parametrize(
    ("asked", "seconds"), [("0.25", "0.25"), ("-1", "0.5"), ("soon", "0.5"), ("nan", "0.5"), ("", "0.5")]
)
def test_whoever_says_how_long_a_worker_may_take_is_obeyed(tmp_path, asked, seconds):
    with silence() as port:
        done = leave_program(
            tmp_path, ENDED + SETUP + POOL, "spawn", port, "http/protobuf", GLASSPOOL_WORKER_EXIT_SECONDS=asked
        )
    assert GIVEN_UP.format(seconds) in done.err
    ignored = f"GLASSPOOL_WORKER_EXIT_SECONDS={asked!r} is not a number of seconds from 0 on" in done.err
    assert ignored == (asked in ("-1", "soon", "nan"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_was_there_gets_five_seconds(protocol):
    with receiver(protocol) as collector:
        collector.takes = 2  # the spans and the metrics of the flush
        done = leave(
            "handle = configure()\nwork()\nprint('flushed', handle.force_flush(240))\nwork(4)", collector.port, protocol
        )
    assert list(done.lines("flushed")) == ["True"]
    assert GIVEN_UP.format(5) + "; 4 spans were not sent" in done.err


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_whoever_says_how_long_is_obeyed(protocol):
    with silence() as port:
        done = leave("handle = configure()\nwork()\nhandle.shutdown(0.25)", port, protocol)
    assert GIVEN_UP.format(0.25) in done.err
