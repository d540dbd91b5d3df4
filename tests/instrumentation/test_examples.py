"""Every example runs, and prints what it promises to show."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    "zero_code": (("fastapi", "httpx"), ("60 answers",)),
}  # fmt: skip


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
