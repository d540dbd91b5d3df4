"""AdmissionQueue alone: it is synchronous, so its contents can be examined."""

from __future__ import annotations

import weakref

from glasspool._core.queue import AdmissionQueue


class Task:
    """Something to queue that can be referred to weakly."""


def test_a_task_with_a_deadline_is_forgotten_when_it_leaves_the_queue() -> None:
    queue: AdmissionQueue[Task, object] = AdmissionQueue(10)
    first, second = Task(), Task()
    queue.push(first, 1_000.0)
    queue.push(second, 2_000.0)
    gone = weakref.ref(second)
    assert queue.pop() is first
    assert queue.remove(second)
    del second
    assert gone() is None


def test_deadlines_that_no_longer_matter_do_not_pile_up() -> None:
    queue: AdmissionQueue[Task, object] = AdmissionQueue(None)
    earliest = Task()
    queue.push(earliest, 1.0)
    for number in range(10_000):
        queue.push(Task(), 1_000.0 + number)
        queue.remove(list(queue.waiting)[-1])
    assert len(queue.deadlines) < 500
    assert queue.deadlines.next() == 1.0
    assert queue.expired(1.0) == [earliest]
    assert queue.deadlines.next() is None


def test_expired_gives_the_tasks_whose_deadline_has_passed_earliest_first() -> None:
    queue: AdmissionQueue[Task, object] = AdmissionQueue(10)
    tasks = [Task() for _ in range(4)]
    for task, deadline in zip(tasks, (30.0, 10.0, None, 20.0), strict=True):
        queue.push(task, deadline)
    assert queue.expired(20.0) == [tasks[1], tasks[3]]
    assert queue.tasks() == [tasks[0], tasks[2]]
    assert queue.deadlines.next() == 30.0
