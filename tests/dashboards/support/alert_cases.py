"""Situations as time series, and the alerts that must fire in each, and no others.

A case is written in seconds and sampled at 15 s and at 60 s, so every alert is tried at both scrape intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from glasspool.telemetry import catalog as c
from glasspool.telemetry.catalog import Key, Metric

from .curves import (
    NONE,
    A,
    B,
    C,
    Case,
    Curve,
    D,
    H,
    M,
    Series,
    Waits,
    const,
    ended,
    minus,
    of_type,
    overdue,
    plus,
    queue,
    ramp,
    restarted,
    slots,
    slow,
    steps,
    waits,
)
from .hold_cases import hold_cases
from .retry_cases import retry_cases
from .service_cases import service_cases


def objective_cases(waits: Waits) -> Iterator[Case]:
    """The wait objective, declared or by an option of the rules.

    What burns fast also burns slowly, once half an hour has passed.
    """
    page, ticket = "GlasspoolWaitObjectiveBurning", "GlasspoolWaitObjectiveBurningSlowly"
    fast, both = {page: (A,)}, {page: (A,), ticket: (A,)}
    hour = 5 * H  # good until then, so that the six-hour window is quiet while the one-hour window burns
    end = hour + H + 4 * M
    minute = (60,)  # hours and days at 15 s would only repeat the same arithmetic
    yield Case("fast burn above 14.4 times the budget", waits(*slow(0.146, hour)), end, both)
    yield Case("fast burn just below", waits(*slow(0.142, hour)), end, {ticket: (A,)})
    yield Case("first hundred tasks all late", waits(steps((0, 0), (10 * M, 100)), NONE), 14 * M, fast)
    yield Case("good waits over a restart", waits(*(restarted(curve, 30 * M) for curve in slow(0))), 70 * M, {})
    yield Case("fast burn that has ended", waits(*slow(0.3, 0, 35 * M)), 70 * M, {ticket: (A,)}, minute)
    yield Case("long burn above 6 times the budget", waits(*slow(0.062)), 6 * H + 10 * M, both, minute)
    yield Case("long burn just below", waits(*slow(0.058)), 6 * H + 10 * M, {ticket: (A,)}, minute)
    again = waits(*(restarted(curve, hour + 30 * M) for curve in slow(0.2, hour)))
    yield Case("fast burn over a restart", again, end, both, minute)
    dropped = waits(ramp(0.8), ramp(0.8), ramp(0.2, hour))
    yield Case("timeouts in the queue count as late", dropped, end, both, minute)
    born = waits(ramp(0.1), ramp(0.1), steps((10 * M, 60)))
    yield Case("the first timeouts in the queue ever, all at once", born, 14 * M, fast)
    few = waits(ramp(10), ramp(10), steps((10 * M, 60)))
    yield Case("the first timeouts in the queue ever, among many that started", few, 14 * M, {})
    yield Case("all late, below the traffic floor", waits(ramp(45 / H, hour), NONE), end, {}, minute)
    yield Case("all late, above the traffic floor", waits(ramp(60 / H, hour), NONE), end, fast, minute)
    yield Case("quiet after a burn", waits(ramp(1, 0, 30 * M), ramp(0.5, 0, 30 * M)), 7 * H, {}, minute)
    good = (*waits(*slow(0), instance=B), *waits(*slow(0), instance=C))
    yield Case("fast burn of one instance of three", (*waits(*slow(0.3, hour)), *good), end, both, minute)
    yield Case("slow burn above the budget", waits(*slow(0.0105)), 3 * D + H, {ticket: (A,)}, minute)
    yield Case("slow burn just below", waits(*slow(0.0095)), 3 * D + H, {}, minute)
    again = waits(*(restarted(curve, 4 * H) for curve in slow(0.02)))
    yield Case("slow burn over a restart", again, 8 * H, {ticket: (A,)}, minute)
    yield Case("slow burn that has ended", waits(*slow(0.05, 0, 4 * H)), 11 * H, {}, minute)
    yield Case("slow burn of one instance of three", (*waits(*slow(0.02)), *good), 8 * H, {ticket: (A,)}, minute)
    yield Case("slow burn below the traffic floor", waits(*slow(1, rate=5 / H)), 8 * H, {}, minute)
    yield Case("slow burn, quiet for six hours", waits(ramp(1, 0, 2 * H), ramp(0.9, 0, 2 * H)), 9 * H, {}, minute)


DECLARED = Series(c.QUEUE_WAIT_LATE, NONE)
"""An executor that declares an objective which nothing has missed."""


def own_work_cases() -> Iterator[Case]:
    """No slot is free and tasks wait: the normal state of a batch, unless there is a wait objective."""
    starting, filling, blocked = "GlasspoolNotStarting", "GlasspoolQueueFilling", "GlasspoolProducersStuck"
    every = {starting: (A,), filling: (A,), blocked: (A,)}
    held = (*queue(const(900), const(7)), Series(c.SUBMIT_OLDEST_AGE, ramp(1)))
    end = 15 * M
    yield Case("a batch whose tasks take long", (*held, *slots(8)), end, {})
    left = {"GlasspoolAbandonedThreads": (A,)}
    yield Case("a batch with threads left behind", (*held, *slots(6, abandoned=2)), end, left)
    unlimited = (*held, Series(c.TASK_ACTIVE, const(3), {Key.RUNNER: "futures"}))
    yield Case("a batch in a pool of unknown size", unlimited, end, {})
    yield Case("slots are free and nothing gets on", (*held, *slots(7)), end, every)
    yield Case("nothing runs, and how many may is not known", held, end, every)
    yield Case("every slot is held by a thread left behind", (*held, *slots(0, abandoned=8)), end, {**every, **left})
    yield Case("full, and an objective is declared", (*held, *slots(8), DECLARED), end, every)
    limited = of_type("anyio_limiter", *queue(const(3), const(7)), *slots(40, 40))
    yield Case("a limiter that lets nobody through", limited, end, {starting: (A,)})
    stuck = (*held, *slots(8), *overdue(ramp(1, -60), 0.5))
    yield Case("full of stuck tasks", stuck, end, {**every, "GlasspoolTaskStuck": (A,)})
    slow = (*held, *slots(8), *overdue(ramp(1, -60), 100))
    yield Case("full of tasks that are longer than usual", slow, end, {})
    yield Case("closed: no slots, nothing held", (*queue(NONE, const(7)), *slots(0, 0)), end, {})
    yield Case(
        "one instance of three has free slots",
        (*held, *slots(8), *queue(const(3), const(7), B), *slots(2, instance=B), *queue(NONE, ramp(1), C)),
        end,
        {starting: (B,)},
    )


def stuck_cases() -> Iterator[Case]:
    """Tasks that outlive those before them."""
    name = "GlasspoolTaskStuck"
    yield Case("a task stuck for five minutes", overdue(ramp(1, 0), 0.1), 8 * M, {name: (A,)})
    yield Case("not yet five minutes", overdue(ramp(1, 0), 0.1), 5 * M, {})
    yield Case("nine times the longest", overdue(const(900), 100), 10 * M, {})
    yield Case("eleven times the longest", overdue(const(1100), 100), 10 * M, {name: (A,)})
    over = steps((0, 400.0), (10 * M, None))
    yield Case("stuck, and then over", overdue(over, 0.1), 12 * M, {})
    again = steps((0, 400.0), (10 * M, None), (20 * M, 400.0))
    yield Case("stuck over a restart", overdue(again, 0.1), 23 * M, {name: (A,)})
    yield Case("stuck in one of two kinds", (*overdue(const(400), 0.1), *overdue(const(400), 60, task="report")),
               10 * M, {name: (A,)})  # fmt: skip
    yield Case("stuck in one instance of three", (*overdue(const(400), 60), *overdue(const(400), 0.1, B)),
               10 * M, {name: (B,)})  # fmt: skip
    old = Series(c.TASK_OLDEST_AGE, ramp(1))
    yield Case("old age alone is no reason", (old,), 3 * H, {}, (60,))


def loop_cases() -> Iterator[Case]:
    """Event loops that are blocked for long, and often."""
    name, loop = "GlasspoolEventLoopBlocked", {Key.EVENTLOOP_NAME: "main"}
    yield from gauge_cases(c.EVENTLOOP_STALL, name, 1, loop, 5 * M)

    def ticks(late: Curve, instance: str = A) -> tuple[Series, ...]:
        return (
            Series(c.EVENTLOOP_DELAY, ramp(10), loop, "_count", instance),
            Series(c.EVENTLOOP_DELAY, plus(ramp(10), minus(late)), {**loop, "le": "0.1"}, "_bucket", instance),
        )

    end = 20 * M
    yield Case("one timer of ninety is late", ticks(ramp(10 / 90)), end, {name: (A,)})
    yield Case("one timer of a hundred and ten", ticks(ramp(10 / 110)), end, {})
    yield Case("a slow start", ticks(ramp(5, 0, 3 * M)), end, {})
    yield Case("soon after a slow start", ticks(ramp(5, 0, 3 * M)), 5 * M, {})
    yield Case("late timers for ten minutes", ticks(ramp(5, 10 * M)), end, {name: (A,)})
    yield Case("late timers for four", ticks(ramp(5, 16 * M)), end, {})
    yield Case("late timers over a restart", ticks(restarted(ramp(1), 12 * M)), end, {name: (A,)})
    yield Case("late timers in one instance of three", (*ticks(NONE), *ticks(ramp(1), B), *ticks(NONE, C)), end,
               {name: (B,)})  # fmt: skip
    still = (Series(c.EVENTLOOP_DELAY, const(5), loop, "_count"),
             Series(c.EVENTLOOP_DELAY, const(1), {**loop, "le": "0.1"}, "_bucket"))  # fmt: skip
    yield Case("a loop that has ended", still, end, {})


def starting_cases() -> Iterator[Case]:
    """Tasks wait and nothing starts."""
    name = "GlasspoolNotStarting"
    stuck = steps((0, 0), (5 * M, 3))
    yield Case("nothing starts for five minutes", queue(stuck, const(7)), 11 * M, {name: (A,)})
    yield Case("nothing starts for less", queue(stuck, const(7)), 9 * M, {})
    yield Case("one task started meanwhile", queue(stuck, steps((0, 7), (8 * M, 8))), 11 * M, {})
    yield Case("the queue was empty for a moment", queue(steps((0, 3), (8 * M, 0), (9 * M, 3)), const(7)), 11 * M, {})
    yield Case("empty and quiet", queue(const(0), const(7)), 20 * M, {})
    restart = steps((0, 7), (6 * M, 0))
    yield Case("stuck over a restart", queue(const(3), restart), 12 * M, {name: (A,)})
    yield Case("starting again after a restart", queue(const(3), steps((0, 7), (6 * M, 0), (8 * M, 2))), 11 * M, {})
    born = queue(steps((5 * M, 3)), steps((5 * M, 0)))
    yield Case("stuck from birth, not yet five minutes", born, 9 * M, {})
    yield Case("stuck from birth", born, 11 * M, {name: (A,)})
    yield Case(
        "one instance of three is stuck",
        (*queue(const(3), ramp(1)), *queue(const(3), const(0), B), *queue(const(3), ramp(2), C)),
        15 * M,
        {name: (B,)},
    )


def gauge_cases(metric: Metric, name: str, limit: float, labels: dict[str, str], hold: float) -> Iterator[Case]:
    """An age or a number that must stay above its limit for a while."""

    def one(curve: Curve, instance: str = A) -> Series:
        return Series(metric, curve, labels, instance=instance)

    end = 10 * M + hold + 2 * M
    high = limit * 1.01 if limit else 1
    yield Case(f"{name} just above", (one(steps((0, 0), (10 * M, high))),), end, {name: (A,)})
    yield Case(f"{name} at the limit", (one(steps((0, 0), (10 * M, limit))),), end, {})
    yield Case(f"{name} only for a moment", (one(steps((0, 0), (10 * M, high), (10 * M + 1, 0))),), end, {})
    yield Case(f"{name} in a process born bad", (one(steps((9 * M, high))),), end, {name: (A,)})
    yield Case(
        f"{name} over a restart", (one(steps((0, high), (10 * M, 0), (10 * M + 60, high))),), end + 2 * M, {name: (A,)}
    )
    yield Case(f"{name} cured by a restart", (one(steps((0, high), (10 * M, 0))),), end, {})
    yield Case(
        f"{name} in one instance of three", (one(const(0)), one(const(high), B), one(const(0), C)), end, {name: (B,)}
    )
    yield Case(f"{name} quiet", (one(const(0)),), end, {})


def pressure_cases() -> Iterator[Case]:
    """At the limit, and the queue filling."""
    name, other = "GlasspoolSaturated", "GlasspoolQueueFilling"

    def busy(share: float, size: Curve, instance: str = A, cut: float | None = None) -> tuple[Series, ...]:
        at_limit, there = ramp(share), ramp(1)
        if cut is not None:
            at_limit, there = restarted(at_limit, cut), restarted(there, cut)
        return (
            Series(c.SLOT_SATURATED_TIME, at_limit, instance=instance),
            Series(c.EXECUTOR_TIME, there, instance=instance),
            *queue(size, ramp(1), instance),
        )

    def waited_for(*series: Series) -> Iterator[tuple[str, tuple[Series, ...]]]:
        yield "limiter", of_type("anyio_limiter", *series)
        yield "trio's limiter", of_type("trio_limiter", *series)
        yield "declared", (*series, *(replace(DECLARED, instance=instance) for instance in (A, B, C)))

    end = 20 * M
    one_of_three = (*busy(1, const(3)), *busy(0.5, const(3), B), *busy(0.5, const(3), C))
    for title, series, at, firing in (
        ("at the limit above 0.9 and never empty", busy(0.91, const(3)), end, (A,)),
        ("at the limit for 0.9", busy(0.89, const(3)), end, ()),
        ("at the limit, queue empty at times", busy(0.99, steps((0, 3), (18 * M, 0), (19 * M, 3))), end, ()),
        ("at the limit over a restart", busy(0.95, const(3), cut=12 * M), end, (A,)),
        ("at the limit from the first minute", busy(1, const(3)), 8 * M, (A,)),
        ("at the limit for four minutes", busy(1, const(3)), 4 * M, ()),
        ("one instance of three at the limit", one_of_three, end, (A,)),
        ("idle", busy(0, const(0)), end, ()),
    ):
        for who, found in waited_for(*series):
            yield Case(f"{title} ({who})", found, at, {name: firing} if firing else {})
    yield Case("a batch at the limit", busy(1, const(3)), end, {})
    closed = (Series(c.SLOT_SATURATED_TIME, const(50)), Series(c.EXECUTOR_TIME, const(60)), *queue(const(3), ramp(1)))
    yield Case("closed executor", (*closed, DECLARED), end, {})

    yield Case("queue over 0.8", queue(const(801), ramp(1)), 8 * M, {other: (A,)})
    yield Case("queue at 0.8", queue(const(800), ramp(1)), 8 * M, {})
    yield Case("queue full for a moment", queue(steps((0, 0), (5 * M, 900), (7 * M, 0)), ramp(1)), 12 * M, {})
    yield Case(
        "queue full over a restart", queue(steps((0, 900), (10 * M, 0), (12 * M, 900)), ramp(1)), 19 * M, {other: (A,)}
    )
    yield Case(
        "queue of one instance of three",
        (*queue(const(10), ramp(1)), *queue(const(900), ramp(1), B), *queue(const(0), ramp(1), C)),
        8 * M,
        {other: (B,)},
    )
    yield Case("queue quiet", queue(const(0), const(0)), 10 * M, {})
    unbounded = tuple(s for s in queue(const(5000), ramp(1)) if s.metric is not c.QUEUE_CAPACITY)
    yield Case("unbounded queue", unbounded, 10 * M, {})


def ratio_cases() -> Iterator[Case]:
    """Errors, and cancellations without a request."""
    name, storm = "GlasspoolErrorRatio", "GlasspoolCancelStorm"
    end = 15 * M
    yield Case("errors above 5 %", ended(ramp(0.948), ramp(0.052)), end, {name: (A,)})
    yield Case("errors below 5 %", ended(ramp(0.952), ramp(0.048)), end, {})
    yield Case("timeouts are errors", ended(ramp(0.9), ramp(0.1), "timeout"), end, {name: (A,)})
    yield Case("cancelled tasks are no errors", ended(ramp(0.9), ramp(0.1), "cancelled"), end, {})
    yield Case(
        "errors over a restart", ended(restarted(ramp(0.9), 8 * M), restarted(ramp(0.1), 8 * M)), end, {name: (A,)}
    )
    yield Case("errors cured", ended(ramp(1), ramp(0.5, 0, 8 * M)), 14 * M, {})
    yield Case("all errors, below the traffic floor", ended(const(0), ramp(15 / 300)), end, {})
    yield Case("all errors, above the traffic floor", ended(const(0), ramp(24 / 300)), end, {name: (A,)})
    yield Case(
        "errors in one instance of three",
        (*ended(ramp(1), const(0)), *ended(ramp(0.5), ramp(0.5), instance=B), *ended(ramp(1), const(0), instance=C)),
        end,
        {name: (B,)},
    )
    born = ended(const(300), steps((10 * M, 40)))
    yield Case("the first errors ever, all at once", (*born, *ended(ramp(1), NONE, instance=B)), 16 * M, {})
    again = ended(const(300), steps((10 * M, 40), (14 * M, 80)))
    yield Case("errors of a new type, in two bursts", again, 16 * M, {name: (A,)})
    yield Case("no tasks", ended(const(100), const(100)), end, {})

    def cancelled(reason: str, bad: Curve, instance: str = A) -> tuple[Series, ...]:
        labels = {Key.CANCEL_REASON: reason, Key.TASK_PHASE: "running"}
        return (
            *ended(ramp(0.7), bad, "cancelled", instance),
            Series(c.TASK_CANCELLATIONS, bad, labels, instance=instance),
        )

    yield Case("cancel storm", cancelled("parent_scope", ramp(0.3)), end, {storm: (A,)})
    share = 0.7 * 0.19 / 0.81
    yield Case("cancellations below the ratio", cancelled("sibling_failure", ramp(share)), end, {})
    share = 0.7 * 0.21 / 0.79
    yield Case("cancellations above the ratio", cancelled("parent_scope", ramp(share)), end, {storm: (A,)})
    yield Case("explicit cancellations are asked for", cancelled("explicit", ramp(0.7)), end, {})
    yield Case("so are those of a shutdown", cancelled("shutdown", ramp(0.7)), end, {})
    yield Case("cancel storm over a restart", cancelled("unknown", restarted(ramp(0.5), 8 * M)), end, {storm: (A,)})
    yield Case(
        "cancel storm in one instance of three",
        (*cancelled("unknown", const(0)), *cancelled("unknown", ramp(0.7), B), *cancelled("unknown", const(0), C)),
        end,
        {storm: (B,)},
    )
    clients = of_type("anyio", *cancelled("parent_scope", ramp(0.7)))
    yield Case("tasks of a loop are cancelled when clients leave", clients, end, {})
    yield Case("quiet after a storm", cancelled("unknown", ramp(0.7, 0, 5 * M)), end, {})
    born = cancelled("sibling_failure", steps((10 * M, 100), (14 * M, 200)))
    yield Case("the first cancellations for a reason, in two bursts", born, 16 * M, {storm: (A,)})


def rare_cases(metric: Metric, name: str, labels: dict[str, str], suffix: str = "") -> Iterator[Case]:
    """Counters whose first event must be seen."""

    def one(curve: Curve, instance: str = A) -> Series:
        return Series(metric, curve, labels, suffix, instance)

    event = 20 * M
    yield Case(f"{name} first event", (one(steps((0, 0), (event, 1))),), event + 2 * M, {name: (A,)})
    yield Case(f"{name} still up a while later", (one(steps((0, 0), (event, 1))),), event + 13 * M, {name: (A,)})
    yield Case(f"{name} over", (one(steps((0, 0), (event, 1))),), event + 17 * M, {})
    yield Case(f"{name} born with its first event", (one(steps((event, 1))),), event + 2 * M, {name: (A,)})
    yield Case(f"{name} born with it, long ago", (one(steps((event, 1))),), event + 25 * M, {})
    yield Case(
        f"{name} again after a restart",
        (one(steps((0, 5), (event, 0), (event + 2 * M, 1))),),
        event + 4 * M,
        {name: (A,)},
    )
    yield Case(f"{name} hidden in a restart", (one(steps((0, 5), (event, 1))),), event + 2 * M, {name: (A,)})
    yield Case(f"{name} a restart alone", (one(steps((0, 5), (event, 0))),), event + 2 * M, {})
    yield Case(
        f"{name} in one instance of three",
        (one(const(0)), one(steps((0, 0), (event, 1)), B), one(const(0), C)),
        event + 2 * M,
        {name: (B,)},
    )
    yield Case(f"{name} quiet", (one(const(4)),), 40 * M, {})


def first_event(metric: Metric, name: str, labels: dict[str, str]) -> Case:
    """The shortest proof that one more value of a bounded label is watched."""
    return Case(f"{name} first {labels}", (Series(metric, steps((0, 0), (5 * M, 1)), labels),), 6 * M, {name: (A,)})


def objective(waits: Waits = waits) -> list[Case]:
    """What needs hours or days, and only the objective's rules."""
    return list(objective_cases(waits))


def cases() -> list[Case]:
    """All others."""
    found: list[Case] = [*starting_cases(), *own_work_cases(), *pressure_cases(), *ratio_cases()]
    found += [*loop_cases(), *stuck_cases(), *hold_cases(), *retry_cases(), *service_cases()]
    found += gauge_cases(c.SUBMIT_OLDEST_AGE, "GlasspoolProducersStuck", 60, {}, M)
    found += gauge_cases(c.TASK_CANCELLING_OLDEST_AGE, "GlasspoolCancelNotObeyed", 60, {}, M)
    found += gauge_cases(c.TASK_ABANDONED, "GlasspoolAbandonedThreads", 0, {Key.RUNNER: "thread"}, 2 * M)
    watched: tuple[tuple[Metric, str, str, tuple[str, ...]], ...] = (
        (
            c.TASK_REJECTED,
            "GlasspoolRejecting",
            Key.ERROR_TYPE,
            ("queue_full", "already_shutdown", "broken", "submit_timeout"),
        ),
        (c.CONTEXT_LOSSES, "GlasspoolContextLosses", Key.LOSS_KIND, c.CONTEXT_LOSS_KINDS),
        (
            c.TELEMETRY_FAILURES,
            "GlasspoolTelemetryUnhealthy",
            Key.FAILURE_KIND,
            tuple(kind for kind in c.FAILURE_KINDS if kind not in c.CAP_KINDS),
        ),
    )
    for metric, name, key, kinds in watched:
        found += rare_cases(metric, name, {key: kinds[0]})
        found += [first_event(metric, name, {key: kind}) for kind in kinds[1:]]
    found += rare_cases(c.SHUTDOWN_DURATION, "GlasspoolDrainCutTasks", {Key.SHUTDOWN_OUTCOME: "cut"}, "_count")
    left = Series(c.TASK_REJECTED, steps((0, 0), (5 * M, 9)), {Key.ERROR_TYPE: "submit_cancelled"})
    found.append(Case("a producer that leaves is no reject", (left,), 7 * M, {}))
    for kind in c.CAP_KINDS:
        folded = Series(c.TELEMETRY_FAILURES, steps((0, 0), (5 * M, 9)), {Key.FAILURE_KIND: kind})
        found.append(Case(f"a cap that folds ({kind})", (folded,), 7 * M, {}))
    drained = Series(c.SHUTDOWN_DURATION, steps((0, 0), (5 * M, 1)), {Key.SHUTDOWN_OUTCOME: "drained"}, "_count")
    found.append(Case("a drain that cut nothing", (drained,), 7 * M, {}))
    return found
