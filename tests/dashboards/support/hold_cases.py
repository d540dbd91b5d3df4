"""Situations in which a rate, a limit or a pause holds queued tasks, and the alerts that must fire in each."""

from __future__ import annotations

from collections.abc import Iterator

from glasspool.telemetry import catalog as c
from glasspool.telemetry.catalog import Key

from .curves import (
    ABSENT,
    NONE,
    A,
    B,
    C,
    Case,
    Curve,
    M,
    Series,
    const,
    held,
    limited,
    queue,
    ramp,
    released,
    slots,
    steps,
)

__all__ = ["hold_cases"]


def hold_cases() -> Iterator[Case]:
    """All of them."""
    yield from _starting()
    yield from _filling()
    yield from _blocked()
    yield from _saturated()
    yield from _pauses()
    yield from _starved()


def _starting() -> Iterator[Case]:
    """Nothing starts, and that is intended."""
    name, idle = "GlasspoolNotStarting", slots(2)
    for reason in c.HOLD_REASONS:
        every = (*queue(const(3), const(7)), *held(reason, const(3)), *idle)
        yield Case(f"nothing starts, all held by a {reason}", every, 8 * M, {})
        some = (*queue(const(5), const(7)), *held(reason, const(3)), *idle)
        yield Case(f"nothing starts, some held by a {reason}", some, 8 * M, {name: (A,)})
    both = (
        *queue(const(5), const(7)),
        *idle,
        *(Series(c.QUEUE_HELD, const(n), {Key.HOLD_REASON: r}) for r, n in (("rate", 2), ("limit", 3), ("pause", 0))),
    )
    yield Case("nothing starts, some held by a rate and the others by a limit", both, 8 * M, {})
    ended = (*queue(const(3), const(7)), *held("rate", steps((0, 3), (8 * M, 0))), *idle)
    yield Case("held until five minutes ago", ended, 14 * M, {name: (A,)})
    yield Case("held until three minutes ago", ended, 11 * M, {})
    moment = (*queue(const(3), const(7)), *held("rate", steps((0, 0), (8 * M, 3), (9 * M, 0))), *idle)
    yield Case("held for a minute, three minutes ago", moment, 12 * M, {})
    nothing = (*queue(const(3), const(7)), *held("rate", NONE), *idle)
    yield Case("nothing starts, in an executor that holds nothing", nothing, 8 * M, {name: (A,)})
    yield Case(
        "held in one instance, not in another, and no policy in a third",
        (
            *queue(const(3), const(7)), *held("pause", const(3)), *idle,
            *queue(const(3), const(7), B), *held("pause", NONE, B), *slots(2, instance=B),
            *queue(const(3), const(7), C), *slots(2, instance=C),
        ),
        8 * M,
        {name: (B, C)},
    )  # fmt: skip


def _filling() -> Iterator[Case]:
    """Full queues: 1000 places."""
    name, idle = "GlasspoolQueueFilling", slots(2)
    for reason in c.HOLD_REASONS:
        full = (*queue(const(950), ramp(1)), *held(reason, const(950)), *idle)
        yield Case(f"full of tasks held by a {reason}", full, 8 * M, {})
    yield Case("full also without those held", (*queue(const(950), ramp(1)), *held("rate", const(140)), *idle), 8 * M,
               {name: (A,)})  # fmt: skip
    yield Case("not full without those held", (*queue(const(950), ramp(1)), *held("rate", const(160)), *idle), 8 * M,
               {})  # fmt: skip
    yield Case("full, and no longer held", (*queue(const(950), ramp(1)), *held("rate", steps((0, 950), (2 * M, 0))),
               *idle), 9 * M, {name: (A,)})  # fmt: skip
    yield Case("full of held tasks in one instance of two",
               (*queue(const(950), ramp(1)), *held("rate", const(950)), *idle,
                *queue(const(950), ramp(1), B), *held("rate", NONE, B), *slots(2, instance=B)),
               8 * M, {name: (B,)})  # fmt: skip


def _blocked() -> Iterator[Case]:
    """Producers without room."""
    name, filling, idle = "GlasspoolProducersStuck", "GlasspoolQueueFilling", slots(2)

    def blocked(size: float, reason: str, tasks: float) -> tuple[Series, ...]:
        return (*queue(const(size), ramp(1)), *held(reason, const(tasks)), *idle, Series(c.SUBMIT_OLDEST_AGE, ramp(1)))

    for reason in c.HOLD_REASONS:
        yield Case(f"producers behind tasks held by a {reason}", blocked(1000, reason, 1000), 8 * M, {})
    yield Case("producers behind a full queue, little of it held", blocked(1000, "limit", 10), 8 * M,
               {name: (A,), filling: (A,)})  # fmt: skip
    yield Case("producers behind a full queue, most of it held", blocked(1000, "limit", 900), 8 * M, {name: (A,)})
    yield Case("producers in line for the places of one key", blocked(200, "limit", 50), 8 * M, {})
    yield Case("producers blocked, and nothing is held", blocked(200, "limit", 0), 8 * M, {name: (A,)})


def _saturated() -> Iterator[Case]:
    """At the limit of slots, with an objective."""
    name, end = "GlasspoolSaturated", 20 * M
    busy = (
        Series(c.SLOT_SATURATED_TIME, ramp(0.95)),
        Series(c.EXECUTOR_TIME, ramp(1)),
        Series(c.QUEUE_WAIT_LATE, NONE),
        *queue(const(9), ramp(1)),
    )
    yield Case("at the limit, all that wait are held", (*busy, *held("limit", const(9))), end, {})
    yield Case("at the limit, some that wait are held", (*busy, *held("limit", const(8))), end, {name: (A,)})
    now_and_then = steps((0, 0), (17 * M, 9), (18 * M, 0))
    yield Case("at the limit, for a minute all that wait were held", (*busy, *held("rate", now_and_then)), end, {})


def _pauses() -> Iterator[Case]:
    """Pauses that do not end."""
    name = "GlasspoolPauseLasts"

    def paused(tasks: Curve, instance: str = A) -> tuple[Series, ...]:
        return (*queue(tasks, NONE, instance), *held("pause", tasks, instance), *slots(0, instance=instance))

    since = steps((0, 0), (5 * M, 3))
    yield Case("paused for ten minutes", paused(since), 16 * M, {name: (A,)})
    yield Case("paused for nine", paused(since), 14 * M, {})
    yield Case("paused from birth", paused(steps((5 * M, 3))), 16 * M, {name: (A,)})
    yield Case("paused, ended for a moment", paused(steps((0, 3), (12 * M, 0), (13 * M, 3))), 16 * M, {})
    yield Case("paused and over", paused(steps((0, 3), (15 * M, 0))), 16 * M, {})
    some = (*queue(const(5), ramp(1)), *held("pause", const(3)), *slots(4))
    yield Case("one key paused, the others go on", some, 16 * M, {name: (A,)})
    for reason in ("rate", "limit"):
        yield Case(f"held by a {reason} for as long", (*queue(const(3), ramp(1)), *held(reason, const(3)), *slots(2)),
                   16 * M, {})  # fmt: skip
    yield Case("paused in one instance of three", (*paused(NONE), *paused(const(3), B), *paused(NONE, C)), 16 * M,
               {name: (B,)})  # fmt: skip


def _starved() -> Iterator[Case]:
    """Limits whose tasks do not end."""
    name, end = "GlasspoolLimitStarved", 22 * M

    def waiting(tasks: Curve, gone: Curve = ABSENT, started: Curve = ABSENT, instance: str = A) -> tuple[Series, ...]:
        began = ramp(1) if started is ABSENT else started  # tasks of other keys
        return (
            *queue(tasks, began, instance), *held("limit", tasks, instance), *slots(4, instance=instance),
            released("limit", gone, instance),
        )  # fmt: skip

    three, full = const(3), limited(const(4))
    yield Case("no permit comes back, others start", (*waiting(three), *full), end, {name: (A,)})
    yield Case("no permit comes back, nothing starts", (*waiting(three, started=const(7)), *full), end, {name: (A,)})
    yield Case("not yet a quarter of an hour", (*waiting(steps((0, 0), (8 * M, 3))), *full), end, {})
    yield Case("a quarter of an hour", (*waiting(steps((0, 0), (6 * M, 3))), *full), end, {name: (A,)})
    yield Case("permits come back", (*waiting(three, ramp(0.1)), *full), end, {})
    yield Case("the first permit ever came back", (*waiting(three, steps((15 * M, 1))), *full), end, {})
    yield Case("permits came back until a quarter of an hour ago", (*waiting(three, ramp(0.1, 0, 5 * M)), *full), end,
               {name: (A,)})  # fmt: skip
    dropped = (*waiting(three, ramp(0.1), started=const(7)), *full)
    yield Case("who is held gives up, and nothing starts", dropped, end, {name: (A,)})
    yield Case("a permit was free for a moment", (*waiting(three), *limited(steps((0, 4), (15 * M, 3), (16 * M, 4)))),
               end, {})  # fmt: skip
    yield Case("nobody was held for a moment", (*waiting(steps((0, 3), (15 * M, 0), (16 * M, 3))), *full), end, {})
    yield Case("full, and nobody is held", (*waiting(NONE), *full), end, {})
    yield Case("a limit with rates only", (*waiting(three), *limited(const(4), None)), end, {})
    yield Case("more in flight than a limit that has shrunk", (*waiting(three), *limited(const(6))), end, {name: (A,)})
    yield Case("one of two limits", (*waiting(three), *full, *limited(const(1), name="api")), end, {name: (A,)})
    other = (*queue(three, ramp(1)), *held("rate", three), *slots(4), *full)
    yield Case("full, and held by a rate", other, end, {})
    again = (*waiting(three, steps((0, 5), (10 * M, 0))), *full)
    yield Case("no permit comes back, over a restart", again, end, {name: (A,)})
    yield Case(
        "in one instance of three",
        (
            *waiting(three, ramp(0.1)), *full,
            *waiting(three, instance=B), *limited(const(4), instance=B),
            *waiting(NONE, instance=C), *limited(NONE, instance=C),
        ),
        end,
        {name: (B,)},
    )  # fmt: skip
