"""Where observed tasks are now, found by looking through the stacks of all threads and the tasks of event loops.

Nothing is noted when a task begins, so that tasks cost what they cost without.
"""

from __future__ import annotations

from types import CodeType, FrameType
from typing import Any

from glasspool._foreign.asyncio_ import coroutine_of, done_callbacks, tasks_of
from glasspool._foreign.awaited import StandIn, chain, is_executing, layers
from glasspool._foreign.frames import locals_in_thread
from glasspool._foreign.trio_ import tasks_under
from glasspool.telemetry.recording.places import Look, Place, Places
from glasspool.telemetry.recording.task_record import TaskRecord

from . import loops

__all__ = ["OfTask", "begins", "makes", "places_here", "places_in"]


class OfTask:
    """Stands between a library and the user's function or coroutine, and may lead to the record of a task."""

    __slots__ = ()

    def of_task(self) -> TaskRecord | None:
        """The record; None if the task has ended, or it stands for none."""
        return None


_beginnings: set[CodeType] = set()
_makers: set[CodeType] = set()
_NAMES = ("task", "self")


def begins(*functions: Any) -> None:
    """These functions call the user's function of a task. A local variable of theirs leads to its record: ``task``, or
    ``self``, which is a record or is ``OfTask``."""
    _beginnings.update(function.__code__ for function in functions)


def makes(function: Any) -> None:
    """This function makes a task, within which an eager one takes its first step. Its local variables ``coro`` and
    ``record`` are the coroutine and the record."""
    _makers.add(function.__code__)


def places_here(look: Look) -> Places:
    """The places of all observed tasks of this process. From any thread."""
    return Places(look.once(places_in), [])


def places_in(look: Look) -> dict[TaskRecord, Place]:
    """The same by record; to be called by ``look.once``."""
    found: dict[TaskRecord, Place] = {}
    for thread, frames in look.stacks.items():
        for frame in frames:
            if (record := _record_in(frame)) is not None:
                found[record] = Place(None, thread, frame)
            elif frame.f_code in _makers:
                made = locals_in_thread(frame, "coro", "record")
                coroutine = layers(made.get("coro"))[-1]
                if is_executing(coroutine) and "record" in made:
                    found[made["record"]] = Place(coroutine)
    known = loops.watched()
    for task in tasks_of([loop for loop, root in known if root is None]):
        coroutine = coroutine_of(task)
        for record in filter(None, map(_record_of, done_callbacks(task))):
            found.setdefault(record, Place(layers(coroutine)[-1]))
        _follow(coroutine, found)
    for root in filter(None, [root for _, root in known]):
        for task in tasks_under(root):
            _follow(task.coro, found)
    return found


def _follow(coroutine: Any, found: dict[TaskRecord, Place]) -> None:
    """Find the tasks that a coroutine and what it awaits are of."""
    for awaited, frame in chain(coroutine):
        if frame.f_code in _beginnings or issubclass(type(awaited), StandIn):  # few are
            *around, own = layers(awaited)
            for record in filter(None, [*map(_record_of, around), _record_in(frame)]):
                found.setdefault(record, Place(own))


def _record_in(frame: FrameType) -> TaskRecord | None:
    if frame.f_code not in _beginnings:
        return None
    # A frame of our own: never a user's argument.
    return next(filter(None, map(_record_of, locals_in_thread(frame, *_NAMES).values())), None)


def _record_of(holder: Any) -> TaskRecord | None:
    kind = type(holder)
    if issubclass(kind, TaskRecord):
        record: TaskRecord = holder
        return record
    return holder.of_task() if issubclass(kind, OfTask) else None
