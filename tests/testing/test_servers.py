"""SIGTERM under real servers: the executor drains, and the server stops as it would without it."""

from __future__ import annotations

import importlib.util
import signal
import socket
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.programs import Program
from tests.telemetry.support import LIMIT

HERE = Path(__file__).parent

HYPERCORN = """
import hypercorn.asyncio, hypercorn.config, asyncio, sys
from served import app
config = hypercorn.config.Config()
config.bind = [sys.argv[1]]
asyncio.run(hypercorn.asyncio.serve(app, config))
"""

UVICORN = ("-m", "uvicorn", "served:app", "--uds", "{socket}", "--log-level", "info")
GUNICORN = ("-m", "gunicorn", "served:app", "--bind", "unix:{socket}", "--graceful-timeout", "300")
SERVERS = {
    "uvicorn on uvloop": (*UVICORN, "--loop", "uvloop"),
    "uvicorn on asyncio": (*UVICORN, "--loop", "asyncio"),
    "uvicorn --workers": (*UVICORN, "--workers", "2"),
    "gunicorn with uvicorn's workers": (*GUNICORN, "--workers", "2", "--worker-class", "uvicorn_worker.UvicornWorker"),
    "gunicorn's own ASGI workers": (*GUNICORN, "--workers", "2", "--worker-class", "asgi"),
    "hypercorn": ("-c", HYPERCORN, "unix:{socket}"),
    "hypercorn's workers": ("-m", "hypercorn", "served:app", "--bind", "unix:{socket}", "--workers", "2"),
    "hypercorn's workers on trio": (
        "-m",
        "hypercorn",
        "served:app",
        "--bind",
        "unix:{socket}",
        "--workers",
        "2",
        "--worker-class",
        "trio",
    ),
}
JOBS = 6


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def started(name: str, tmp_path: Path, journal: Path) -> Program:
    """The server, running."""
    for package in ("uvicorn", "uvicorn_worker", "gunicorn", "hypercorn"):
        if any(package in argument for argument in SERVERS[name]) and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install {package}")
    arguments = [argument.format(socket=tmp_path / "socket") for argument in SERVERS[name]]
    return Program(*arguments, cwd=HERE, JOURNAL=str(journal))


def listens(tmp_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(tmp_path / "socket")) == 0


def post(tmp_path: Path) -> str:
    """One request, on a connection of its own, so that it may go to any worker."""
    transport = httpx.HTTPTransport(uds=str(tmp_path / "socket"))
    with httpx.Client(transport=transport, base_url="http://served", timeout=LIMIT) as client:
        return client.post("/").text


CASES = [(name, number) for name in SERVERS for number in (signal.SIGTERM, signal.SIGINT)]
CASES.remove(("gunicorn's own ASGI workers", signal.SIGINT))  # it takes that for "at once"


@pytest.mark.parametrize(("name", "number"), CASES, ids=lambda value: str(getattr(value, "name", value)))
def test_what_was_accepted_ends_and_the_server_stops(
    name: str, number: signal.Signals, tmp_path: Path, journal: Path
) -> None:
    everybody = number is signal.SIGINT  # as a terminal does
    with started(name, tmp_path, journal) as program:
        program.until(lambda: listens(tmp_path), "listening")
        assert [post(tmp_path) for _ in range(JOBS)] == ["accepted"] * JOBS
        (program.send_all if everybody else program.send)(number)
        program.end(None)
        said = Counter(line.partition(" by ")[0].partition(",")[0] for line in journal.read_text().splitlines())
    assert said["accepted"] == said["job done"] == JOBS
    # hypercorn tells its workers without a signal: they stop serving, and the executor is left as usual.
    told = everybody or "hypercorn's workers" not in name
    assert said[f"left: {number.name if told else None}"] >= 1
