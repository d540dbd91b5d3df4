"""What ``--once`` and ``glasspool tasks`` write."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from .rows import LoopRow, Row, TaskRow
from .source import VERSION, Answer, Look, Tasks
from .tables import cut, executor_table, seconds, task_table

__all__ = ["by_age", "by_pressure", "look_json", "looked", "loop_line", "stacks", "tasks_json", "told"]


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
