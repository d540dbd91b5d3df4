"""The oldest tasks of this process, and where each of them is now."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import islice
from typing import Any

from glasspool._foreign.awaited import is_executing
from glasspool._foreign.frames import frames_stay_valid, getframe, stacks
from glasspool.telemetry.recording.executor_figures import ExecutorFigures
from glasspool.telemetry.recording.places import Look, Place, Places
from glasspool.telemetry.recording.printable_text import printable
from glasspool.telemetry.recording.registry import REGISTRY, Registry
from glasspool.telemetry.recording.task_record import TaskRecord

from .stacks import Stack, Threads

__all__ = ["MOST", "first", "oldest", "tasks_here"]

MOST = 50
"""Tasks of each state that are shown."""

logger = logging.getLogger("glasspool")

Wanted = Callable[[str, str], bool]


def tasks_here(process: int, wanted: Wanted | None = None, registry: Registry = REGISTRY) -> list[dict[str, Any]]:
    """The oldest active, abandoned and queued tasks and what event loops execute, as ``/tasks.json`` shows them.

    :param process: this process's number.
    :param wanted: whether those of the executor of this name and type are wanted; default all.
    """
    found: list[tuple[ExecutorFigures, float, list[tuple[TaskRecord, str, float, float]]]] = []

    def read(record: ExecutorFigures) -> None:
        if wanted is not None and not wanted(record.name, record.type):
            return
        now = record.clock()
        found.append((record, now, [
            *((task, "active", now - task.started, task.started - task.accepted)
              for task in islice(record.active_tasks, MOST)),
            *((task, "queued", now - task.accepted, now - task.accepted)
              for task in islice(record.slots.waiting, MOST)),
        ]))  # fmt: skip

    registry.look_at_live(read)
    numbers = {number for *_, tasks in found for task, *_ in tasks if (number := getattr(task, "id", None))}
    made: list[dict[str, Any]] = []
    with frames_stay_valid():
        look = Look(stacks(getframe(1)))
        looked = _Looked(process, look)
        for record, now, tasks in found:
            places = _places(record, look)
            tasks += _executing(record, now, places.tasks, {task for task, *_ in tasks})
            for task, state, age, waited in tasks:
                made.append(looked.task(record, state, task, age, waited, places.tasks.get(task, Place())))
            for left in places.left:
                if left.id in numbers:  # of another executor of the same name, or it is on its way to its end
                    continue
                numbers.add(left.id)
                made.append(looked.shown(record, "abandoned", left.id, left.name, left.age, None, "thread", None,
                                         left.place))  # fmt: skip
    return oldest(made)


def _places(record: ExecutorFigures, look: Look) -> Places:
    nowhere = Places({}, [])
    if record.places is None:
        return nowhere
    try:
        return record.places(look) or nowhere
    except Exception:
        logger.exception("where the tasks of executor %r are could not be found", record.name)
        return nowhere


def oldest(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The oldest of each state, and what its event loop executes now: first those that run, then those that wait."""
    chosen: list[dict[str, Any]] = []
    for state in ("active", "abandoned", "queued"):
        of_state = [task for task in tasks if task["state"] == state]
        of_state.sort(key=lambda task: -float(task["age"]))
        chosen += first(of_state, MOST)
    return chosen


def first(tasks: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The first ones, and those of the others that their event loop executes: one of these may be what blocks it."""
    return tasks[:most] + [task for task in tasks[most:] if task["runner"] == "inline" and task["thread"] is not None]


def _executing(
    record: ExecutorFigures, now: float, known: dict[TaskRecord, Place], listed: set[TaskRecord]
) -> list[tuple[TaskRecord, str, float, float]]:
    """The active tasks that their event loop executes now, but for those that are listed already."""
    return [
        (task, "active", max(0.0, now - task.started), task.started - task.accepted)  # it may have come after that
        for task, place in known.items()
        if (place.thread is not None or is_executing(place.coroutine))
        and task.runner == "inline" and task not in listed and task in record.active_tasks
    ]  # fmt: skip


class _Looked:
    """Tasks as one look at all threads shows them."""

    def __init__(self, process: int, look: Look) -> None:
        self._process = process
        self._threads = Threads(look.stacks)
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
        except ValueError:  # it went on while it was looked at
            return None
