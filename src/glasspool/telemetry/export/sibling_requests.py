"""Requests to other processes over their sockets, all at once and within one deadline.

A request is a line. A process of an older version sends none, and gets the figures; one of an older version that is
asked does not read it, and answers with the figures, whatever was asked for.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from .snapshot_json import END

__all__ = ["FIGURES", "TASKS", "Answers", "ask", "request_on"]

FIGURES = b"figures\n"
TASKS = b"tasks\n"

_PATIENCE = 0.02
"""Seconds in which a request must come: who sends one does so at once, and who sends none waits for the answer."""


class Answers(NamedTuple):
    """The answers: a line for each number that answered in time, and the numbers of running processes that did not."""

    lines: dict[int, bytes]
    silent: set[int]


def ask(sockets: Mapping[int, Path], seconds: float, request: bytes = FIGURES) -> Answers:
    """Ask all of them for this. A socket without a listener belongs to a process that has ended."""
    deadline = time.monotonic() + seconds
    answers = Answers({}, set())
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for number, path in sockets.items():
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            found = _connected(connection, path)
            if found:
                _send(connection, request)
                selector.register(connection, selectors.EVENT_READ, (connection, number, bytearray()))
            elif found is None:
                answers.silent.add(number)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                connection, number, line = key.data
                try:
                    part = connection.recv(1 << 16)
                except OSError:  # it has ended
                    part = b""
                line += part
                if part.endswith(END):
                    answers.lines[number] = bytes(line)
                elif part:
                    continue
                elif _alive(sockets[number]):
                    answers.silent.add(number)
                selector.unregister(connection)
        answers.silent.update(key.data[1] for key in selector.get_map().values())
    return answers


def request_on(connection: socket.socket) -> bytes:
    """The request that an accepted connection has brought: ``FIGURES`` if none comes, empty if it was only a touch."""
    connection.settimeout(_PATIENCE)
    try:
        return connection.recv(64)
    except TimeoutError:
        return FIGURES


def _send(connection: socket.socket, request: bytes) -> None:
    try:
        connection.send(request)  # a new connection has room for it
    except OSError:  # it has answered without waiting for a request, or has just ended: what can be read says which
        pass


def _alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return _connected(connection, path) is not False


def _connected(connection: socket.socket, path: Path) -> bool | None:
    """Whether a process exists and accepts the request; None if it exists but does not."""
    connection.setblocking(False)
    try:
        connection.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:  # too many are waiting
        return None
    return True
