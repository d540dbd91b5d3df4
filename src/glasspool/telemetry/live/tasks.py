"""The oldest tasks of this process, and where each of them is now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from typing import Any

from glasspool.telemetry.recording.executor_figures import ExecutorFigures
from glasspool.telemetry.recording.places import Look, Place
from glasspool.telemetry.recording.printable_text import printable
from glasspool.telemetry.recording.registry import REGISTRY, Registry
from glasspool.telemetry.recording.task_record import TaskRecord

from .stacks import Stack, Threads

__all__ = ["MOST", "oldest", "tasks_here"]

MOST = 50
"""Tasks of each state that are shown."""

Wanted = Callable[[str, str], bool]


def tasks_here(process: int, wanted: Wanted | None = None, registry: Registry = REGISTRY) -> list[dict[str, Any]]:
    """The oldest active, abandoned and queued tasks, as ``/tasks.json`` shows them.

    :param process: this process's number.
    :param wanted: whether those of the executor of this name and type are wanted; default all.
    """
    found: list[tuple[ExecutorFigures, list[tuple[TaskRecord, str, float, float]]]] = []

    def read(record: ExecutorFigures) -> None:
        if wanted is not None and not wanted(record.name, record.type):
            return
        now = record.clock()
        found.append((record, [
            *((task, "active", now - task.started, task.started - task.accepted)
              for task in islice(record.active_tasks, MOST)),
            *((task, "queued", now - task.accepted, now - task.accepted)
              for task in islice(record.slots.waiting, MOST)),
        ]))  # fmt: skip

    registry.look_at_live(read)
    look = Look()
    looked = _Looked(process, look)
    numbers = {number for _, tasks in found for task, *_ in tasks if (number := getattr(task, "id", None))}
    made: list[dict[str, Any]] = []
    for record, tasks in found:
        places = None if record.places is None else record.places(look)
        known = {} if places is None else places.tasks
        for task, state, age, waited in tasks:
            place = known.get(task, Place())
            made.append(looked.task(record, state, task, age, waited, place))
        for left in () if places is None else places.left:
            if left.id in numbers:  # of another executor of the same name, or it is on its way to its end
                continue
            numbers.add(left.id)
            made.append(looked.shown(record, "abandoned", left.id, left.name, left.age, None, "thread", None,
                                     left.place))  # fmt: skip
    return oldest(made)


def oldest(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The oldest of each state: first those that run, then those that wait."""
    chosen: list[dict[str, Any]] = []
    for state in ("active", "abandoned", "queued"):
        of_state = [task for task in tasks if task["state"] == state]
        of_state.sort(key=lambda task: -float(task["age"]))
        chosen += of_state[:MOST]
    return chosen


class _Looked:
    """Tasks as one look at all threads shows them."""

    def __init__(self, process: int, look: Look) -> None:
        self._process = process
        self._threads = Threads(look.frames)
        self._names = {thread.ident: thread.name for thread in threading.enumerate()}

    def task(
        self, record: ExecutorFigures, state: str, task: TaskRecord, age: float, waited: float, place: Place
    ) -> dict[str, Any]:
        """A task that has not ended."""
        trace = None if task.span is None else task.span.get_span_context().trace_id
        number = getattr(task, "id", None)  # calls of wrapped pools have one only if they are traced
        return self.shown(record, state, number, task.name, age, waited, task.runner,
                          f"{trace:032x}" if trace else None, place)  # fmt: skip

    def shown(
        self, record: ExecutorFigures, state: str, number: int | None, name: str, age: float, waited: float | None,
        runner: str, trace: str | None, place: Place,
    ) -> dict[str, Any]:  # fmt: skip
        """Anything that is shown as a task."""
        stack = self._stack(place)
        thread = place.thread if stack is None or stack.thread is None else stack.thread
        return {
            "process": self._process, "executor": record.name, "type": record.type, "id": number,
            "name": printable(name), "state": state, "age": round(age, 4),
            "waited": None if waited is None else round(waited, 4), "runner": runner,
            "thread": None if thread is None else {"id": thread, "name": printable(self._names.get(thread, ""))},
            "trace_id": trace,
            "stack": None if stack is None else [
                {"file": printable(frame.file), "line": frame.line, "function": printable(frame.function)}
                for frame in stack.frames
            ],
            "awaiting": None if stack is None else stack.awaiting,
        }  # fmt: skip

    def _stack(self, place: Place) -> Stack | None:
        try:
            if place.thread is not None:
                return self._threads.of_thread(place.thread, place.within)
            return None if place.coroutine is None else self._threads.of_coroutine(place.coroutine)
        except (AttributeError, RuntimeError, ValueError):  # it went on while it was looked at
            return None
