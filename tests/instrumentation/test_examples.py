"""Every example runs and prints what it documents."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.programs import Program

from .work import LIMIT

ROOT = Path(__file__).parents[2]

EXAMPLES = {
    "fastapi_forty_tokens": (
        ("fastapi", "uvicorn", "httpx"),
        ("tokens in use, at most        40 of 40", 'time_seconds_total{glasspool_executor_name="anyio.to_thread"'),
    ),
    "thread_pool_etl": ((), ("functions in 100 modules", 'glasspool_executor_name="etl-parse"')),
    "process_pool_etl": ((), ("a worker was killed", "BrokenProcessPool")),
    "asyncio_fan_out": ((), ("49 of 50 succeeded", "glasspool_eventloop_delay_seconds_count")),
    "trio_nursery": (("trio",), ('glasspool_cancel_reason="deadline"', 'glasspool_executor_name="blocking"')),
    "dask_local_cluster": (("distributed",), ("sum of squares 2470", 'glasspool_executor_type="dask"')),
    "consumer_service": (
        (),
        ("connection 4", 'error_type="ConnectionResetError",glasspool_executor_name="orders"', "the store is closed"),
    ),
    "progress": ((), ("characters", "done")),
    "zero_code": (("fastapi", "httpx"), ("60 answers",)),
}  # fmt: skip


def test_the_service_is_there_until_ctrl_c() -> None:
    with Program(str(ROOT / "examples" / "until_ctrl_c.py"), "0") as program:
        program.until_said("Ctrl-C ends it")
        found = re.search(r"http://127\.0\.0\.1:\d+/metrics", program.out)
        assert found, program.out

        def scraped() -> str:
            with urllib.request.urlopen(found[0], timeout=LIMIT) as answer:
                return str(answer.read().decode())

        done = r'^glasspool_task_completed_total\{glasspool_executor_name="parsers".*outcome="success"\} [1-9]'
        program.until(lambda: re.search(done, scraped(), re.MULTILINE), "tasks that have succeeded")
        failed = r'^glasspool_task_completed_total\{error_type="(\w+)".*outcome="error"\} [1-9]'
        program.until(lambda: re.search(failed, scraped(), re.MULTILINE), "tasks that have failed")
        assert re.findall(failed, scraped(), re.MULTILINE) == ["FileNotFoundError"]
        assert re.search(r'^glasspool_slot_limit\{glasspool_executor_name="parsers".*\} 2\.0$', scraped(), re.MULTILINE)
        program.send(signal.SIGINT)
        assert "Drained: {" in program.end()


def test_the_lifespan_serves_and_stops(tmp_path: Path) -> None:
    for package in ("fastapi", "uvicorn", "httpx"):
        pytest.importorskip(package)
    import httpx

    path = str(tmp_path / "socket")
    arguments = ("-m", "uvicorn", "fastapi_lifespan:app", "--uds", path)
    with Program(*arguments, cwd=ROOT / "examples") as program:
        program.until_said("Application startup complete")
        program.until(lambda: os.path.exists(path), "its socket")
        with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://served", timeout=LIMIT) as client:
            answers = [client.post(f"/reports/{number}") for number in range(5)]
        assert [answer.status_code for answer in answers] == [202] * 5
        assert len({answer.json()["task"] for answer in answers}) == 5
        program.send(signal.SIGTERM)
        program.end(-signal.SIGTERM)  # as uvicorn ends without us
        assert "Application shutdown complete" in program.err


def test_no_example_leans_on_another_file() -> None:
    files = sorted((ROOT / "examples").glob("*.py"))
    names = {file.stem for file in files}
    assert not [name for name in names if name.startswith("_")]
    for file in files:
        imported = re.findall(r"^(?:from|import) (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert not names & set(imported), file.name


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    packages, promised = EXAMPLES[name]
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install {package}")
    env = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    env["HOLD"] = "4"  # of fastapi_forty_tokens: long enough for 40 requests to be under way at once on any machine
    env["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in ("src", "instrumentation"))
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in promised:
        assert text in done.stdout
