"""What the page shows comes from here: this process's figures and tasks, and those of the others behind its port."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from glasspool.telemetry.export.sibling_requests import TASKS, ask
from glasspool.telemetry.export.snapshot_json import from_line

from .flat import Entity, Flat, figures_here, flatten
from .tasks import Wanted, oldest, tasks_here

__all__ = ["Others", "Processes", "tasks_line"]

logger = logging.getLogger("glasspool")

_SECONDS = 1.0
"""For the answers of all others together."""


class Others(Protocol):
    """The processes that share the port."""

    number: int
    """This process's own."""

    def others(self) -> Mapping[int, Path]:
        """The sockets of the others, by number."""
        ...


class Processes:
    """This process and the others. ``others`` is None where there are none, or they cannot know of each other."""

    def __init__(self, others: Others | None = None) -> None:
        self._others = others
        self.number = 0 if others is None else others.number
        self.silent: list[int] = []  # those that did not answer the last time

    def figures(self) -> dict[Entity, Flat]:
        """All numbers of all processes now."""
        found = figures_here(self.number)
        if self._others is not None:
            answers = ask(self._others.others(), _SECONDS)
            silent = set(answers.silent)
            for number, line in sorted(answers.lines.items()):
                try:
                    found.update(flatten(number, from_line(line, number)))
                except ValueError:  # another version's
                    silent.add(number)
            self.silent = sorted(silent)
        return found

    def tasks(self, wanted: Wanted | None = None) -> tuple[list[dict[str, Any]], list[int]]:
        """The oldest tasks of all processes, and the numbers of the processes of which none are known."""
        found, unknown = tasks_here(self.number, wanted), []
        if self._others is not None:
            answers = ask(self._others.others(), _SECONDS, TASKS)
            unknown = sorted(answers.silent)
            for number, line in sorted(answers.lines.items()):
                theirs = _tasks_in(line)
                if theirs is None:
                    unknown.append(number)
                else:
                    found += [task for task in theirs if wanted is None or wanted(task["executor"], task["type"])]
            found = oldest(found)
        return found, unknown

    def shown(self) -> list[dict[str, Any]]:
        """The processes, as ``/live.json`` lists them: this one, and those that did not answer."""
        return [{"number": self.number, "pid": os.getpid(), "answered": True},
                *({"number": number, "pid": None, "answered": False} for number in self.silent)]  # fmt: skip


def tasks_line(number: int) -> bytes:
    """This process's oldest tasks, as a line for the process that serves the port."""
    return json.dumps({"tasks": tasks_here(number)}, separators=(",", ":")).encode() + b"\n"


def _tasks_in(line: bytes) -> list[dict[str, Any]] | None:
    try:
        tasks: list[dict[str, Any]] = json.loads(line)["tasks"]
        return [task for task in tasks if {"executor", "type", "state", "age"} <= task.keys()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # one that knows no such request
        return None
