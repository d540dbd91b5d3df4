"""Executors, event loops and tasks as they are shown, checked: what comes from elsewhere may be anything."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any

from glasspool._doctor.words import plain

__all__ = ["LoopRow", "Row", "TaskRow", "Unreadable", "Warned"]

_LONGEST = 200
"""Characters of a name or sentence."""


class Unreadable(ValueError):
    """JSON that is not of the kind that this version reads.

    :param problem: what is wrong with it.
    :param fix: what to do.
    """

    def __init__(self, problem: str, fix: str = "Update glasspool here or there.") -> None:
        super().__init__(problem)
        self.fix = fix


@contextmanager
def _expected(what: str) -> Generator[None, None, None]:
    """Raise ``Unreadable`` if what is read within is not of the expected kind."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"{what} is not as expected: {type(error).__name__}") from error


@dataclass(frozen=True)
class Warned:
    """Something that is wrong. ``bad``: more than a note."""

    bad: bool
    text: str
    runbook: str

    @classmethod
    def of(cls, found: Any) -> Warned:
        """From JSON."""
        return cls(_text(found["level"]) == "warning", _text(found["text"]), _text(found["runbook_url"]))


@dataclass(frozen=True)
class Bounded:
    """So many of at most so many (None: unbounded or unknown), and the age of the oldest in seconds."""

    size: float
    most: float | None
    age: float | None

    @property
    def share(self) -> float:
        """How full it is, from 0 to 1; 0 without a bound."""
        return min(1.0, self.size / self.most) if self.most else 0.0


@dataclass(frozen=True)
class Row:
    """One executor. Seconds, and counts of the last ``window`` seconds (None: since the process began)."""

    source: str
    process: str
    type: str
    name: str
    slots: Bounded | None
    queue: Bounded | None
    blocked: float
    active: float
    oldest: float
    abandoned: float
    wait: Mapping[str, float | None]
    run: Mapping[str, float | None]
    started: float | None
    finished: float | None
    counts: Mapping[str, float]
    window: float | None
    held: Mapping[str, float]
    spark: tuple[float, ...]
    warnings: tuple[Warned, ...]
    pressure: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from all others."""
        return self.source, self.process, self.type, self.name

    @property
    def place(self) -> str:
        """Its process, in short."""
        return _place(self.source, self.process)

    @classmethod
    def of(cls, source: str, found: Any, process: str = "") -> Row:
        """From an executor of ``/live.json``.

        :raises Unreadable: it is none.
        """
        with _expected("an executor"):
            recent, producers, rates = found["recent"], found["producers"], found["recent"]["per_second"]
            return cls(
                source, process or _text(str(found["process"])), _text(found["type"]), _text(found["name"]),
                _bounded(found["slots"], "used", "limit", "full_for"),
                _bounded(found["queue"], "size", "capacity", "oldest_age"),
                0.0 if producers is None else _number(producers["blocked"]),
                _number(found["active"]), _number(found["oldest_task_age"]), _number(found["abandoned"]),
                {key: _optional(recent["wait"][key]) for key in ("p50", "p95", "p99")},
                {key: _optional(recent["run"][key]) for key in ("p50", "p95", "p99")},
                None if rates is None else _number(rates["started"]),
                None if rates is None else _number(rates["finished"]),
                {_text(key): _number(value) for key, value in recent["counts"].items()},
                _optional(recent["window"]),
                {_text(key): _number(value) for key, value in found["held"].items()},
                tuple(map(_number, found["spark"]["slots"])),
                tuple(map(Warned.of, found["warnings"])), _number(found["pressure"]),
            )  # fmt: skip

    def count(self, name: str) -> float:
        """A count of the window; 0 where it is not known."""
        return self.counts.get(name, 0.0)


@dataclass(frozen=True)
class LoopRow:
    """One event loop. ``delay`` is its 99th percentile, in seconds."""

    source: str
    process: str
    name: str
    stall: float
    delay: float | None
    warnings: tuple[Warned, ...]

    @classmethod
    def of(cls, source: str, found: Any, process: str = "") -> LoopRow:
        """From an event loop of ``/live.json``.

        :raises Unreadable: it is none.
        """
        with _expected("an event loop"):
            return cls(
                source, process or _text(str(found["process"])), _text(found["name"]), _number(found["stall"]),
                _optional(found["delay"]["p99"]), tuple(map(Warned.of, found["warnings"])),
            )  # fmt: skip


@dataclass(frozen=True)
class TaskRow:
    """One task. ``stack``: file, line and function, the outermost call first; None if it is not known."""

    source: str
    process: str
    type: str
    executor: str
    id: str
    name: str
    state: str
    age: float
    waited: float | None
    runner: str
    thread: str
    trace_id: str
    stack: tuple[tuple[str, int, str], ...] | None
    awaiting: str

    @property
    def from_process(self) -> str:
        """Its process, in short."""
        return _place(self.source, self.process)

    @property
    def place(self) -> str:
        """The innermost call, in short; empty if it is not known."""
        if not self.stack:
            return ""
        file, line, function = self.stack[-1]
        return f"{function} {file.replace(chr(92), '/').rpartition('/')[2]}:{line}"

    @classmethod
    def of(cls, source: str, found: Any) -> TaskRow:
        """From a task of ``/tasks.json``.

        :raises Unreadable: it is none.
        """
        with _expected("a task"):
            thread, stack = found["thread"], found["stack"]
            return cls(
                source, _text(str(found["process"])), _text(found["type"]), _text(found["executor"]),
                "" if found["id"] is None else _text(str(found["id"])), _text(found["name"]), _text(found["state"]),
                _number(found["age"]), _optional(found["waited"]), _text(found["runner"]),
                "" if thread is None else _text(str(thread["name"] or thread["id"])), _text(found["trace_id"] or ""),
                None if stack is None else tuple(
                    (_text(frame["file"]), int(frame["line"]), _text(frame["function"])) for frame in stack
                ), _text(found["awaiting"] or ""),
            )  # fmt: skip


def _place(source: str, process: str) -> str:
    """A name says which of a page's processes it is; a number belongs to a port."""
    if not process.isdecimal():
        return process
    address = source.partition("://")[2].removesuffix("/metrics")
    return address if process == "0" else f"{address} {process}"


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise TypeError
    return plain(found, _LONGEST)


def _number(found: Any) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise TypeError
    if not isfinite(found):
        raise ValueError
    return float(found)


def _optional(found: Any) -> float | None:
    return None if found is None else _number(found)


def _bounded(found: Any, size: str, most: str, age: str) -> Bounded | None:
    return None if found is None else Bounded(_number(found[size]), _optional(found[most]), _optional(found[age]))
