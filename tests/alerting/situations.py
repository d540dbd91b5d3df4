"""The programs, with the alerts that each must raise; it must raise no others."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SICK", "WELL", "Sick", "Well"]


@dataclass(frozen=True)
class Well:
    """A healthy program: no alert fires in three hours.

    ``trap`` is an expression that holds at some time in its series: what a rule that looks at that alone would take for
    trouble. Without it a recording that lost the point would go on passing. ``steady`` is the last part of a recording
    in seconds, which is repeated until three hours are full; None: it runs on a mock clock for all of them.
    """

    name: str
    trap: str
    steady: float | None = None


@dataclass(frozen=True)
class Sick:
    """A program that is in trouble from ``onset`` on: within ten minutes exactly these alerts fire, never another.

    ``who``: the executors that they name, or event loops, by the label ``named_by``.
    """

    name: str
    alert: str
    who: tuple[str, ...]
    onset: float = 120
    named_by: str = "glasspool_executor_name"


_LATE = (
    'sum without (le, glasspool_queue_outcome) (rate(glasspool_queue_wait_duration_seconds_bucket{{le="0.5", '
    'glasspool_queue_outcome="started", job="{0}"}}[5m])) < 0.856 * sum without (glasspool_queue_outcome) '
    '(rate(glasspool_queue_wait_duration_seconds_count{{job="{0}"}}[5m]))'
)
"""More than 14.4 % of its tasks waited longer than half a second."""

_CANCELLED = (
    'increase(glasspool_task_cancellations_total{{job="{0}", glasspool_cancel_reason="{1}", '
    'glasspool_task_phase="running"}}[5m]) > 20'
)

WELL = (
    Well("uvicorn-idle", 'glasspool_task_oldest_age_seconds{job="uvicorn-idle"} > 3600', 600),
    Well("uvicorn-steady", 'glasspool_task_oldest_age_seconds{job="uvicorn-steady"} > 3600', 600),
    Well("uvicorn-long-polls", _CANCELLED.format("uvicorn-long-polls", "explicit"), 600),
    Well("uvicorn-slow-start", 'glasspool_eventloop_stall_seconds{job="uvicorn-slow-start"} > 1', 600),
    Well(
        "uvicorn-rolling-restart",
        'resets(glasspool_executor_time_seconds_total{job="uvicorn-rolling-restart"}[5m]) > 0',
        360,
    ),
    Well("etl-pools", 'min_over_time(glasspool_queue_size{job="etl-pools"}[1h]) > 100', 600),
    Well("as-completed", _LATE.format("as-completed")),
    Well("fan-out", _LATE.format("fan-out")),
    Well("etl-batch", 'min_over_time(glasspool_queue_size{job="etl-batch"}[30m]) > 16'),  # of 20 places
    Well("etl-long-steps", 'increase(glasspool_task_submitted_total{job="etl-long-steps"}[15m]) == 0'),
    Well("nightly-burst", _LATE.format("nightly-burst")),
    Well("nobody", 'glasspool_executor_time_seconds_total{job="nobody"} > 10000'),
    Well("service", 'glasspool_queue_wait_late_total{job="service"} > 0'),
    Well("connections", 'glasspool_task_oldest_age_seconds{job="connections"} > 10000'),
    Well(
        "held",
        'min_over_time(glasspool_queue_held{job="held", glasspool_hold_reason="rate"}[30m]) > 90 and on (job)'
        ' min_over_time(glasspool_queue_held{glasspool_hold_reason="limit"}[30m]) > 15 and on (job)'
        ' max_over_time(glasspool_queue_held{glasspool_hold_reason="pause"}[30m]) > 100',
    ),
    Well(
        "services",
        'increase(glasspool_service_restarts_total{job="services", error_type="ConnectionResetError"}[30m]) > 0 and on'
        ' (job) min_over_time(glasspool_service_state{glasspool_service_state="starting"}[2m]) > 0',
    ),
    Well(
        "retried",
        'increase(glasspool_retry_stopped_total{job="retried", glasspool_retry_stop_reason="budget"}[2m]) > 20 and on'
        " (job) increase(glasspool_task_retries_total[2m]) > 40",
    ),
    Well("long-polls", _CANCELLED.format("long-polls", "parent_scope")),
)

SICK = (
    Sick("sick-limiter", "GlasspoolSaturated", ("anyio.to_thread",)),
    Sick("sick-stuck-thread", "GlasspoolTaskStuck", ("same", "other", "hybrid")),
    Sick("sick-blocked-loop", "GlasspoolEventLoopBlocked", ("main",), named_by="glasspool_eventloop_name"),
    Sick("sick-dead-upstream", "GlasspoolErrorRatio", ("deliveries",)),
    Sick("sick-abandoned-threads", "GlasspoolAbandonedThreads", ("scans",)),
    Sick("sick-cancel-not-obeyed", "GlasspoolCancelNotObeyed", ("reports",)),
)
