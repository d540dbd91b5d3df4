"""What executors and event loops do now, and where their oldest tasks are, as text."""

from __future__ import annotations

import os
import time
from typing import Any

from . import figures, words
from .flat import LOOP, Entity, Flat, figures_here
from .history import History
from .tasks import first, tasks_here

__all__ = ["report"]

_MOST = 20
"""Tasks of each state that are written."""


def report() -> str:
    """The report on this process, in lines; from any thread. Names are shown, and never a value."""
    found = figures_here(0)
    nothing: dict[Entity, Flat] = {}
    history = History(lambda: nothing)  # nobody has looked: there is none
    lines = [f"glasspool: process {os.getpid()} at {time.strftime('%Y-%m-%d %H:%M:%S')}"]
    executors = [figures.executor(history, entity, flat, 0.0) for entity, flat in found.items()
                 if figures.is_executor(entity, flat)]  # fmt: skip
    for shown in sorted(executors, key=lambda shown: -float(shown["pressure"])):
        lines += _executor(shown)
    for entity, flat in found.items():
        if entity.type == LOOP:
            shown = figures.event_loop(history, entity, flat, 0.0)
            lines.append(f"event loop {entity.name!r}: {_said(shown) or 'on time'}")
    if not executors:
        lines.append("no executor has been opened")
    lines += _tasks(tasks_here(0))
    return "\n".join(lines) + "\n"


def _executor(shown: dict[str, Any]) -> list[str]:
    slots, queue, producers, totals = shown["slots"], shown["queue"], shown["producers"], shown["totals"]
    parts = [f"{shown['active']:g} active" if slots is None else f"{slots['used']:g}{_of(slots['limit'])} slots in use"]
    if queue is not None:
        waits = f", the oldest for {words.duration(queue['oldest_age'])}" if queue["size"] else ""
        parts.append(f"{queue['size']:g}{_of(queue['capacity'])} queued{waits}")
    if producers is not None and producers["blocked"]:
        age = words.duration(producers["oldest_age"])
        parts.append(f"{producers['blocked']:g} producers blocked, the first for {age}")
    ends = {"succeeded": "succeeded", "errors": "failed", "timeouts": "timed out", "cancellations": "cancelled"}
    parts += [f"{totals[key]:g} {word}" for key, word in ends.items() if totals[key]]
    lines = [f"executor {shown['name']!r} ({shown['type']}): {'; '.join(parts)}"]
    said = _said(shown)
    return [*lines, f"  {said}"] if said else lines


def _of(limit: float | None) -> str:
    return "" if limit is None else f" of {limit:g}"


def _said(shown: dict[str, Any]) -> str:
    return "; ".join(f"{said['text']} ({said['runbook_url']})" for said in shown["warnings"])


def _tasks(tasks: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for state in ("active", "abandoned", "queued"):
        of_state = [task for task in tasks if task["state"] == state]
        written = first(of_state, _MOST)
        for task in written:
            lines += _task(task)
        if len(of_state) > len(written):
            lines.append(f"and more {state} tasks, which are younger")
    return lines


def _task(task: dict[str, Any]) -> list[str]:
    number = "" if task["id"] is None else f" {task['id']}"
    trace = "" if task["trace_id"] is None else f", trace {task['trace_id']}"
    thread = "" if task["thread"] is None else f", in thread {task['thread']['name'] or task['thread']['id']}"
    head = f"task{number} {task['name']!r} of executor {task['executor']!r}: {task['state']} for "
    lines = [f"{head}{words.duration(task['age'])}{thread}{trace}"]
    for frame in task["stack"] or ():
        lines.append(f"    {frame['file']}:{frame['line']} in {frame['function']}")
    if task["awaiting"]:
        lines.append(f"    awaits {task['awaiting']}")
    return lines
