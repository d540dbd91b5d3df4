"""Gate: which queued task may start next, where rates, limits or pauses hold some of them.

Tasks of one key stand in a lane of their own; a lane whose first task is held is passed over, so nobody of another key
waits behind it. Of the first tasks that may start the one goes that was accepted first, and takes what it needs of
everything in one step: nothing is taken earlier, or in part. Plain and synchronous; executors without policies have no
gate.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Mapping
from itertools import count
from typing import NamedTuple

from glasspool._core.backend import Backend
from glasspool._core.deadlines import Deadlines
from glasspool._core.task_state import Plan, Task
from glasspool.rates import Hold, Rate

from .lane import NO_TIMES, REASONS, Lane, Times
from .lanes import Lanes
from .limiter import Block, Limiter
from .meter import nanoseconds, seconds_from

__all__ = ["Gate", "Held"]


class Held(NamedTuple):
    """For how many seconds a task was held, and for what."""

    reason: str
    limit: str | None
    seconds: float


class _Apart(NamedTuple):
    """A task that is held by something of its own: why, since when, until when, how far it was moved forward."""

    reason: str
    since: float
    until: float | None
    forward: int = 0


class Gate:
    """The lanes of one executor.

    :param limits: by configured name; ``"*"``: each other key gets one of its own.
    :param rates: of the whole executor.
    :param wake: has the executor look again, in a later turn of its loop.
    :param report: tells for how long a task was held, when that is over.
    :raises RuntimeError: a limit is used on another event loop.
    """

    def __init__(
        self, executor: str, limits: Mapping[str, Limiter], rates: tuple[Rate, ...], backend: Backend,
        wake: Callable[[], None], report: Callable[[Task, list[Held]], None],
    ) -> None:  # fmt: skip
        self._report = report
        self._now = backend.now
        self._wake = wake
        self.whole = Limiter(None, rates)
        self.whole.opened(backend)
        self.lanes = Lanes(executor, limits, backend, self._whole_times, self._changed)
        self._block: Block | None = None  # why the first task of all that may start by its key may not
        self._since, self._times = 0.0, NO_TIMES  # of the block; of earlier ones
        # Heaps, with lanes that have changed since, until they come to the top.
        self._ready: list[tuple[int, int, Lane]] = []  # lanes whose first task may start, by its number
        self._due: list[tuple[int, int, Lane]] = []  # lanes that are held until an instant
        self._ties = count()
        self._queued = 0
        self._held = dict.fromkeys(REASONS, 0)  # tasks that are held by their own limit, or apart
        self._apart: dict[Task, _Apart] = {}
        self._until: Deadlines[Task] = Deadlines()  # of those whose instant is known

    # -- in and out ------------------------------------------------------------------------------------------------

    def start_at_once(self, task: Task) -> bool:
        """Whether the task, for which there is a slot, may start now before all that are queued: it claims if so."""
        lane, now = self.lanes.of(task.plan.key), nanoseconds(self._now())
        if not self._could_start(lane, task.plan.cost, now):
            return False
        self._claim(lane, task, now)
        return True

    def could_start(self, plan: Plan) -> bool:
        """Whether such a task would start now, if there is a slot."""
        return self._could_start(self.lanes.of(plan.key), plan.cost, nanoseconds(self._now()))

    def _could_start(self, lane: Lane, cost: int, now: int) -> bool:
        if lane.tasks or self._first() is not None:
            return False
        if lane.limiter is not None and lane.limiter.block(cost, now) is not None:
            return False
        return self.whole.block(cost, now) is None

    def push(self, task: Task) -> None:
        """The task is queued."""
        lane, now = self.lanes.of(task.plan.key), self._now()
        self._queued += 1
        if not lane.tasks and lane.limiter is not None:
            lane.limiter.lanes[lane] = None
        lane.add(task, now)
        if lane.block is not None:
            self._held[lane.block.reason] += 1
        if lane.first() is task:
            self._judge(lane)

    def hold_apart(self, task: Task, reason: str, *, until: float | None = None) -> None:
        """The task is queued, and held by something of its own. It keeps its place among the others.

        :param until: the instant at which it is released, if it is queued again; None: by ``release_apart``.
        """
        lane = self.lanes.of(task.plan.key)
        lane.apart += 1
        self._apart[task] = _Apart(reason, self._now(), until)
        self._held[reason] = self._held.get(reason, 0) + 1
        if until is not None:
            lane.beyond.add(task)  # it has had its place in the queue
            if self._until.add(task, until):
                self._wake()  # to set the timer

    def release_apart(self, task: Task) -> None:
        """Nothing of its own holds the task any more."""
        forward = self._apart[task].forward
        self._leave_apart(task)
        self.push(task)
        if forward:
            self.forward(task, forward)
        self._wake()

    def forward(self, task: Task, by: int) -> None:
        """The queued task goes before all others, but those who were moved further forward."""
        apart = self._apart.get(task)
        if apart is not None:
            self._apart[task] = apart._replace(forward=apart.forward or by)
        elif (lane := self.lanes.known(task.plan.key)).forward(task, by):
            self._judge(lane)

    def _leave_apart(self, task: Task) -> None:
        reason, since, *_ = self._apart.pop(task)
        self._until.discard(task)
        self.lanes.known(task.plan.key).apart -= 1
        self._held[reason] -= 1
        self._report(task, [Held(reason, None, self._now() - since)])

    def take(self) -> Task | None:
        """The task that starts next, and claims for it; None if no queued one may start now."""
        while (lane := self._first()) is not None:
            now = nanoseconds(self._now())
            task = lane.head()
            if lane.limiter is not None and lane.limiter.block(task.plan.cost, now) is not None:
                self._judge(lane)  # another executor was faster
                continue
            if not self.judge_whole():
                return None
            self._claim(lane, task, now)
            return task
        return None

    def _claim(self, lane: Lane, task: Task, now: int) -> None:
        if self.whole.meters:
            self.whole.claim(None, task.plan.cost, now)
        if lane.limiter is not None:
            lane.limiter.claim(task, task.plan.cost, now)

    def remove(self, task: Task) -> None:
        """The task is not queued any more: it starts, or ends."""
        lane, now = self.lanes.known(task.plan.key), self._now()
        lane.beyond.discard(task)
        if task not in lane.tasks:  # unless it is held apart, it ends while it is being accepted
            if task in self._apart:
                self._leave_apart(task)
            return
        first = lane.first() is task
        before, times = lane.tasks.pop(task).before, lane.times(now)
        self._queued -= 1
        if lane.block is not None:
            self._held[lane.block.reason] -= 1
        if not lane.tasks:
            lane.first()  # forgets those that have left
            if lane.block is not None:
                lane.hold(None, now)
            if lane.limiter is not None:
                lane.limiter.lanes.pop(lane, None)
        elif first:
            self._judge(lane)
        if times != before:
            spent = zip(REASONS, times, before, strict=True)
            self._report(task, [Held(reason, lane.name, after - then) for reason, after, then in spent if after > then])

    def ended(self, task: Task) -> None:
        """The task, which had started, has ended, and so has its thread."""
        limiter = self.lanes.known(task.plan.key).limiter
        if limiter is not None:
            limiter.release(task)

    # -- looking ---------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Time has passed: look at what was held until now."""
        now = self._now()
        for task in self._until.expired(now):
            if task in self._apart:  # else it has ended meanwhile
                self.release_apart(task)
        while self._due and self._due[0][0] <= nanoseconds(now):
            self._pop_due()
        self.judge_whole()

    def _pop_due(self) -> None:
        instant, _, lane = heapq.heappop(self._due)
        if lane.due == instant:
            lane.due = -1
        if lane.block is not None and lane.block.until == instant:
            self._judge(lane)

    def limiter_of(self, task: Task) -> Limiter | None:
        """What holds for the key of a queued task. From any thread."""
        return self.lanes.known(task.plan.key).limiter

    def next(self) -> float | None:
        """The next instant of the loop's clock at which something may start that may not now."""
        while self._due:
            instant, _, lane = self._due[0]
            if lane.block is not None and lane.block.until == instant:
                break
            self._pop_due()
        found = [self._due[0][0]] if self._due else []
        if self._block is not None and self._block.until is not None:
            found.append(self._block.until)
        released = self._until.next()
        if not found:
            return released
        return seconds_from(min(found)) if released is None else min(seconds_from(min(found)), released)

    def _first(self) -> Lane | None:
        """The lane whose first task, of all that may start by their keys, was accepted first."""
        while self._ready:
            number, _, lane = self._ready[0]
            if lane.block is None and lane.tasks and lane.tasks[lane.head()].number == number:
                return lane
            heapq.heappop(self._ready)
            if lane.listed == number:
                lane.listed = -1
        return None

    def _changed(self, lane: Lane) -> None:
        self._judge(lane)
        if lane.block is None:
            self._wake()

    def _judge(self, lane: Lane) -> None:
        """Find out whether the first task of the lane may start, as far as its key goes."""
        now = self._now()
        task = lane.head()
        number = lane.tasks[task].number
        block = None if lane.limiter is None else lane.limiter.block(task.plan.cost, nanoseconds(now))
        if lane.block is not None:
            self._held[lane.block.reason] -= len(lane.tasks)
        if block is not None:
            self._held[block.reason] += len(lane.tasks)
        lane.hold(block, now)
        if block is None:
            if lane.listed != number:
                lane.listed = number
                heapq.heappush(self._ready, (number, next(self._ties), lane))
            self.judge_whole()
        elif block.until is not None and lane.due != block.until:
            lane.due = block.until
            heapq.heappush(self._due, (block.until, next(self._ties), lane))
            if self._due[0][2] is lane:
                self._wake()  # to set the timer

    def judge_whole(self) -> bool:
        """Whether the first task that may start by its key may start by the executor's rates and pause, too."""
        lane = self._first()
        if lane is None:
            if self._block is not None:
                self._hold_whole(None)
            return False
        if self._block is None and not self.whole.meters and self.whole.paused_until is None:
            return True
        block = self.whole.block(lane.head().plan.cost, nanoseconds(self._now()))
        if block != self._block:
            self._hold_whole(block)
            self._wake()  # to set the timer; or to start what time has released between two readings of the clock
        return block is None

    def _hold_whole(self, block: Block | None) -> None:
        now = self._now()
        self._times = self._whole_times(now)
        self._since, self._block = now, block

    def _whole_times(self, now: float) -> Times:
        rate, limit, pause = self._times
        if self._block is None:
            return self._times
        held = now - self._since
        return (rate + held, limit, pause) if self._block.reason == "rate" else (rate, limit, pause + held)

    # -- pausing and telling ---------------------------------------------------------------------------------------

    def pause(self, seconds: float, key: Hashable) -> None:
        """Nothing, or nothing of this key, starts for so many seconds; it replaces an earlier pause."""
        until = nanoseconds(self._now() + seconds)
        limiter = self.lanes.of(key).limiter
        if limiter is not None:
            limiter.pause(until)
        else:
            self.whole.pause(until)
            self.judge_whole()
            self._wake()

    def resize(self, rates: tuple[Rate, ...]) -> None:
        """Other rates of the whole executor from now on."""
        self.whole.resize(None, rates)
        self.judge_whole()
        self._wake()

    @property
    def names(self) -> tuple[str, ...]:
        """See telemetry's Holds."""
        return self.lanes.names

    def limits(self) -> list[tuple[int, str, int, int | None, float]]:
        """See telemetry's Holds."""
        return self.lanes.limits()

    def held(self) -> dict[str, int]:
        """How many queued tasks are held, by reason. From any thread."""
        found = dict(self._held)
        block = self._block
        if block is not None:
            found[block.reason] += self._queued + len(self._apart) - sum(self._held.values())
        return {reason: number for reason, number in found.items() if number > 0}

    def hold_of(self, task: Task) -> Hold | None:
        """Why this queued task is held; None if it waits for a slot only. From any thread."""
        apart = self._apart.get(task)
        if apart is not None:
            return Hold(apart.reason, None, apart.until)
        lane = self.lanes.known(task.plan.key)
        name, block = lane.name, lane.block
        if block is None:
            name, block = None, self._block
        if block is None:
            return None
        until = block.until if block.reason == "pause" or lane.is_first(task) else None
        return Hold(block.reason, name, None if until is None else seconds_from(until))
