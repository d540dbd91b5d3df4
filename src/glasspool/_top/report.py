"""What ``--once`` and ``glasspool tasks`` write."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from glasspool.telemetry.live.tasks import MOST

from .rows import LoopRow, Row, TaskRow
from .source import VERSION, Answer, Look, Tasks
from .tables import cut, executor_table, seconds, task_table

__all__ = [
    "by_age", "by_pressure", "limited", "look_json", "looked", "loop_line", "missing", "stacks", "tasks_json", "told",
]  # fmt: skip

_NAMED = 30
"""Executors that are named where one is not there."""


def by_pressure(looks: Iterable[Look]) -> list[Row]:
    """All executors, the one under most pressure first."""
    return sorted((row for look in looks for row in look.rows), key=lambda row: (-row.pressure, row.name, row.key))


def looked(looks: Sequence[Look], width: int | None) -> list[str]:
    """The overview in lines: executors, event loops, and what is wrong with its runbook."""
    rows, loops = by_pressure(looks), [loop for look in looks for loop in look.loops]
    lines = executor_table(rows, width).lines(width) if rows else ["no executor is open or observed"]
    lines += [cut(loop_line(loop), width) for loop in loops]
    wrong = [(row.name, warned) for row in rows for warned in row.warnings]
    wrong += [(f"event loop {loop.name}", warned) for loop in loops for warned in loop.warnings]
    if wrong:
        lines += ["", *(cut(f"{name}: {warned.text}  {warned.runbook}", width) for name, warned in wrong)]
    return lines


def loop_line(loop: LoopRow) -> str:
    """An event loop in a line, without what is wrong with it."""
    delay = "" if loop.delay is None else f", delay p99 {seconds(loop.delay)}"
    return f"event loop {loop.name}{delay}"


def by_age(found: Iterable[Tasks]) -> list[TaskRow]:
    """All tasks: first those that have started, then those that wait, the oldest of each first."""
    tasks = (task for each in found for task in each.tasks)
    return sorted(tasks, key=lambda task: (task.state == "queued", -task.age))


def stacks(tasks: Sequence[TaskRow]) -> list[str]:
    """Each task with the calls that have not returned, the outermost first."""
    lines: list[str] = []
    for task in tasks:
        number = f" {task.id}" if task.id else ""
        thread = f", in thread {task.thread}" if task.thread else ""
        trace = f", trace {task.trace_id}" if task.trace_id else ""
        lines.append(
            f"task{number} {task.name} of executor {task.executor}: {task.state} for {seconds(task.age)}{thread}{trace}"
        )
        lines += [f"    {file}:{line} in {function}" for file, line, function in task.stack or ()]
        if task.stack is None and task.state == "active":
            lines.append("    where it is is not known")
        if task.awaiting:
            lines.append(f"    awaits {task.awaiting}")
    return lines


def limited(found: Iterable[Tasks], older_than: float = 0.0) -> list[Tasks]:
    """The answers, with a note if there may be more tasks of at least this age, in seconds, than they list."""
    made: list[Tasks] = []
    for each in found:
        states: list[str] = []
        for state in dict.fromkeys(task.state for task in each.tasks):
            ages = [task.age for task in each.tasks if task.state == state]
            if len(ages) >= MOST and min(ages) >= older_than:
                states.append(state)
        note = f"of its {' and '.join(states)} tasks only the {MOST} oldest{' of each' * (len(states) > 1)} are listed"
        made.append(replace(each, note="; ".join(filter(None, (each.note, note)))) if states else each)
    return made


def missing(executor: str, looks: Sequence[Look]) -> str:
    """That there is no executor of this name; empty if there is one, or if that is not known."""
    names = sorted({row.name for look in looks for row in look.rows})
    if executor in names or not looks or any(look.trouble for look in looks):
        return ""
    listed = [repr(name) for name in names[:_NAMED]]
    listed += [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    those = f"there {'are' if len(names) > 1 else 'is'} {', '.join(listed)}" if names else "none is open or observed"
    return f"no executor is named {executor!r}: {those}"


def told(tasks: Sequence[TaskRow], width: int | None) -> list[str]:
    """The tasks as a table."""
    return task_table(tasks, width).lines(width) if tasks else ["no task"]


def look_json(looks: Sequence[Look]) -> dict[str, Any]:
    """The overview for scripts: executors and event loops as in ``/live.json``, each with its ``url``."""
    return {
        "version": VERSION, "at": round(time.time(), 3), "sources": [_source(look) for look in looks],
        **{
            kind: [{"url": look.source, **each} for look in looks for each in look.raw.get(kind, ())]
            for kind in ("executors", "loops")
        },
    }  # fmt: skip


def tasks_json(found: Sequence[Tasks], chosen: Sequence[TaskRow]) -> dict[str, Any]:
    """The tasks for scripts, as in ``/tasks.json``, each with its ``url``."""
    wanted = set(map(id, chosen))
    tasks = [raw for each in found for task, raw in zip(each.tasks, each.raw, strict=True) if id(task) in wanted]
    sources = [_source(each) for each in found]
    return {"version": VERSION, "at": round(time.time(), 3), "sources": sources, "tasks": tasks}


def _source(found: Answer) -> dict[str, Any]:
    return {"url": found.source, "trouble": found.trouble, "fix": found.fix, "note": found.note}
