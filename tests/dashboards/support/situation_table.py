"""Each situation of the run with the panels and alerts that show it, and the alerts that must not fire."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SITUATIONS", "Situation"]


@dataclass(frozen=True)
class Situation:
    """Panels by title; alerts by name; ``quiet`` says whose lines and alerts must not move."""

    what: str
    panels: tuple[str, ...]
    alerts: tuple[str, ...]
    quiet: str


_HEALTHY = "every alert on mail but its broken observer"

SITUATIONS = (
    Situation(
        "saturation (orders: 4 of 4 slots, queue never empty; anyio.to_thread: 40 of 40 tokens)",
        ("Slots in use", "Share of time at the limit", "Utilisation and time at the limit", "Thread tokens in use"),
        ("GlasspoolSaturated",),
        "mail, crawl, threads",
    ),
    Situation(
        "waits above the objective (burst on orders)",
        ("Waits against runs", "Queue waits", "Queue wait, p95", "Tasks that start late"),
        ("GlasspoolWaitObjectiveBurning", "GlasspoolWaitObjectiveBurningSlowly"),
        "all others",
    ),
    Situation(
        "backpressure (three producers blocked on orders)",
        ("Submit wait", "Blocked producers", "Longest-blocked producer"),
        ("GlasspoolProducersStuck",),
        "all others",
    ),
    Situation(
        "queue full (orders: 20 of 20)",
        ("Queue against capacity", "Executors in trouble or under pressure"),
        ("GlasspoolQueueFilling",),
        "mail, crawl, threads",
    ),
    Situation(
        "nothing starts (orders, anyio.to_thread)",
        ("Oldest queued and oldest running", "Oldest queued task"),
        ("GlasspoolNotStarting",),
        "all others",
    ),
    Situation(
        "rejects (queue_full, submit_timeout, submit_cancelled on orders)",
        ("Rejected submissions", "Rejected submissions by reason", "Rejected submissions by executor"),
        ("GlasspoolRejecting",),
        "submit_cancelled raises none",
    ),
    Situation(
        "errors (ValueError, KeyError on orders)",
        ("Error types", "Outcomes", "Errors and timeouts"),
        ("GlasspoolErrorRatio",),
        "threads: below the floor",
    ),
    Situation(
        "timeouts (timeout= and deadline= on orders)",
        ("Error types", "Outcomes", "Errors and timeouts"),
        ("GlasspoolErrorRatio",),
        "GlasspoolCancelStorm on orders: timeouts are no cancellations",
    ),
    Situation(
        "cancels, explicit and sibling_failure (orders)",
        ("Cancellations by reason", "Time to obey a cancellation"),
        (),
        "GlasspoolCancelStorm on orders",
    ),
    Situation(
        "cancel storm, parent_scope (crawl: 30 callers leave)",
        ("Cancellations by reason",),
        ("GlasspoolCancelStorm",),
        "GlasspoolErrorRatio on crawl",
    ),
    Situation(
        "slow tasks (invoice on orders)", ("Run time by task, p95", "Run times", "Slots used by task"), (), _HEALTHY
    ),
    Situation(
        "stuck tasks (orders, anyio.to_thread)",
        ("Oldest queued and oldest running", "In flight against the limit"),
        ("GlasspoolTaskStuck",),
        "all others",
    ),
    Situation(
        "a cancellation that is not obeyed (orders)",
        ("Asked to end and still running", "Oldest request not obeyed"),
        ("GlasspoolCancelNotObeyed",),
        "all others",
    ),
    Situation(
        "tasks held by a limit, a rate and a pause (crawl: nine, with an objective and free slots)",
        ("Why tasks wait", "Time held", "Limits", "Free under each limit"),
        ("GlasspoolPauseLasts", "GlasspoolLimitStarved"),
        "GlasspoolNotStarting on crawl, and on all others both",
    ),
    Situation(
        "services (crawl: feed crashes three times, sync is not ready again after a crash)",
        ("Services by state", "Services that do not run", "Service restarts", "Time to readiness, p95"),
        ("GlasspoolServiceGone", "GlasspoolServiceRestarting"),
        "both on the other service",
    ),
    Situation(
        "tasks that run again, and a budget of retries that is spent (calls: three wait for their next attempt)",
        (
            "Retries against budget",
            "Retries that the budget allows",
            "Tasks that are not tried again",
            "Time of an attempt, p95",
        ),
        ("GlasspoolRetryBudgetSpent",),
        "GlasspoolErrorRatio, GlasspoolNotStarting and GlasspoolQueueFilling on calls",
    ),
    Situation(
        "abandoned threads (threads: two timed out)",
        ("Abandoned threads", "Workers busy and idle"),
        ("GlasspoolAbandonedThreads",),
        "all others",
    ),
    Situation(
        "context loss (etl: a lambda cannot be pickled)",
        ("Context losses",),
        ("GlasspoolContextLosses",),
        "GlasspoolErrorRatio on etl: below the floor",
    ),
    Situation(
        "blocked loop (twelve blocks of 0.4 s, then for good)",
        ("Event loop stalled now", "Event loop delay", "Event loop delays"),
        ("GlasspoolEventLoopBlocked",),
        "-",
    ),
    Situation(
        "cut drain (batch), complete drain (tidy)",
        ("Shutdowns", "Shutdown duration, mean", "Executors opened and closed"),
        ("GlasspoolDrainCutTasks",),
        "tidy",
    ),
    Situation("broken observer (mail)", ("Telemetry failures",), ("GlasspoolTelemetryUnhealthy",), "all others"),
    Situation(
        "a batch (bulk: both slots taken by long steps, three more wait)",
        ("Slots in use", "Oldest queued task"),
        (),
        "every alert on bulk",
    ),
    Situation("steady light work (mail)", ("Arrivals against completions",), (), _HEALTHY),
)
