"""Requests to other processes over their sockets, all at once and within one deadline."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from .snapshot_json import END

__all__ = ["Answers", "ask"]


class Answers(NamedTuple):
    """The answers: a line for each number that answered in time, and the numbers of running processes that did not."""

    lines: dict[int, bytes]
    silent: set[int]


def ask(sockets: Mapping[int, Path], seconds: float) -> Answers:
    """Ask all of them. A socket without a listener belongs to a process that has ended."""
    deadline = time.monotonic() + seconds
    answers = Answers({}, set())
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for number, path in sockets.items():
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            found = _connected(connection, path)
            if found:
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
