"""For every rule and alert: the value expected from the run's record, and the tolerance.

Keys are their names. Tolerances: a rate may differ by the part of an
interval that Prometheus extrapolates or has not yet scraped, an age by one scrape, a quantile by what lies between the
program's own clock readings and the recorder's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from glasspool._monitoring.alerts import alerts as shipped_alerts
from glasspool.telemetry import catalog as c
from glasspool.telemetry.catalog import Key, prometheus_label

from .account_view import View, each, quantile
from .proof_run import OPTIONS

LATE_TIMERS = "GlasspoolEventLoopBlocked (ticket)"
"""Two alerts have that name; the page is about one long block."""

ROOM = 7
"""Rows of the overview's table of executors."""
WINDOW = 150.0
"""What the panels' interval and range are set to: the whole run."""
ORDERS, LIMITER, BULK, CRAWL, CALLS = "orders", "anyio.to_thread", "bulk", "crawl", "calls"
WAITED_FOR = (ORDERS, LIMITER)
"""Executors in which waiting matters: with an objective, or limiters."""
JUDGED = (ORDERS, LIMITER, CRAWL, "mail")
"""Where there is a wait objective: of the executor, of the instrumentor, or by an option of the rules."""
NAME, TYPE = prometheus_label(Key.EXECUTOR_NAME), prometheus_label(Key.EXECUTOR_TYPE)
Lines = dict[tuple[str, ...], float]


@dataclass(frozen=True)
class Expected:
    """Lines by the values of ``labels``, and how far an answer may be off: a share of the value, or an amount."""

    labels: tuple[str, ...]
    lines: Callable[[View], Lines]
    share: float = 0.15
    amount: float = 0.001
    empty: bool = False
    """Nothing is expected: the catalog calls the metric rare and the run has none of it."""
    absent: bool = False
    """No line is expected, not even one at 0: the series begins with the first event, and the run has none."""
    room: int | None = None
    """The most lines that the answer has. The account does not say which of the others are left out."""
    always: Callable[[tuple[str, ...]], bool] = lambda key: False
    """The lines that are never left out."""


FIVE = 300.0
RATE, AGE, WAIT = 0.15, 3.5, 0.02
TICKS = 60
"""Two timers side by side do not come late by the same fraction of a millisecond: the lowest buckets differ."""


def one(value: Callable[[View], float | None], share: float = RATE, amount: float = 0.01) -> Expected:
    return Expected((), lambda v: each([()], lambda _: value(v)), share, amount)


def by_executor(value: Callable[[View, dict[str, object]], float | None], share: float = RATE, amount: float = 0.02,
                open_now: bool = True) -> Expected:  # fmt: skip
    def lines(v: View) -> Lines:
        return {
            (str(e["name"]), str(e["type"])): result
            for e in v.executors(open_now=open_now)
            if (result := value(v, e)) is not None
        }

    return Expected((NAME, TYPE), lines, share, amount)


def counted(label: str, count: Callable[[View], Counter[str]], share: float = RATE, amount: float = 0.01,
            scale: float | None = None, zeros: tuple[str, ...] = ()) -> Expected:  # fmt: skip
    """Lines of a counter by one label, per second over ``scale`` seconds or as a number of events."""

    def lines(v: View) -> Lines:
        found = count(v)
        values = {kind: found.get(kind, 0) for kind in (*zeros, *found)}
        return {(k,): float(n) if scale is None else v.per_second(n, scale) for k, n in values.items()}

    return Expected((label,), lines, share, amount)


# -- one value per executor, shared by rules and overview ------------------------------------------------------------


def saturation(v: View, e: dict[str, object]) -> float:
    return v.in_use(str(e["name"])) / float(str(e["limit"]))


def fill(v: View, e: dict[str, object]) -> float | None:
    return v.places(str(e["name"])) / float(str(e["capacity"])) if e["capacity"] else None


def mean_fill(v: View, e: dict[str, object]) -> float | None:
    return v.mean_queued(e) / float(str(e["capacity"])) if e["capacity"] and v.open_seconds(e) > 0 else None


def used(v: View, e: dict[str, object]) -> float:
    return v.slot_seconds(str(e["name"])) / (v.open_seconds(e) * float(str(e["limit"])))


def at_limit(v: View, e: dict[str, object]) -> float:
    return v.limit_seconds(e, v.start) / v.open_seconds(e)


def pressure(v: View, e: dict[str, object]) -> float:
    return max(at_limit(v, e), fill(v, e) or 0.0)


def wait_p95(v: View, e: dict[str, object]) -> float | None:
    return quantile(0.95, v.waits(str(e["name"])), c.QUEUE_WAIT)


def late(v: View, e: dict[str, object]) -> float | None:
    if e["name"] not in JUDGED:
        return None
    waits = v.waits_over(str(e["name"]))
    return sum(is_late for _, _, is_late in waits) / len(waits) if waits else None


def waited(v: View, name: str, only_late: bool = False) -> float:
    return float(sum(is_late or not only_late for _, _, is_late in v.waits_over(name)))


def judged_alone(
    value: Callable[[View, dict[str, object]], float],
) -> Callable[[View, dict[str, object]], float | None]:
    """The value where there is a wait objective."""
    return lambda v, e: value(v, e) if e["name"] in JUDGED else None


def failed(v: View, e: dict[str, object]) -> float | None:
    judged = v.since_birth.ended(executor=e["name"], outcome=("success", "error", "timeout"))
    return sum(t["outcome"] != "success" for t in judged) / len(judged) if judged else None


def unasked(v: View, e: dict[str, object]) -> float | None:
    every = v.since_birth.ended(executor=e["name"])
    counted = [t for t in v.since_birth.cancelled(str(e["name"])) if t["reason"] not in ("explicit", "shutdown")]
    return len(counted) / len(every) if every else None


def accepted(v: View, name: str) -> int:
    """Tasks accepted since the start; in flight and queued ones are among them."""
    return len(v.recent(v.tasks(executor=name), "accepted"))


def outcomes(v: View, **facts: object) -> Counter[str]:
    return Counter(task["outcome"] for task in v.ended(**facts))


def by_kind(v: View, count: Callable[[str], float]) -> Lines:
    found: Counter[str] = Counter()
    for e in v.executors(open_now=False):
        found[str(e["type"])] += count(str(e["name"]))  # type: ignore[assignment]  # rates: a Counter adds floats as well
    return {(kind,): float(n) for kind, n in found.items()}


def late_over_days(v: View, e: dict[str, object]) -> float | None:
    if e["name"] not in JUDGED:
        return None
    total = v.summed_rates(str(e["name"]))
    return v.summed_rates(str(e["name"]), only_late=True) / total if total else None


# -- rules -----------------------------------------------------------------------------------------------------------


def rules() -> dict[str, Expected]:
    found = {
        "glasspool:slot_utilization:ratio": by_executor(saturation, amount=0),
        "glasspool:queue_fill:ratio": by_executor(fill, amount=0),
        "glasspool:queue_held:ratio": Expected(
            (NAME,), lambda v: {(name,): sum(map(len, v.held(name).values())) / len(v.queued(name))
                                for name in (CRAWL, CALLS)}, 0, 0),
        "glasspool:executor_pressure:ratio": by_executor(pressure, amount=0.03, open_now=False),
        "glasspool:task_submitted:rate5m": by_executor(
            lambda v, e: accepted(v.since_birth, str(e["name"])) / FIVE, open_now=False),
        "glasspool:task_completed:rate5m": Expected(
            (NAME, prometheus_label(Key.TASK_OUTCOME)),
            lambda v: {(n, o): k / FIVE for e in v.executors(open_now=False) for n in [str(e["name"])]
                       for o, k in outcomes(v.since_birth, executor=n).items()},
            amount=0.02),
        "glasspool:task_rejected:rate5m": Expected(
            (NAME, prometheus_label(Key.ERROR_TYPE)),
            lambda v: {(ORDERS, k): v.per_second(n, FIVE) for k, n in v.rejected().items()}),
        "glasspool:task_cancellations:rate5m": Expected(
            (NAME, prometheus_label(Key.CANCEL_REASON)),
            lambda v: {(k[0], k[1]): n / FIVE for k, n in
                       Counter((t["executor"], t["reason"]) for t in v.since_birth.cancelled()).items()}),
        "glasspool:task_error:ratio_rate5m": by_executor(failed, open_now=False),
        "glasspool:task_unasked_cancel:ratio_rate5m": by_executor(unasked, open_now=False),
        "glasspool:queue_wait:p95_rate5m": by_executor(wait_p95, share=0.2, amount=0.06, open_now=False),
        "glasspool:queue_wait_slow:rate5m": by_executor(
            judged_alone(lambda v, e: waited(v, str(e["name"]), only_late=True) / FIVE), open_now=False),
        "glasspool:executor_own_work:tasks": Expected((NAME,), lambda v: {(BULK,): float(len(v.active(BULK)))}, 0, 0),
    }  # fmt: skip
    for window in ("5m", "1h"):
        found[f"glasspool:slot_utilization:ratio_rate{window}"] = by_executor(used, amount=0.03, open_now=False)
        found[f"glasspool:slot_saturated:ratio_rate{window}"] = by_executor(at_limit, amount=0.03, open_now=False)
    for window, seconds in (("5m", 300), ("30m", 1800), ("1h", 3600), ("6h", 21600)):
        found[f"glasspool:queue_wait_slow:ratio_rate{window}"] = by_executor(late, amount=0.03, open_now=False)
        found[f"glasspool:queue_wait:rate{window}"] = by_executor(
            judged_alone(lambda v, e, s=float(seconds): waited(v, str(e["name"])) / s), open_now=False)  # type: ignore[misc]  # the window is bound here  # fmt: skip
    # Summed from the run's first samples on, where VictoriaMetrics divides by next to no time: hence the tolerance.
    found["glasspool:queue_wait:rate3d"] = by_executor(
        judged_alone(lambda v, e: v.summed_rates(str(e["name"])) / 259200), share=0.35, amount=1e-5, open_now=False
    )
    found["glasspool:queue_wait_slow:ratio_rate3d"] = by_executor(late_over_days, amount=0.05, open_now=False)
    return found


def alerts() -> dict[str, Expected]:
    """The series for which each alert fires, with their values; it must fire for no others."""
    why, kind = prometheus_label(Key.ERROR_TYPE), prometheus_label(Key.LOSS_KIND)
    loop, service = prometheus_label(Key.EVENTLOOP_NAME), prometheus_label(Key.SERVICE_NAME)

    def named(value: Callable[[View, dict[str, object]], float | None], above: float, share: float = RATE,
              amount: float = 0.03, among: tuple[str, ...] = ()) -> Expected:  # fmt: skip
        """The executors, or those among some, whose value is above the threshold."""

        def lines(v: View) -> Lines:
            every = [e for e in v.executors(open_now=False) if not among or e["name"] in among]
            found = {(str(e["name"]),): value(v, e) for e in every}
            return {key: result for key, result in found.items() if result is not None and result > above}

        return Expected((NAME,), lines, share, amount)

    def stuck(v: View, e: dict[str, object]) -> float:
        return float(len(v.queued(str(e["name"]))))

    return {
        "GlasspoolWaitObjectiveBurning": named(late, 0.144),
        "GlasspoolWaitObjectiveBurningSlowly": named(
            lambda v, e: late_over_days(v, e) if v.summed_rates(str(e["name"])) >= OPTIONS.wait_floor else None,
            0.01, amount=0.05),
        "GlasspoolNotStarting": named(stuck, 0, 0, 0, WAITED_FOR),
        "GlasspoolEventLoopBlocked": Expected((loop,), lambda v: {("main",): v.at - v.account["frozen"]}, 0, AGE),
        LATE_TIMERS: Expected((loop,), lambda v: {("main",): late_timers(v)}, RATE, 0.01),
        "GlasspoolSaturated": named(lambda v, e: min(1.0, saturation(v, e)), 0.9, among=WAITED_FOR),
        "GlasspoolQueueFilling": named(fill, 0.8, 0, 0),
        "GlasspoolProducersStuck": Expected(
            (NAME,), lambda v: {(ORDERS,): v.at - min(v.account["blocked_since"])}, 0, AGE),
        "GlasspoolTaskStuck": named(
            lambda v, e: v.oldest(v.active(str(e["name"])), "started"), 5, 0, AGE, WAITED_FOR),
        "GlasspoolCancelNotObeyed": named(lambda v, e: v.oldest(v.asked(str(e["name"])), "asked"), 5, 0, AGE),
        "GlasspoolPauseLasts": Expected((NAME,), lambda v: {(CRAWL,): float(len(v.held(CRAWL)["pause"]))}, 0, 0),
        "GlasspoolLimitStarved": Expected(
            (NAME, prometheus_label(Key.LIMIT_NAME)), lambda v: {(CRAWL, "db"): float(v.under(CRAWL, "query"))}, 0, 0),
        "GlasspoolServiceGone": Expected(
            (NAME, service), lambda v: {(CRAWL, s["name"]): 1.0 for s in v.services("starting")}, 0, 0),
        "GlasspoolServiceRestarting": Expected((NAME, service), lambda v: {
            (CRAWL, s["name"]): float(s["crashes"]) for s in v.services() if s["crashes"] >= OPTIONS.restarts_floor
        }, 0.1, 0.5),
        "GlasspoolErrorRatio": named(lambda v, e: failed(v, e) if judged(v, e) >= 20 else None, 0.05),
        "GlasspoolCancelStorm": named(
            lambda v, e: unasked(v, e) if len(v.since_birth.cancelled(str(e["name"]))) >= 20 else None, 0.2),
        "GlasspoolRetryBudgetSpent": Expected(
            (NAME,), lambda v: {(CALLS,): float(v.stops(CALLS)["budget"])}, 0.1, 0.1),
        "GlasspoolRejecting": Expected((why,), lambda v: {
            (k,): float(n) for k, n in v.rejected().items() if k != "submit_cancelled"}, 0.1, 0.5),
        "GlasspoolAbandonedThreads": Expected(
            (NAME,), lambda v: {("threads",): float(len(v.tasks(held_until="end")))}, 0, 0),
        "GlasspoolContextLosses": Expected((NAME, kind), lambda v: {
            ("etl", "unpicklable"): float(v.account["losses"]["unpicklable"])}, 0, 0),
        "GlasspoolDrainCutTasks": Expected((NAME,), lambda v: {("batch",): 1.0}, 0.1, 0.1),
        "GlasspoolTelemetryUnhealthy": Expected((NAME,), lambda v: {("mail",): 1.0}, 0, 0),
    }  # fmt: skip


@cache
def firing(v: View) -> Lines:
    """One line an alert that fires: its name, severity, executor or event loop, and what it is about.

    The account does not say since when. The value stands for any time from the first millisecond to `WINDOW`.
    """
    severities = {alert.name: alert.severity for alert in shipped_alerts(OPTIONS) if alert.severity == "page"}
    loop, loss = prometheus_label(Key.EVENTLOOP_NAME), prometheus_label(Key.LOSS_KIND)
    found: Lines = {}
    for name, expected in alerts().items():
        for key in expected.lines(v):
            labels = dict(zip(expected.labels, key, strict=True))
            executor = labels.get(NAME, "" if loop in labels else ORDERS)
            who = executor, labels.get(loop, ""), labels.get(loss, "")
            line = (name.split()[0], severities.get(name, "ticket"), *who)
            found[line] = WINDOW / 2
    return found


def alerts_of(v: View, e: dict[str, object]) -> float | None:
    refusals = sum(reason != "submit_cancelled" for reason in v.rejected()) if e["name"] == ORDERS else 1
    return sum(refusals if key[0] == "GlasspoolRejecting" else 1 for key in firing(v) if key[2] == e["name"]) or None


def with_alerts(value: Callable[[View, dict[str, object]], float | None], share: float = RATE,
                amount: float = 0.02) -> Expected:  # fmt: skip
    """A column of the table: executors of which alerts speak come first, and there is room for the worst of them."""
    return by_executor(lambda v, e: value(v, e) if _in_the_table(v, e) else None, share, amount, open_now=False)


def _in_the_table(v: View, e: dict[str, object]) -> bool:
    def rank(each: dict[str, object]) -> float:
        moments = 1e-6 if each["type"] == "process_pool" else 0.0  # at its limit, of which the account has no times
        return pressure(v, each) + moments + 2 * (alerts_of(v, each) or 0.0)

    worse = sum(rank(each) > rank(e) for each in v.executors(open_now=False))
    return alerts_of(v, e) is not None and worse < ROOM


def late_timers(v: View) -> float:
    """The share of the last two minutes' timers that were late."""
    late = [delay > 0.1 for instant, delay in v.account["late"] if instant > max(v.start, v.at - 120)]
    return float(sum(late) / len(late))


def judged(v: View, e: dict[str, object]) -> int:
    return len(v.since_birth.ended(executor=e["name"], outcome=("success", "error", "timeout")))
