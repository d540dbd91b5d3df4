"""Several processes behind one port: the page shows all of them, whatever their versions answer."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from glasspool.telemetry.export.sibling_requests import FIGURES, TASKS, ask, request_on
from glasspool.telemetry.live.processes import Processes
from tests.programs import Program

from .support import found_json

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot find each other here")

WORKER = """
import sys
import anyio
from glasspool import HybridExecutor
from glasspool.telemetry import configure

async def stuck(): await anyio.sleep_forever()

async def main():
    handle = configure(prometheus_port=int(sys.argv[1]), service_name="live")
    async with HybridExecutor("shared", max_in_flight=2) as executor:
        await executor.submit(stuck, name=f"task {sys.argv[2]}")
        await anyio.sleep(0.1)
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        await executor.shutdown(grace=0)

anyio.run(main)
"""


@pytest.fixture
def meeting() -> Iterator[str]:
    made = tempfile.mkdtemp(prefix="gp")
    yield made
    shutil.rmtree(made)


def test_executors_and_tasks_of_all_processes_are_shown(meeting: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Program("-c", WORKER, str(port), "one", TMPDIR=meeting) as one:
        one.until_said("ready")
        with Program("-c", WORKER, str(port), "two", TMPDIR=meeting) as two:
            two.until_said("ready")
            shown = found_json(port, "/live.json")
            assert [(each["process"], each["name"]) for each in shown["executors"]] == [(0, "shared"), (1, "shared")]
            assert all(each["slots"]["used"] == 1 for each in shown["executors"])
            tasks = found_json(port, "/tasks.json")
            assert tasks["unknown_processes"] == []
            assert {task["process"]: task["name"] for task in tasks["tasks"]} == {0: "task one", 1: "task two"}
            assert all(task["stack"][0]["function"] == "stuck" for task in tasks["tasks"])
            (second,) = found_json(port, "/tasks.json?process=1")["tasks"]
            assert second["name"] == "task two"
            two.tell("end")
        one.tell("end")


class Peer:
    """A process that answers each connection with what it is told to; ``received`` is what it was asked."""

    def __init__(self, path: Path, answer: bytes, *, reads: bool) -> None:
        self.received: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._answer, self._reads = answer, reads
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                if self._reads:
                    self.received.append(request_on(connection))
                connection.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.thread.join()


class Others:
    number = 0

    def __init__(self, path: Path) -> None:
        self.path = path

    def others(self) -> dict[int, Path]:
        return {3: self.path}


def test_one_of_an_older_version_that_reads_no_request_is_asked_in_vain_and_said_to_be_so(meeting: str) -> None:
    path = Path(meeting, "3.socket")
    peer = Peer(path, b'{"points":{},"histograms":{}}\n', reads=False)
    found, unknown = Processes(Others(path)).tasks(lambda name, kind: False)
    assert (found, unknown) == ([], [3])
    processes = Processes(Others(path))
    processes.figures()
    assert processes.silent == []
    peer.close()


NO_ANSWERS = [b"nonsense\n", b"[]\n", b'{"tasks": 5}\n', b'{"tasks": [1]}\n', b"\xff\n", b"null\n"]


@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_an_answer_that_is_none_is_a_process_that_is_not_known(meeting: str, answer: bytes) -> None:
    path = Path(meeting, "3.socket")
    peer = Peer(path, answer, reads=True)
    processes = Processes(Others(path))
    assert processes.tasks(lambda name, kind: False) == ([], [3])
    processes.figures()
    assert processes.silent == [3]
    assert {"number": 3, "pid": None, "answered": False} in processes.shown()
    assert peer.received == [TASKS, FIGURES]
    peer.close()


def test_who_sends_no_request_gets_the_figures(meeting: str) -> None:
    path = Path(meeting, "3.socket")
    peer = Peer(path, b"{}\n", reads=True)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        assert connection.recv(100) == b"{}\n"
    assert peer.received == [FIGURES]
    assert ask({3: path}, 5.0, TASKS).lines == {3: b"{}\n"}
    assert peer.received == [FIGURES, TASKS]
    peer.close()
