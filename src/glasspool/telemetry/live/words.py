"""What is wrong with an executor or an event loop, in words, each with the runbook that says what to do."""

from __future__ import annotations

from typing import Any

__all__ = ["RUNBOOKS", "duration", "number", "of_executor", "of_loop"]

RUNBOOKS = "https://github.com/glasspool/glasspool/blob/main/docs/runbooks"
"""Where the runbooks are read."""

_FULL_SECONDS = 5.0
"""A burst fills an executor for a moment, and that is nothing to say a word about."""

_STALL_SECONDS = 0.1
_BLOCKED_SECONDS = 1.0
_PRODUCER_SECONDS = 1.0
_STUCK_SECONDS = 10.0
_CANCEL_SECONDS = 5.0
_QUEUE_FILL = 0.9
_ERROR_RATIO = 0.05
_FEWEST = 10
"""Ends of tasks from which on a share of them says something."""

Warning = dict[str, Any]


def duration(seconds: float) -> str:
    """Seconds as people say them: ``0.3 s``, ``40 s``, ``5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def number(count: float, what: str) -> str:
    """So many of them: ``1 task``, ``2 tasks``."""
    return f"{count:g} {what}" if count == 1 else f"{count:g} {what}s"


def of_executor(shown: dict[str, Any]) -> list[Warning]:
    """What is wrong with an executor, as ``/live.json`` shows it; the worst first.

    :param shown: its figures, by the names that ``/live.json`` has.
    """
    slots, queue, producers, recent = shown["slots"], shown["queue"], shown["producers"], shown["recent"]
    found: list[Warning] = []
    oldest, size = (queue["oldest_age"], queue["size"]) if queue is not None else (0.0, 0)
    if queue is not None and size and min(oldest, queue["idle_for"]) >= _STUCK_SECONDS and not shown["held"]:
        lasted = _lasting(queue["idle_for"], at_least=queue["idle_at_least"])
        found.append(_bad(f"nothing has started for {lasted}", "not-starting"))
    if size and slots is not None and slots["full_for"] is not None and slots["full_for"] >= _FULL_SECONDS:
        lasted = _lasting(slots["full_for"], at_least=slots["full_at_least"])
        found.append(_bad(f"full for {lasted}", "saturated"))
    if producers is not None and producers["blocked"] and producers["oldest_age"] >= _PRODUCER_SECONDS:
        who = number(producers["blocked"], "producer")
        found.append(_bad(f"{who} blocked for {duration(producers['oldest_age'])}", "producers-stuck"))
    if queue is not None and queue["capacity"] and size >= _QUEUE_FILL * queue["capacity"]:
        found.append(_bad(f"queue {size:g} of {queue['capacity']:g} full", "queue-filling"))
    found += _of_tasks(shown)
    found += _of_services(shown["services"], recent["window"])
    found += _of_ends(recent)
    return found


def _of_tasks(shown: dict[str, Any]) -> list[Warning]:
    found: list[Warning] = []
    if shown["abandoned"]:
        found.append(_bad(f"{number(shown['abandoned'], 'thread')} abandoned", "abandoned-threads"))
    cancelling = shown["cancelling"]
    if cancelling["tasks"] and cancelling["oldest_age"] >= _CANCEL_SECONDS:
        who = number(cancelling["tasks"], "task")
        age = duration(cancelling["oldest_age"])
        found.append(_bad(f"{who} asked to end {age} ago, and not ended", "cancel-not-obeyed"))
    for overdue in shown["overdue"]:
        name = overdue["name"] or "a task"
        found.append(_bad(f"{name} has run for {duration(overdue['age'])}, longer than any before", "task-stuck"))
    for reason, runbook in (("pause", "pause-lasts"), ("limit", "limit-starved")):
        held = shown["held"].get(reason)
        if held and shown["queue"] is not None and shown["queue"]["oldest_age"] >= _STUCK_SECONDS:
            found.append(_note(f"{number(held, 'task')} held by a {reason}", runbook))
    return found


def _of_services(services: dict[str, Any], window: float | None) -> list[Warning]:
    found = [_bad(f"service {name} has failed, and is gone", "service-gone") for name in services["failed"]]
    for name, count in services["restarted"].items():
        said = f"service {name} was restarted {count:g} times" if count > 1 else f"service {name} was restarted"
        found.append(_note(f"{said} in the last {duration(window or 0.0)}", "service-restarting"))
    return found


def _of_ends(recent: dict[str, Any]) -> list[Warning]:
    if recent["window"] is None:
        return []
    found: list[Warning] = []
    counts, span = recent["counts"], f"in the last {duration(recent['window'])}"
    ended = counts["finished"]
    if ended >= _FEWEST and counts["errors"] + counts["timeouts"] > _ERROR_RATIO * ended:
        share = (counts["errors"] + counts["timeouts"]) / ended
        found.append(_bad(f"{share:.0%} of tasks failed {span}", "error-ratio"))
    if ended >= _FEWEST and counts["cancellations"] > ended / 2:
        found.append(_bad(f"{counts['cancellations'] / ended:.0%} of tasks cancelled {span}", "cancel-storm"))
    if counts["given_up"]:
        who = number(counts["given_up"], "task")
        found.append(_bad(f"{who} not retried {span}: the retry budget was spent", "retry-budget-spent"))
    if counts["rejected"]:
        found.append(_note(f"{number(counts['rejected'], 'submission')} rejected {span}", "rejecting"))
    if counts["late"]:
        found.append(_note(f"{number(counts['late'], 'task')} waited too long {span}", "wait-objective-burning"))
    if counts["context_losses"]:
        found.append(_note(f"{number(counts['context_losses'], 'trace context')} lost {span}", "context-losses"))
    return found


def of_loop(stall: float, longest: tuple[float | None, float | None], window: float | None) -> list[Warning]:
    """What is wrong with an event loop.

    :param stall: seconds for which it is blocked now.
    :param longest: between which bounds its longest delay in the window was; the upper one is None if it has none, and
        both are if there was no delay.
    :param window: seconds that this is of; None if that is not known.
    """
    if stall >= _STALL_SECONDS:
        return [_bad(f"loop blocked for {duration(stall)}", "event-loop-blocked")]
    least, most = longest
    if least is None or window is None or (most is not None and most < _BLOCKED_SECONDS):
        return []
    lasted = f"more than {duration(least)}" if most is None else f"{duration(least)} to {duration(most)}"
    return [_note(f"loop was blocked for {lasted} in the last {duration(window)}", "event-loop-blocked")]


def _lasting(seconds: float, *, at_least: bool) -> str:
    return f"at least {duration(seconds)}" if at_least else duration(seconds)


def _bad(text: str, runbook: str) -> Warning:
    return _said("warning", text, runbook)


def _note(text: str, runbook: str) -> Warning:
    return _said("note", text, runbook)


def _said(level: str, text: str, runbook: str) -> Warning:
    return {"level": level, "text": text, "runbook": runbook, "runbook_url": f"{RUNBOOKS}/{runbook}.md"}
