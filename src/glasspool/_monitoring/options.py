"""The options of the rules: objectives, thresholds, windows, minimum traffic, links. Checked at construction."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

from glasspool.telemetry.catalog import EVENTLOOP_DELAY, QUEUE_WAIT, REJECT_REASONS, Metric

from .expressions import bound

__all__ = ["LONG_FACTOR", "PAGE_FACTOR", "TICKET_FACTOR", "OptionError", "RuleOptions", "flag", "seconds"]

PAGE_FACTOR = 14.4
"""Consumes 2 % of a month's error budget in an hour."""

LONG_FACTOR = 6.0
"""Consumes 5 % of a month's error budget in six hours."""

TICKET_FACTOR = 1.0
"""Consumes the budget exactly within its period."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class OptionError(ValueError):
    """An option has an invalid value. ``option`` is its name, ``problem`` says what is wrong and what is valid."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option = option
        self.problem = problem


def seconds(duration: str) -> int:
    """Seconds of a Prometheus duration of one number and one unit (``90s``, ``5m``, ``3d``)."""
    found = re.fullmatch(r"(\d+)([smhd])", duration)
    if not found:
        raise ValueError(f"{duration!r} is no duration: write a number and one of s, m, h, d, such as '5m'")
    return int(found[1]) * _UNITS[found[2]]


def flag(name: str) -> str:
    """The command-line option for this field; an option that may be repeated has a singular name."""
    singular = {"wait_objectives": "wait_objective", "reject_reasons": "reject_reason"}
    return "--" + singular.get(name, name).replace("_", "-")


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class RuleOptions:
    """Arguments of the rules. Raises OptionError for an invalid value; each field's help describes it.

    Ratios are between 0 and 1, ages in seconds, floors in tasks; a floor is the number of tasks below which an executor
    raises no alert.
    """

    wait_objectives: tuple[tuple[str, float], ...] = _option(
        (),
        "Wait objective for executors that declare none, by name: a regular expression that matches the whole name, and"
        " the seconds that a task may wait, a bucket bound of the wait histogram. For example 'web-.*=0.5'.",
    )
    in_time_share: float = _option(0.99, "Share of tasks that must start within the wait objective.")
    wait_floor: int = _option(
        50, "Tasks that must have waited in the long window before an alert on an objective can fire."
    )
    saturated_share: float = _option(0.9, "Share of time at the limit above which a limiter or executor is saturated.")
    saturated_window: str = _option("5m", "How long it must be saturated, with tasks waiting at every sample.")
    queue_fill: float = _option(0.8, "Share of the queue's places above which it is filling.")
    producer_seconds: float = _option(60.0, "Seconds that a producer may be blocked in submit.")
    pause_window: str = _option("10m", "How long tasks must have been held by a pause, at every sample.")
    starved_window: str = _option(
        "15m",
        "How long every permit of a limit must have been in use, with tasks held at every sample and none of them"
        " started; longer than the tasks under any limit run.",
    )
    service_window: str = _option("5m", "How long a service that was started must not have been ready, to be gone.")
    restarts_floor: int = _option(3, "Crashes of a service, after which it was started again, within the event window.")
    stall_seconds: float = _option(1.0, "Seconds that an event loop may be blocked at a time.")
    tick_seconds: float = _option(
        0.1, "Seconds that a timer of the event loop may be late; a bucket bound of the delay histogram."
    )
    late_ticks: float = _option(0.01, "Share of timers that may be later than that.")
    task_seconds: float = _option(300.0, "Seconds that a task must have run before it can be stuck; at least 60.")
    task_factor: float = _option(10.0, "How many times longer than any earlier run a stuck task has run.")
    long_lived: str = _option(
        "", "Regular expression of the executors whose tasks may run without limit; their tasks are never stuck."
    )
    cancel_seconds: float = _option(60.0, "Seconds that a task may take to end after it was asked to.")
    error_ratio: float = _option(0.05, "Share of errors and timeouts in the tasks that were not cancelled.")
    cancel_ratio: float = _option(
        0.2, "Share of cancellations without a request (other than explicit and shutdown) in all tasks that ended."
    )
    ratio_floor: int = _option(20, "Tasks that must have ended within five minutes before a ratio is evaluated.")
    reject_reasons: tuple[str, ...] = _option(
        # A producer that gives up (submit_cancelled) is not a fault of the executor.
        tuple(reason for reason in REJECT_REASONS if reason != "submit_cancelled"),
        "Reasons of refusals that raise an alert.",
    )
    event_window: str = _option("15m", "How long an alert on a rare event stays active after the last event.")
    long_interval: str = _option(
        "1m", "Evaluation interval of the wait objective's rules; the three-day window counts their samples."
    )
    grafana_url: str = _option("", "Address of Grafana. Alerts link to its dashboards only if it is set.")
    runbook_url: str = _option(
        "https://github.com/glasspool/glasspool/blob/main/docs/runbooks", "Address of the runbook pages."
    )

    def __post_init__(self) -> None:
        for name in ("in_time_share", "saturated_share", "queue_fill", "late_ticks", "error_ratio", "cancel_ratio"):
            self._require(name, 0 < getattr(self, name) < 1, "must lie between 0 and 1, both excluded")
        if self.budget * PAGE_FACTOR >= 1:
            raise OptionError(
                "in_time_share",
                f"{self.in_time_share!r} could never page: {PAGE_FACTOR} times its budget is more than every task;"
                f" choose more than {1 - 1 / PAGE_FACTOR:.3f}",
            )
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name.endswith("_seconds"):
                self._require(each.name, value > 0 and isfinite(value), "must be above 0 and finite")
            elif each.name.endswith("_floor"):
                self._require(each.name, value >= 1, "must be at least 1")
            elif each.name.endswith(("_window", "_interval")):
                self._duration(each.name)
            elif each.name.endswith("_url"):
                self._address(each.name)
        self._require("task_seconds", self.task_seconds >= 60, "must be at least 60: no younger task is looked at")
        self._require("task_factor", self.task_factor >= 1 and isfinite(self.task_factor), "must be at least 1")
        self._bound("tick_seconds", EVENTLOOP_DELAY, self.tick_seconds)
        self._pattern("long_lived", self.long_lived)
        for pattern, limit in self.wait_objectives:
            self._require("wait_objectives", bool(pattern), "a name is missing: write NAME=SECONDS")
            self._pattern("wait_objectives", pattern)
            self._bound("wait_objectives", QUEUE_WAIT, limit)
        unknown = sorted(set(self.reject_reasons) - set(REJECT_REASONS))
        known = ", ".join(REJECT_REASONS)
        self._require("reject_reasons", bool(self.reject_reasons) and not unknown, f"must be among {known}")

    @property
    def budget(self) -> float:
        """Share of tasks that may start late."""
        return round(1 - self.in_time_share, 9)

    def lines(self) -> dict[str, float]:
        """The thresholds that dashboards draw, by name."""
        return {
            "budget": self.budget,
            "page_burn": round(self.budget * PAGE_FACTOR, 9),
            "saturated_share": self.saturated_share,
            "queue_fill": self.queue_fill,
            "producer_seconds": self.producer_seconds,
            "task_seconds": self.task_seconds,
            "cancel_seconds": self.cancel_seconds,
            "stall_seconds": self.stall_seconds,
            "tick_seconds": self.tick_seconds,
            "error_ratio": self.error_ratio,
        }

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise OptionError(name, f"{rule}; got {getattr(self, name)!r}")

    def _duration(self, name: str) -> None:
        try:
            holds = seconds(getattr(self, name)) > 0
        except ValueError as error:
            raise OptionError(name, str(error)) from None
        self._require(name, holds, "must be above 0")

    def _address(self, name: str) -> None:
        address: str = getattr(self, name)
        parts = urlsplit(address)
        right = not address or (parts.scheme in ("http", "https") and bool(parts.hostname))
        self._require(name, right, "must be an address such as https://grafana.example.org")

    def _bound(self, name: str, metric: Metric, limit: float) -> None:
        try:
            bound(metric, limit)
        except ValueError as error:
            raise OptionError(name, str(error)) from None

    def _pattern(self, name: str, pattern: str) -> None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise OptionError(name, f"{pattern!r} is no regular expression: {error}") from None
        if re.search(r"\(\?(?:[=!]|<[=!]|P=|\()|\\[1-9]", pattern):
            raise OptionError(
                name, f"{pattern!r}: Prometheus has neither look-around nor back references; spell it out"
            )
