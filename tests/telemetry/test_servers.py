"""The measurements of uvicorn's last interval arrive, however the server was started and stopped."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import tempfile
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest

from glasspool.telemetry import catalog
from tests.programs import Program

from .receiver import PROTOCOLS, receiver
from .support import LIMIT, ROOT

if not hasattr(os, "fork"):
    pytest.skip("needs sockets in the file system", allow_module_level=True)

UVICORN = ("-m", "uvicorn", "served_app:app", "--uds", "{socket}")
GUNICORN = ("-m", "gunicorn", "served_app:app", "-b", "unix:{socket}", "-w", "2", "-k", "uvicorn_worker.UvicornWorker")
OWN = (
    "-c",
    "import sys, uvicorn; from served_app import app; uvicorn.run(app, uds=sys.argv[1])",
    "{socket}",
)
SERVERS = {
    "uvicorn": UVICORN,
    "uvicorn --workers": (*UVICORN, "--workers", "2"),
    "uvicorn.run": OWN,
    "gunicorn": GUNICORN,
    "gunicorn --preload": (*GUNICORN, "--preload"),
}
HOUR = "3600000"


def ask(path: str) -> bool:
    """One request; False while there is no answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT)
        try:
            connection.connect(path)
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = HTTPResponse(connection)
            answer.begin()
            return answer.status == 200
        except (OSError, HTTPException):
            return False


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", SERVERS)
def test_the_last_interval_arrives(name, protocol, stop):
    for package in ("uvicorn", "uvicorn_worker", "gunicorn"):
        if any(package in argument for argument in SERVERS[name]) and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install {package}")
    if "gunicorn" in name and stop == signal.SIGINT:
        pytest.skip("gunicorn's quick shutdown: its uvicorn workers do not shut down")
    with receiver(protocol) as collector, tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/web"
        exports = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": HOUR,
            "OTEL_METRIC_EXPORT_INTERVAL": HOUR,
        }
        arguments = [argument.format(socket=path) for argument in SERVERS[name]]
        with Program(*arguments, cwd=ROOT / "tests" / "telemetry", **exports) as program:
            program.until(lambda: Path(path).exists() and ask(path), "its first answer")
            assert all(ask(path) for _ in range(9))
            assert not collector.spans, "nothing leaves before the end"
            program.send(stop)
            program.end(None)
        assert len(collector.spans) == 10
        submitted = [points.get(catalog.TASK_SUBMITTED.name, 0) for points in collector.processes.values()]
        assert sum(submitted) == 10
