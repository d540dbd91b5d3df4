"""How figures read: ``412 of 1,000``, ``35.2/s``, ``0:17 left``, ``20 in flight``."""

from __future__ import annotations

from collections.abc import Callable

from .bar import Figures

__all__ = ["fitting", "sentence", "spoken"]

_DROPPED_FIRST = ("share", "queued", "in flight", "retries", "rate", "time", "errors")
_ENDLESS = 100 * 86400.0  # seconds: who is told of a hundred days is told nothing


def spoken(figures: Figures) -> dict[str, str]:
    """Each figure that there is, by its kind, in the order in which they are shown."""
    done, total = f"{figures.done:,}", figures.total
    parts = {
        "count": f"{done} done" if total is None else f"{done} of {total:,}",
        "share": "" if not total else f"{figures.done / total:.0%}",
        "rate": _rate(figures.rate),
        "time": _time(figures),
        "in flight": f"{figures.in_flight:,} in flight" if figures.in_flight else "",
        "queued": f"{figures.queued:,} queued" if figures.queued else "",
        "errors": _counted(figures.errors, "error", "errors"),
        "retries": _counted(figures.retries, "retry", "retries"),
        "end": "ended early" if figures.ended and not figures.complete else "",
    }
    return {kind: text for kind, text in parts.items() if text}


def sentence(figures: Figures) -> str:
    """All figures in one line, however long."""
    text = ", ".join(spoken(figures).values())
    return f"{figures.description}: {text}" if figures.description else text


def fitting(parts: dict[str, str], fits: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """The parts without the least important ones, so that they fit; if nothing helps, the count alone."""
    kept = dict(parts)
    for kind in (*_DROPPED_FIRST, "end"):
        if fits(kept):
            break
        kept.pop(kind, None)
    return kept


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}" if number else ""


def _rate(rate: float | None) -> str:
    if rate is None:
        return ""
    for seconds, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if rate * seconds >= 1 or unit == "h":
            number = rate * seconds
            return f"{number:,.0f}/{unit}" if number >= 100 else f"{number:.1f}/{unit}"
    raise AssertionError("the last unit fits every rate")


def _time(figures: Figures) -> str:
    if figures.ended or figures.left is None:
        spent = f"{figures.elapsed:.1f} s" if figures.elapsed < 10 else _clock(figures.elapsed)
        return f"in {spent}" if figures.ended else spent
    return f"{_clock(figures.left)} left" if figures.left < _ENDLESS else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
