"""Record /metrics of the programs of tests/alerting/programs, every fifteen seconds in real time.

    python tools/record_alert_series.py [NAME]...

runs all of them at once (or those named) for a quarter of an hour and writes tests/alerting/recorded/NAME.series.gz,
which tests/alerting evaluates with the rules. Programs that wait only for time need no recording: the tests run them on
a mock clock.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("", "src", "instrumentation")]

from tests.alerting.recording import Recording, Samples  # noqa: E402 - the tests' helpers are no package that is installed

PROGRAMS = ROOT / "tests" / "alerting" / "programs"
RECORDED = ROOT / "tests" / "alerting" / "recorded"
SECONDS, MINUTES = 15, 15


def environment(**extra: str) -> dict[str, str]:
    """Without the variables of OpenTelemetry and prometheus_client, our packages on the path."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PROMETHEUS_"))}
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT / "instrumentation"), str(PROGRAMS)])
    return {**kept, **extra}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(arguments: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A child process that is terminated when the block is left."""
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the child
    child = subprocess.Popen(
        arguments, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=PROGRAMS
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        child.stdout.close()
        log.close()


@contextmanager
def script(*arguments: str) -> Iterator[int]:
    """A program that prints its port."""
    with running([sys.executable, *arguments], environment()) as child:
        assert child.stdout is not None
        yield int(child.stdout.readline().split()[-1])


@contextmanager
def web(visitors: str = "", start: str = "", restarts: tuple[float, ...] = ()) -> Iterator[int]:
    """The web application under opentelemetry-instrument and uvicorn, visited, and restarted at these seconds."""
    port, metrics = free_port(), free_port()
    command = [
        shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent)) or "opentelemetry-instrument",
        sys.executable, "-m", "uvicorn", "web:app", "--port", str(port), "--log-level", "warning",
        "--timeout-graceful-shutdown", "5",
    ]  # fmt: skip
    env = environment(
        OTEL_METRICS_EXPORTER="prometheus", OTEL_TRACES_EXPORTER="none", OTEL_LOGS_EXPORTER="none",
        OTEL_SERVICE_NAME="web", OTEL_EXPORTER_PROMETHEUS_PORT=str(metrics), START=start,
    )  # fmt: skip
    over = threading.Event()

    def serve() -> None:
        begun = time.monotonic()
        for until in (*restarts, 1e9):
            with running(command, env):
                over.wait(max(0.0, begun + until - time.monotonic()))
            if over.is_set():
                return

    server = threading.Thread(target=serve)
    server.start()
    try:
        with ExitStack() as stack:
            if visitors:
                visit = [sys.executable, "visitors.py", f"http://127.0.0.1:{port}", visitors]
                stack.enter_context(running(visit, environment()))
            yield metrics
    finally:
        over.set()
        server.join()


WELL: dict[str, Callable[[], object]] = {
    "uvicorn-idle": web,
    "uvicorn-steady": lambda: web("steady"),
    "uvicorn-long-polls": lambda: web("polls"),
    "uvicorn-slow-start": lambda: web("steady", start="slow"),
    "uvicorn-rolling-restart": lambda: web("steady", restarts=(150, 300)),
    "etl-pools": lambda: script("pools.py"),
}
SICK = ("limiter", "stuck-thread", "blocked-loop", "dead-upstream", "abandoned-threads", "cancel-not-obeyed")
ALL = WELL | {f"sick-{trouble}": lambda trouble=trouble: script("sick.py", trouble) for trouble in SICK}


def scrape(port: int) -> dict[str, float]:
    """The program's glasspool series now; none if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS - 5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            if name.startswith("glasspool_"):
                inner = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels) if labels[key])
                found[f"{name}{{{inner}}}"] = value
    return found


def record(name: str) -> None:
    """Run one program and write its recording."""
    series: dict[str, Samples] = {}
    with ALL[name]() as port:  # type: ignore[attr-defined]  # context managers, all of them
        begun = time.monotonic()
        scrapes = MINUTES * 60 // SECONDS + 1
        for number in range(scrapes):
            time.sleep(max(0.0, begun + number * SECONDS - time.monotonic()))
            found = scrape(port)
            for key in found.keys() | series.keys():
                series.setdefault(key, [None] * number).append(found.get(key))
    facts = {"python": platform.python_version(), "recorded": time.strftime("%Y-%m-%d")}
    RECORDED.mkdir(exist_ok=True)
    path = RECORDED / f"{name}.series.gz"
    Recording(name, SECONDS, scrapes, series, facts).write(path)
    print(f"{path.relative_to(ROOT)}: {len(series)} series, {path.stat().st_size} bytes", flush=True)


def main() -> int:
    """Returns the exit status."""
    names = sys.argv[1:] or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"no such program: {', '.join(unknown)}; there are: {', '.join(ALL)}", file=sys.stderr)
        return 2
    threads = [threading.Thread(target=record, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
