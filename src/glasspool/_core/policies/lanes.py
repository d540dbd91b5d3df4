"""Lanes: the lanes of one executor by key, its limits, and the producers that wait for a place among those of a key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping

from glasspool._core.backend import Backend
from glasspool._core.queue import Producer, stand_in
from glasspool._core.task_state import Task
from glasspool._foreign.guarded import text

from .lane import Lane, Times
from .limiter import Limiter, name_of
from .meter import nanoseconds

__all__ = ["Lanes"]


class Lanes:
    """Makes lanes as keys come, and forgets those that are not named and have no more to remember.

    :param limits: by configured name; ``"*"``: each other key gets one of its own.
    :param whole: seconds that the whole executor was held up to an instant.
    :param changed: called with a lane for which more may run now, or less.
    :raises RuntimeError: a limit is used on another event loop.
    """

    def __init__(
        self, executor: str, limits: Mapping[str, Limiter], backend: Backend, whole: Callable[[float], Times],
        changed: Callable[[Lane], None],
    ) -> None:  # fmt: skip
        self._limits = limits
        self._now = backend.now
        self._whole = whole
        self._changed = changed
        self._keyless = self._lane(None, None)
        self._lanes: dict[Hashable, Lane] = {}
        self._idle: OrderedDict[Hashable, None] = OrderedDict()  # keys that are not named, to be forgotten
        self._opened: list[Limiter] = []
        self.crowded = False  # producers have stood in the lines of keys
        self._open(executor, backend)

    def _open(self, executor: str, backend: Backend) -> None:
        for name, limiter in self._limits.items():
            if not limiter.opened(backend):
                self.close()
                raise RuntimeError(
                    f"the Limit of {name!r} of executor {executor!r} is used by an open executor of another event "
                    f"loop; give each event loop a Limit of its own"
                )
            self._opened.append(limiter)

    def close(self) -> None:
        """The executor has closed: its limits may be used elsewhere."""
        for key, lane in self._lanes.items():
            if lane.name == "*" and lane.limiter is not None:
                self._limits["*"].drop_key(key, lane.limiter)
        self._lanes.clear()
        while self._opened:
            self._opened.pop().closed()

    def _lane(self, limiter: Limiter | None, name: str | None) -> Lane:
        return Lane(limiter, name, self._whole, self._changed)

    # -- keys ------------------------------------------------------------------------------------------------------

    def of(self, key: Hashable) -> Lane:
        """The lane of this key, which was checked."""
        if key is None or not self._limits:
            return self._keyless
        lane = self._lanes.get(key)
        if lane is None:
            self._forget_some()
            name = name_of(key, self._limits) or "*"
            if name == "*":
                lane = self._lane(self._limits[name].of_key(key), name)
                self._idle[key] = None  # until it has a task
            else:
                lane = self._lane(self._limits[name], name)
            self._lanes[key] = lane
        return lane

    def _forget_some(self) -> None:
        """Forget keys that are not named and have no more to remember: two for each one that is new."""
        now = nanoseconds(self._now())
        for _ in range(min(2, len(self._idle))):
            key = self._idle.popitem(last=False)[0]
            lane = self._lanes[key]
            used = lane.tasks or lane.apart or lane.producers or lane.promised
            if used or lane.limiter is None or not lane.limiter.idle(now):
                self._idle[key] = None
            else:
                del self._lanes[key]
                self._limits["*"].drop_key(key, lane.limiter)

    def known(self, key: Hashable) -> Lane:
        """The lane of a key that has tasks. From any thread."""
        return self._lanes.get(key, self._keyless)

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._lanes)

    def full(self, key: Hashable) -> bool:
        """Whether the tasks of this key have all the queue places that they may have."""
        return self.of(key).full

    def fullness(self, key: Hashable) -> str:
        """The figures of a key whose places are taken, for a message."""
        lane = self.of(key)
        return f"key {text(key)} has all {lane.max_queued} queue places of its Limit ({lane.name!r})"

    # -- producers -------------------------------------------------------------------------------------------------

    def stands_apart(self, producer: Producer[Task]) -> bool:
        """Put the producer into the line of its key, if its tasks have all the queue places that they may have."""
        lane = self.of(producer.task.plan.key)
        if not lane.full:
            if lane.max_queued is not None:
                lane.promised.add(producer.task)  # in the common line
                self.crowded = True
            return False
        stand_in(lane.producers, producer)
        self.crowded = True
        return True

    def next_producer(self, key: Hashable) -> Producer[Task] | None:
        """The producer of this key that may go on to the executor's line, because a place has become free."""
        return self.of(key).next_producer()

    def promise_kept(self, task: Task) -> None:
        """The task of a producer has been accepted."""
        self.of(task.plan.key).promised.discard(task)

    def leaves_line(self, producer: Producer[Task]) -> None:
        """The producer stops waiting."""
        lane = self.of(producer.task.plan.key)
        lane.producers.pop(producer, None)
        lane.promised.discard(producer.task)

    def turn_away(self) -> list[Producer[Task]]:
        """Remove all producers; the caller wakes them."""
        found = [producer for lane in self._lanes.values() for producer in lane.producers]
        for lane in self._lanes.values():
            lane.producers.clear()
            lane.promised.clear()
        return found

    # -- telling -------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The configured names of the limits."""
        return tuple(self._limits)

    def limits(self) -> list[tuple[int, str, int, int | None, float]]:
        """The limits now: which, name, permits held, permits, tasks that could start. Of ``"*"`` those of the keys that
        have most, and least left. From any thread."""
        now = nanoseconds(self._now())
        found: list[tuple[int, str, int, int | None, float]] = []
        for name, limiter in self._limits.items():
            each = [limiter] if name != "*" else [*limiter.keys(), limiter]
            most, least = max(one.used for one in each), min(one.available(now) for one in each)
            found.append((id(limiter), name, most, limiter.in_flight, least))
        return found
