"""The drill-down's row about held tasks: by a rate, a limit on their key, a pause, a retry's delay, or another task."""

from __future__ import annotations

from dashboards.generator.chosen import FILTER, WINDOW
from dashboards.generator.marks import Mark, holds, limit
from dashboards.generator.panels import NO_LIMITS, NONE_SEEN, Panel, Target
from glasspool._monitoring.expressions import bucket, by, events, label, quantile, series, top
from glasspool._monitoring.holds import not_held
from glasspool.telemetry.catalog import (
    LIMIT_AVAILABLE,
    LIMIT_CAPACITY,
    LIMIT_USAGE,
    QUEUE_HELD,
    QUEUE_HOLD,
    Key,
    Metric,
)

__all__ = ["held"]

_LIMITS = 8
"""The most limits in a panel; each has up to two lines."""


def held() -> tuple[Panel, ...]:
    """Why tasks wait although slots may be free, for how long, and how full the limits are."""
    reason, name = label(Key.HOLD_REASON), label(Key.LIMIT_NAME)
    times = quantile(0.95, events(bucket(QUEUE_HOLD, *FILTER), WINDOW), reason)

    def of_limits(metric: Metric) -> str:
        return top(_LIMITS, by((name,), series(metric, *FILTER)), series(LIMIT_USAGE, *FILTER), (name,))

    return (
        Panel(
            title="Why tasks wait",
            question="Do queued tasks wait for a slot, or does a rate, a limit, a pause, a retry's delay or another"
            " task hold them?",
            action="For a slot: more slots help. What is held is held on purpose, and more slots do not help."
            " rate: more arrivals than it allows. limit: the panel Limits shows which is full. pause: the program asked"
            " for it; if the band stays, the pause is long or is made again and again. retry: an attempt has failed,"
            " and the next one waits for its delay (the row Retries). dependency: a task before them has not ended.",
            targets=(
                Target(by((reason,), series(QUEUE_HELD, *FILTER)), f"held by {{{{{reason}}}}}"),
                Target(f"sum({not_held(*FILTER)})", "wait for a slot"),
            ),
            marks=(*holds("held by "), Mark("wait for a slot", "blue")),
            unit="short",
            stacked=True,
            link="traces",
        ),
        Panel(
            title="Time held",
            question="For how long were those tasks held that were held, by reason? It is a part of their wait.",
            action="It counts when a task leaves the queue; those that are still held are not in it. rate: rising means"
            " that more arrives than the rate allows; refuse earlier, or raise it. limit: rising with flat arrivals"
            " means that the tasks under the limit have become slower; follow a trace.",
            targets=(Target(times, f"p95 {{{{{reason}}}}}", exemplar=True),),
            marks=holds("p95 "),
            empty=NONE_SEEN,
            unit="s",
            link="traces",
        ),
        Panel(
            title="Limits",
            question="How many tasks are in flight under each limit, and how many may be?",
            action="In use at the dashed capacity: further tasks of that key are held. Raise it (Limit.resize) only if"
            " what is behind it can take more. The limit * stands for all keys without a limit of their own and shows"
            " the fullest of them. A limit that executors share counts the tasks of all.",
            targets=(
                Target(of_limits(LIMIT_USAGE), f"{{{{{name}}}}} in use"),
                Target(of_limits(LIMIT_CAPACITY), f"{{{{{name}}}}} capacity"),
            ),
            marks=(limit(" capacity", ending=True),),
            empty=NO_LIMITS,
            unit="short",
        ),
        Panel(
            title="Free under each limit",
            question="How many more tasks could start now under each limit?",
            action="0 with its capacity in use: it is full. 0 with less in use: its rate is used up, or it is paused."
            " Never near 0: the limit holds nothing back.",
            targets=(Target(of_limits(LIMIT_AVAILABLE), f"{{{{{name}}}}}"),),
            empty=NO_LIMITS,
            unit="short",
        ),
    )
