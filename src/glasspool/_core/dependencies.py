"""Dependencies: tasks that start when others have succeeded, and are cancelled when one of them has not."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from .policies.gate import Gate
from .reporter import Reporter
from .task_state import Task

__all__ = ["Dependencies"]


class Owner(Protocol):
    """The engine, as it is used here."""

    reporter: Reporter

    def settle_cancelled(self, task: Task, reason: str, cause: BaseException | None = None) -> None:
        """End the task as cancelled."""


class Dependencies:
    """Who waits for whom, among the tasks of one executor. What is settled is let go."""

    def __init__(self, owner: Owner, gate: Gate) -> None:
        self._owner = owner
        self._gate = gate
        self._needs: dict[Task, dict[Task, None]] = {}  # a held task: what it still waits for
        self._needed_by: dict[Task, dict[Task, None]] = {}  # the same, the other way round
        self._ended: deque[Task] = deque()  # whose end is being told to those that wait for it
        owner.reporter.has_dependencies()

    def met(self, task: Task) -> bool:
        """Whether all that it depends on have succeeded."""
        return all(needed.state == "success" for needed in task.plan.after)

    def hold(self, task: Task) -> tuple[bool, Task | None]:
        """Hold the queued task until what it depends on has ended. Returns whether something holds it, and one that has
        ended and has not succeeded: then the task is to be cancelled."""
        after, task.plan.after = task.plan.after, ()
        waits: dict[Task, None] = {}
        for needed in after:
            if needed.completed is None:
                waits[needed] = None
            elif needed.state != "success":
                return False, needed
        if not waits:
            return False, None
        self._needs[task] = waits
        for needed in waits:
            self._needed_by.setdefault(needed, {})[task] = None
        self._gate.hold_apart(task, "dependency")
        return True, None

    def of(self, task: Task) -> list[Task]:
        """What the task still waits for. From any thread."""
        return list(self._needs.get(task, ()))

    def forget(self, task: Task) -> None:
        """The held task ends without having started."""
        for needed in self._needs.pop(task, ()):
            others = self._needed_by.get(needed)
            if others is not None:  # else that one has just ended
                others.pop(task, None)
                if not others:
                    del self._needed_by[needed]

    def ended(self, task: Task) -> None:
        """The task has ended: let those that waited for it go on, or cancel them, and those that wait for them."""
        if task not in self._needed_by:
            return
        self._ended.append(task)
        if len(self._ended) > 1:  # one of those that are being cancelled further up the stack
            return
        while self._ended:
            needed = self._ended[0]
            for held in list(self._needed_by.pop(needed, ())):
                if held.completed is not None:  # cancelled meanwhile, by an observer
                    continue
                del self._needs[held][needed]
                if needed.state != "success":
                    self._cancel(held, needed)
                elif not self._needs[held]:
                    del self._needs[held]
                    self._gate.release_apart(held)
            self._ended.popleft()

    def _cancel(self, task: Task, needed: Task) -> None:
        error = None if needed.completed is None else needed.completed.error
        self._owner.settle_cancelled(task, "dependency", error)
