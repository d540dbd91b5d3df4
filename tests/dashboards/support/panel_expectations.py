"""For every panel: the value of each of its expressions expected from the run's record, and the tolerance.

Keys are (dashboard, panel, letter).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from glasspool.telemetry import catalog as c
from glasspool.telemetry.catalog import Key, Metric, prometheus_label

from .account_view import View, cumulative, quantile
from .expectations import (
    AGE,
    CALLS,
    CRAWL,
    FIVE,
    LIMITER,
    NAME,
    ORDERS,
    TICKS,
    TYPE,
    WAIT,
    WAITED_FOR,
    WINDOW,
    Expected,
    Lines,
    accepted,
    alerts_of,
    at_limit,
    by_executor,
    by_kind,
    counted,
    failed,
    fill,
    firing,
    late,
    mean_fill,
    one,
    outcomes,
    pressure,
    saturation,
    used,
    wait_p95,
    with_alerts,
)
from .retried_tasks import BUDGET

# -- overview --------------------------------------------------------------------------------------------------------


def overview() -> dict[tuple[str, str], Expected]:
    outcome, why, reason = (prometheus_label(k) for k in (Key.TASK_OUTCOME, Key.ERROR_TYPE, Key.CANCEL_REASON))
    loop, loss = prometheus_label(Key.EVENTLOOP_NAME), prometheus_label(Key.LOSS_KIND)
    worst_late = one(lambda v: max(late(v, e) or 0 for e in v.executors()), amount=0.03)
    return {
        ("Can this dashboard be trusted?", "A"): one(lambda v: 1, 0, 0),
        ("Executors open", "A"): one(lambda v: len(v.executors()), 0, 0),
        ("At their limit", "A"): one(lambda v: sum(saturation(v, e) >= 1 for e in v.executors()), 0, 0),
        ("Queues nearly full", "A"): one(lambda v: sum((fill(v, e) or 0) > 0.8 for e in v.executors()), 0, 0),
        ("Blocked producers", "A"): one(lambda v: len(v.account["blocked_since"]), 0, 0),
        ("Refused in 5 minutes", "A"): one(lambda v: v.per_second(len(v.account["rejects"]), FIVE) * 300),
        ("Late starts, worst executor", "A"): worst_late,
        ("Alerts", "A"): Expected(
            ("alertname", "severity", NAME, loop, loss), firing, 0, WINDOW / 2 - 0.001,
            room=20, always=lambda key: key[1] == "page"),  # tickets are left out, the youngest first
        ("Executors in trouble or under pressure", "A"): with_alerts(alerts_of, 0, 0),
        ("Executors in trouble or under pressure", "B"): with_alerts(pressure, amount=0.03),
        ("Executors in trouble or under pressure", "C"): with_alerts(
            lambda v, e: saturation(v, e) if e["closed"] is None else None, amount=0),
        ("Executors in trouble or under pressure", "D"): with_alerts(at_limit, amount=0.03),
        ("Executors in trouble or under pressure", "E"): with_alerts(
            lambda v, e: fill(v, e) if e["closed"] is None else None, amount=0),
        ("Executors in trouble or under pressure", "F"): with_alerts(
            lambda v, e: v.oldest(v.queued(str(e["name"])), "accepted"), 0, AGE),
        ("Executors in trouble or under pressure", "G"): with_alerts(wait_p95, share=0.2, amount=0.06),
        ("Executors in trouble or under pressure", "H"): with_alerts(failed),
        ("Executors in trouble or under pressure", "I"): with_alerts(
            lambda v, e: v.oldest(v.active(str(e["name"])), "started") if e["name"] in WAITED_FOR else None, 0, AGE),
        ("Executors in trouble or under pressure", "J"): with_alerts(
            lambda v, e: v.oldest(v.asked(str(e["name"])), "asked"), 0, AGE),
        ("Executors in trouble or under pressure", "K"): with_alerts(
            lambda v, e: float(len(v.tasks(executor=e["name"], held_until="end"))), 0, 0),
        ("Pressure", "A"): by_executor(
            lambda v, e: max(at_limit(v, e), mean_fill(v, e) or 0.0), amount=0.03, open_now=False),
        ("Slots in use", "A"): by_executor(used, amount=0.03, open_now=False),
        ("Share of time at the limit", "A"): by_executor(at_limit, amount=0.03, open_now=False),
        ("Queue against capacity", "A"): by_executor(mean_fill, amount=0.03, open_now=False),
        ("Oldest queued task", "A"): by_executor(
            lambda v, e: v.oldest(v.queued(str(e["name"])), "accepted"), 0, AGE, open_now=False),
        ("Queue wait, p95", "A"): by_executor(wait_p95, share=0.2, amount=0.06, open_now=False),
        ("Tasks that start late", "A"): by_executor(late, amount=0.03, open_now=False),
        ("Arrivals against completions", "A"): Expected(
            (TYPE,), lambda v: by_kind(v, lambda n: accepted(v.since_birth, n) / FIVE), amount=0.02),
        ("Arrivals against completions", "B"): Expected(
            (TYPE,), lambda v: by_kind(v, lambda n: len(v.since_birth.ended(executor=n)) / FIVE), amount=0.02),
        ("Outcomes", "A"): Expected(
            (outcome,), lambda v: {(k,): n / FIVE for k, n in outcomes(v.since_birth).items()}, amount=0.02),
        ("Errors and timeouts", "A"): by_executor(failed, open_now=False),
        ("Rejected submissions by executor", "A"): Expected(
            (NAME,), lambda v: {(ORDERS,): v.per_second(len(v.account["rejects"]), FIVE)}),
        ("Rejected submissions by reason", "A"): counted(why, View.rejected, scale=FIVE, zeros=c.REJECT_REASONS),
        ("Cancellations by reason", "A"): Expected(
            (reason,), lambda v: {(k,): n / FIVE for k, n in
                                  Counter(t["reason"] for t in v.since_birth.cancelled()).items()}),
    }  # fmt: skip


# -- drill-down, on the executor that has every trouble ---------------------------------------------------------------


def quantiles(
    panel: str, letters: str, metric: Metric, values: Callable[[View], list[float]]
) -> dict[tuple[str, str], Expected]:
    return {
        (panel, letter): one(lambda v, q=q: quantile(q, values(v), metric), 0.2, WAIT)  # type: ignore[misc]  # q is bound here
        for letter, q in zip(letters, (0.5, 0.95, 0.99), strict=True)
    }


def heat(metric: Metric, values: Callable[[View], list[float]], amount: float = 4) -> Expected:
    return Expected(
        ("le",),
        lambda v: {(f"{bound:g}",): float(n) for bound, n in cumulative(values(v), metric).items()},
        0.1,
        amount,
    )


def orders_runs(v: View) -> list[float]:
    return v.runs(executor=ORDERS)


def drilldown() -> dict[tuple[str, str], Expected]:
    outcome, why, reason = (prometheus_label(k) for k in (Key.TASK_OUTCOME, Key.ERROR_TYPE, Key.CANCEL_REASON))
    phase, task = prometheus_label(Key.TASK_PHASE), prometheus_label(Key.TASK_NAME)
    hold, limit = prometheus_label(Key.HOLD_REASON), prometheus_label(Key.LIMIT_NAME)
    service, state = prometheus_label(Key.SERVICE_NAME), prometheus_label(Key.SERVICE_STATE)
    stop = prometheus_label(Key.RETRY_STOP)

    def me(v: View) -> dict[str, object]:
        return next(e for e in v.executors() if e["name"] == ORDERS)

    def names(v: View) -> set[str]:
        return {t["name"] for t in v.recent(v.tasks(executor=ORDERS), "ended") if t["started"]}

    def cancel_times(v: View, why: str) -> list[float]:
        return [
            max(0.0, t["ended"] - t["asked"])
            for t in v.since_birth.cancelled(ORDERS)
            if t["reason"] == why and t["asked"]
        ]

    return {
        **quantiles("Waits against runs", "ABC", c.QUEUE_WAIT, lambda v: v.waits(ORDERS)),
        **quantiles("Waits against runs", "DEF", c.TASK_DURATION, orders_runs),
        ("Waits against runs", "G"): one(lambda v: 0.5, 0, 0),
        ("Queue waits", "A"): heat(c.QUEUE_WAIT, lambda v: v.waits(ORDERS)),
        ("Run times", "A"): heat(c.TASK_DURATION, orders_runs),
        **quantiles("Submit wait", "ABC", c.SUBMIT_WAIT, lambda v: v.submit_waits(ORDERS)),
        ("Blocked producers", "A"): one(lambda v: len(v.account["blocked_since"]), 0, 0),
        ("Longest-blocked producer", "A"): one(lambda v: v.at - min(v.account["blocked_since"]), 0, AGE),
        ("Utilisation and time at the limit", "A"): one(lambda v: used(v, me(v)), amount=0.03),
        ("Utilisation and time at the limit", "B"): one(lambda v: at_limit(v, me(v)), amount=0.03),
        ("Why tasks wait", "A"): Expected(
            (hold,), lambda v: {(r,): float(len(tasks)) for r, tasks in v.held(CRAWL).items()}, 0, 0),
        ("Why tasks wait", "B"): one(lambda v: len(v.queued(ORDERS)), 0, 0),
        ("Time held", "A"): Expected(
            (hold,), lambda v: {(r,): quantile(0.95, held, c.QUEUE_HOLD) or 0.0 for r, held in v.holds(CRAWL).items()},
            0.2, WAIT),
        ("Limits", "A"): Expected((limit,), lambda v: {**dict.fromkeys([("api",), ("mail",), ("sms",)], 0.0),
                                                       ("db",): float(v.under(CRAWL, "query"))}, 0, 0),
        ("Services by state", "A"): Expected(
            (state,), lambda v: {(s,): float(len(v.services(s))) for s in c.SERVICE_STATES}, 0, 0),
        ("Services that do not run", "A"): Expected(
            (service,), lambda v: {(s["name"],): float(s["state"] != "running") for s in v.services()}, 0, 0),
        ("Service restarts", "A"): Expected(
            (service, why), lambda v: {(s["name"], e): s["crashes"] / WINDOW if e else 0.0 for s in v.services()
                                       for e in ("", "ValueError")}, 0.1, 0.5 / WINDOW),
        ("Time to readiness, p95", "A"): Expected(
            (service,), lambda v: {(s["name"],): quantile(0.95, s["ready"], c.SERVICE_READY) or 0.0
                                   for s in v.services()}, 0.2, WAIT),
        # The rate of one an hour makes up for a little while the run stands still.
        ("Free under each limit", "A"): Expected(
            (limit,), lambda v: {("db",): 0.0, ("api",): 0.0, ("mail",): 0.0, ("sms",): 4.0}, 0, 0.03),
        ("Limits", "B"): Expected((limit,), lambda v: {("db",): 2.0, ("mail",): 5.0, ("sms",): 4.0}, 0, 0),
        ("Retries against budget", "A"): Expected(
            (why,), lambda v: {("ConnectionError",): v.retried(CALLS) / WINDOW}, amount=0.5 / WINDOW),
        ("Retries against budget", "B"): one(lambda v: v.stops(CALLS)["budget"] / WINDOW, 0, 0.5 / WINDOW),
        ("Retries that the budget allows", "A"): one(lambda v: float(BUDGET.floor), 0, 0),
        ("Tasks that are not tried again", "A"): Expected(
            (stop,), lambda v: {(k,): v.stops(CALLS)[k] / WINDOW for k in c.RETRY_STOPS}, amount=0.5 / WINDOW),
        ("Time of an attempt, p95", "A"): Expected(
            (outcome,), lambda v: {(k,): quantile(0.95, found, c.ATTEMPT_DURATION) or 0.0
                                   for k, found in v.attempts(CALLS).items()}, 0.2, WAIT),
        ("In flight against the limit", "A"): one(lambda v: v.in_use(ORDERS), 0, 0),
        ("In flight against the limit", "B"): one(lambda v: len(v.active(ORDERS)), 0, 0),
        ("In flight against the limit", "C"): one(lambda v: v.per_second(sum(orders_runs(v)), WINDOW)),
        ("In flight against the limit", "D"): one(lambda v: float(str(me(v)["limit"])), 0, 0),
        ("In flight against the limit", "E"): Expected((), lambda v: {}, absent=True),
        ("Queue against capacity", "A"): one(lambda v: v.places(ORDERS), 0, 0),
        ("Queue against capacity", "B"): one(lambda v: float(str(me(v)["capacity"])), 0, 0),
        ("Oldest queued and oldest running", "A"): one(lambda v: v.oldest(v.queued(ORDERS), "accepted"), 0, AGE),
        ("Oldest queued and oldest running", "B"): one(lambda v: v.oldest(v.active(ORDERS), "started"), 0, AGE),
        ("Oldest queued and oldest running", "C"): Expected(
            (task,), lambda v: {("checkout",): v.oldest(v.active(ORDERS), "started")}, 0, AGE),
        ("Arrivals against completions", "A"): one(lambda v: v.per_second(accepted(v, ORDERS), WINDOW)),
        ("Arrivals against completions", "B"): one(lambda v: v.per_second(len(v.ended(executor=ORDERS)), WINDOW)),
        ("Outcomes", "A"): Expected(
            (outcome,), lambda v: {(k,): n / WINDOW for k, n in outcomes(v.since_birth, executor=ORDERS).items()},
            amount=0.5 / WINDOW),
        ("Error types", "A"): Expected(
            (why,), lambda v: {(k,): n / WINDOW for k, n in Counter(t["error_type"] for t in v.since_birth.ended(
                executor=ORDERS, outcome=("error", "timeout"))).items()}, amount=0.5 / WINDOW),
        ("Cancellations by reason", "A"): Expected(
            (reason, phase), lambda v: {k: n / WINDOW for k, n in Counter(
                (t["reason"], t["phase"]) for t in v.since_birth.cancelled(ORDERS)).items()}, amount=0.5 / WINDOW),
        ("Time to obey a cancellation", "A"): Expected(
            (reason,), lambda v: {("explicit",): quantile(0.95, cancel_times(v, "explicit"), c.CANCEL_DURATION) or 0.0,
                                  ("sibling_failure",): 0.0}, 0.2, 0.1),
        ("Rejected submissions", "A"): Expected(
            (why,), lambda v: {(k,): v.per_second(v.rejected().get(k, 0), WINDOW) for k in c.REJECT_REASONS}),
        ("Asked to end and still running", "A"): one(lambda v: len(v.asked(ORDERS)), 0, 0),
        ("Oldest request not obeyed", "A"): one(lambda v: v.oldest(v.asked(ORDERS), "asked"), 0, AGE),
        ("Run time by task, p95", "A"): Expected(
            (task,), lambda v: {(n,): quantile(0.95, v.runs(executor=ORDERS, name=n), c.TASK_DURATION) or 0.0
                                for n in names(v)}, 0.2, WAIT),
        ("Slots used by task", "A"): Expected(
            (task,), lambda v: {(n,): v.per_second(sum(v.runs(executor=ORDERS, name=n)), WINDOW) for n in names(v)},
            amount=0.01),
        ("Slots in use by instance", "A"): one(lambda v: saturation(v, me(v)), 0, 0),
        ("Completions by instance", "A"): one(lambda v: v.per_second(len(v.ended(executor=ORDERS)), WINDOW)),
        ("Queue wait by instance, p95", "A"): one(lambda v: quantile(0.95, v.waits(ORDERS), c.QUEUE_WAIT), 0.2, WAIT),
    }  # fmt: skip


# -- runtime -----------------------------------------------------------------------------------------------------------


def runtime() -> dict[tuple[str, str], Expected]:
    loop, runner, state = (prometheus_label(k) for k in (Key.EVENTLOOP_NAME, Key.RUNNER, Key.WORKER_STATE))
    how, loss, failure = (prometheus_label(k) for k in (Key.SHUTDOWN_OUTCOME, Key.LOSS_KIND, Key.FAILURE_KIND))

    def late_ticks(v: View) -> list[float]:
        return [float(delay) for instant, delay in v.account["late"] if instant >= v.start]

    def delay_of_main(q: float, v: View) -> Lines:
        return {("main",): quantile(q, late_ticks(v), c.EVENTLOOP_DELAY) or 0.0}

    def tokens(v: View) -> dict[str, object]:
        return next(e for e in v.executors("anyio_limiter"))

    def pools(v: View) -> Lines:
        used = {t["executor"] for t in v.tasks(type="hybrid", runner="thread")}
        threads = float(sum(float(str(e["limit"])) for e in v.executors("hybrid") if e["name"] in used))
        return {("hybrid", "thread"): threads, ("process_pool", "process"): 2.0}

    def workers(v: View) -> Lines:
        held = float(len(v.tasks(held_until="end")))
        return {("hybrid", "busy"): held, ("hybrid", "idle"): 0.0,
                ("process_pool", "busy"): 0.0, ("process_pool", "idle"): 2.0}  # fmt: skip

    def shutdowns(v: View) -> Counter[str]:
        return Counter(str(s["outcome"]) for s in v.account["shutdowns"])

    delays = {
        ("Event loop delay", letter): Expected(
            (loop,), partial(delay_of_main, q), 0.3, 0.15 if q == 0.99 else 0.02,
        )
        for letter, q in zip("ABC", (0.5, 0.95, 0.99), strict=True)
    }  # fmt: skip
    return {
        ("Event loop stalled now", "A"): Expected((loop,), lambda v: {("main",): v.at - v.account["frozen"]}, 0, AGE),
        **delays,
        ("Event loop delays", "A"): heat(c.EVENTLOOP_DELAY, late_ticks, TICKS),
        ("Thread tokens in use", "A"): Expected((NAME,), lambda v: {(LIMITER,): float(v.in_use(LIMITER))}, 0, 0),
        ("Thread tokens in use", "B"): Expected(
            (NAME,), lambda v: {(LIMITER,): float(str(tokens(v)["limit"]))}, 0, 0),
        ("Waiting for a thread", "A"): Expected(
            (NAME,), lambda v: {(LIMITER,): float(len(v.queued(LIMITER)))}, 0, 0),
        ("Wait for a thread, p95", "A"): Expected(
            (NAME,), lambda v: {(LIMITER,): quantile(0.95, v.waits(LIMITER), c.QUEUE_WAIT) or 0.0}, 0.2, WAIT),
        ("Workers busy and idle", "A"): Expected((TYPE, state), workers, 0, 0),
        ("Workers busy and idle", "B"): Expected((TYPE, runner), pools, 0, 0),
        ("Process pools", "A"): Expected((NAME, state), lambda v: {("etl", "busy"): 0.0, ("etl", "idle"): 2.0}, 0, 0),
        ("Abandoned threads", "A"): Expected((NAME, runner), lambda v: {
            ("threads", "thread"): float(len(v.tasks(held_until="end")))}, 0, 0),
        ("Executors opened and closed", "A"): Expected(
            (TYPE,), lambda v: {**by_kind(v, lambda n: 1), ("anyio",): 1.0}, 0, 0),
        ("Executors opened and closed", "B"): Expected(
            (TYPE,), lambda v: by_kind(v, lambda n: float(any(e["name"] == n and e["closed"] for e in
                                                             v.executors(open_now=False)))), 0.05, 0),
        ("Shutdowns", "A"): counted(how, shutdowns, amount=0.1),
        ("Shutdown duration, mean", "A"): Expected(
            (how,), lambda v: {(str(s["outcome"]),): float(s["seconds"])
                               for s in v.account["shutdowns"]}, 0.2, WAIT),
        ("Telemetry failures", "A"): Expected((failure, NAME), lambda v: {("observer", "mail"): 1.0}, 0, 0),
        ("Context losses", "A"): Expected(
            (loss, NAME), lambda v: {("unpicklable", "etl"): float(v.account["losses"]["unpicklable"])}, 0, 0),
        ("Errors nobody retrieved", "A"): Expected((), lambda v: {(): 0.0}, 0, 0, empty=True),
    }  # fmt: skip


def panels() -> dict[tuple[str, str, str], Expected]:
    """All panels' expressions by dashboard, title and letter."""
    boards = {"glasspool-overview": overview(), "glasspool-executor": drilldown(), "glasspool-runtime": runtime()}
    return {(uid, *key): expected for uid, board in boards.items() for key, expected in board.items()}
