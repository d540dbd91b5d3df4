"""Which parts of the catalog's contract an executor has, and which counters it therefore shows at 0 from the start."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

__all__ = ["Expected", "Shape"]


@dataclass(frozen=True)
class Shape:
    """Which parts of the contract an executor has.

    ``runners``: values of ``glasspool.runner``; ``workers``: those whose threads or processes are counted;
    ``queue``: tasks can wait; ``submit``: producers can block; ``slots``: there is a limit on concurrency;
    ``unretrieved``: it is told when a task is thrown away with its error unseen; ``requests``: it is told when a task
    is asked to end.

    The rest says which events can happen, since their counters exist at 0 from open and others do not exist:
    ``timeouts``: tasks can time out; ``cancels``: reasons and phases of cancellations; ``rejects``: reasons for which
    calls are refused; ``losses``: kinds of context losses; ``failures``: kinds of failures of what
    users hand in.
    """

    runners: tuple[str, ...] = ("inline",)
    workers: tuple[str, ...] = ()
    queue: bool = False
    submit: bool = False
    slots: bool = False
    unretrieved: bool = False
    requests: bool = False
    timeouts: bool = False
    cancels: tuple[tuple[str, str], ...] = ()
    rejects: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    def series(self, names: int, *, gauges: bool = True) -> int:
        """How many series an executor with so many task names can show besides histograms and error types.

        Those gauges that appear only when they are needed are among them.
        """
        counters = 4 + self.unretrieved + 3 * self.slots + sum(map(len, Expected.of(self, names)))
        if not gauges:
            return counters
        runners = 2 * len(self.runners)  # active, abandoned
        workers = 3 * len(self.workers)
        return counters + 1 + runners + workers + 3 * self.queue + 2 * self.submit + 2 * self.slots + 2 * self.requests


class Expected(NamedTuple):
    """The keys of the counters that exist at 0, by family."""

    completed: tuple[tuple[str, str, str], ...]  # outcome, error type, runner
    rejected: tuple[str, ...]
    cancellations: tuple[tuple[str, str], ...]
    losses: tuple[str, ...]
    failures: tuple[str, ...]

    @classmethod
    def of(cls, shape: Shape, names: int) -> Expected:
        """Those of an executor with this shape and so many task names."""
        ends = (("success", ""), ("timeout", "timeout"), ("cancelled", "cancelled"))
        possible = (True, shape.timeouts, bool(shape.cancels))
        completed = [(*end, runner) for runner in shape.runners for end in compress(ends, possible)]
        caps = compress(("name_cap", "label_cap"), (names > 0, True))
        return cls(tuple(completed), shape.rejects, shape.cancels, shape.losses, (*caps, *shape.failures))
