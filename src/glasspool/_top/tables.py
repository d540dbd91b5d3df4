"""Executors and tasks as tables of text, with as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.cells import cell_len, set_cell_size

from glasspool.telemetry.live.words import duration

from .rows import Bounded, Row, TaskRow

__all__ = [
    "EXECUTOR_COLUMNS",
    "TASK_COLUMNS",
    "Column",
    "Table",
    "cut",
    "executor_table",
    "layout",
    "seconds",
    "task_table",
]

R = TypeVar("R", Row, TaskRow)

_BARS = "▁▂▃▄▅▆▇█"

_GAP = 2
"""Spaces between columns."""

_LESSER = 9
"""Columns of this rank and above have only what room the others leave."""

_READABLE = 40
"""How wide the others may become before that."""


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column. ``rank``: the lower, the later it is left out when there is little room. ``width``: to which it may be
    cut."""

    title: str
    rank: int
    width: int
    text: Callable[[R], str]
    right: bool = True
    by: Callable[[R], float | str] | None = None
    """What rows are sorted by."""


@dataclass(frozen=True)
class Table:
    """Titles and cells, with the columns that are aligned to the right."""

    titles: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]

    def lines(self, width: int | None = None) -> list[str]:
        """The table as lines of at most this width; None: as wide as it is."""
        widths = [max(map(cell_len, column)) for column in zip(self.titles, *self.cells, strict=True)]
        made: list[str] = []
        for row in (self.titles, *self.cells):
            parts = [_padded(cell, size, right) for cell, size, right in zip(row, widths, self.right, strict=True)]
            made.append(cut("  ".join(parts).rstrip(), width))
        return made


def cut(line: str, width: int | None) -> str:
    """The line, shortened to this many columns of a terminal."""
    return line if width is None or cell_len(line) <= width else f"{set_cell_size(line, width - 1).rstrip()}…"


def _padded(cell: str, size: int, right: bool) -> str:
    space = " " * (size - cell_len(cell))
    return space + cell if right else cell + space


def count(value: float | None) -> str:
    """A count, in few characters: ``950``, ``12.3k``, ``4.0M``."""
    if value is None:
        return ""
    for bound, unit in ((1e3, ""), (1e6, "k"), (1e9, "M"), (1e12, "G")):
        if abs(value) < bound * 0.9995:
            scaled = value / (bound / 1e3)
            return f"{scaled:.1f}{unit}" if unit or scaled != int(scaled) else f"{scaled:.0f}"
    return f"{value:.1e}"


def seconds(value: float | None) -> str:
    """Seconds, in few characters; empty if unknown."""
    if value is None:
        return ""
    if value < 0.9995:
        return f"{value * 1000:.3g} ms"
    return duration(value)


def of(found: Bounded | None) -> str:
    """``3/8``; ``3`` without a bound; empty without a figure."""
    if found is None:
        return ""
    return count(found.size) if found.most is None else f"{count(found.size)}/{count(found.most)}"


def bars(values: Sequence[float], most: float | None) -> str:
    """The values as bars, of which the highest is ``most``, or the greatest of them."""
    top = most or max(values) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(max(0.0, value) / top * (len(_BARS) - 1)))] for value in values)


def _age(found: Bounded | None) -> str:
    return seconds(found.age) if found is not None and found.size else ""


def _some(value: float) -> str:
    return count(value) if value else ""


def _said(row: Row) -> str:
    return "; ".join(warned.text for warned in row.warnings)


def _filled(found: Bounded | None) -> float:
    return -1.0 if found is None else found.share


EXECUTOR_COLUMNS: tuple[Column[Row], ...] = (
    Column("executor", 0, 12, lambda row: row.name, right=False, by=lambda row: row.name),
    Column("type", 11, 12, lambda row: row.type, right=False, by=lambda row: row.type),
    Column("process", 10, 16, lambda row: row.place, right=False, by=lambda row: row.place),
    Column("slots", 1, 9, lambda row: of(row.slots), by=lambda row: _filled(row.slots)),
    Column("queue", 3, 9, lambda row: of(row.queue), by=lambda row: 0.0 if row.queue is None else row.queue.size),
    Column("oldest wait", 4, 11, lambda row: _age(row.queue), by=lambda row: (row.queue and row.queue.age) or 0.0),
    Column("wait p95", 6, 8, lambda row: seconds(row.wait["p95"]), by=lambda row: row.wait["p95"] or 0.0),
    Column("run p95", 7, 8, lambda row: seconds(row.run["p95"]), by=lambda row: row.run["p95"] or 0.0),
    Column("started/s", 16, 9, lambda row: count(row.started), by=lambda row: row.started or 0.0),
    Column("finished/s", 5, 10, lambda row: count(row.finished), by=lambda row: row.finished or 0.0),
    Column("errors", 8, 6, lambda row: _some(row.count("errors")), by=lambda row: row.count("errors")),
    Column("timeouts", 12, 8, lambda row: _some(row.count("timeouts")), by=lambda row: row.count("timeouts")),
    Column(
        "cancelled", 13, 9, lambda row: _some(row.count("cancellations")), by=lambda row: row.count("cancellations")
    ),
    Column("blocked", 14, 7, lambda row: _some(row.blocked), by=lambda row: row.blocked),
    Column("abandoned", 15, 9, lambda row: _some(row.abandoned), by=lambda row: row.abandoned),
    Column("what is wrong", 2, 14, _said, right=False, by=lambda row: row.pressure),
)

TASK_COLUMNS: tuple[Column[TaskRow], ...] = (
    Column("age", 1, 8, lambda task: seconds(task.age)),
    Column("state", 3, 9, lambda task: task.state, right=False),
    Column("executor", 4, 12, lambda task: task.executor, right=False),
    Column("task", 0, 12, lambda task: task.name, right=False),
    Column("id", 5, 8, lambda task: task.id),
    Column("process", 9, 16, lambda task: task.from_process, right=False),
    Column("waited", 8, 8, lambda task: seconds(task.waited)),
    Column("runner", 7, 8, lambda task: task.runner, right=False),
    Column("thread", 6, 16, lambda task: task.thread, right=False),
    Column("trace", 10, 32, lambda task: task.trace_id, right=False),
    Column("where it is", 2, 14, lambda task: task.place, right=False),
)


def layout(columns: Sequence[Column[R]], rows: Sequence[R], room: int | None) -> list[tuple[Column[R], int]]:
    """The columns that say something, and of these as many as there is room for, each with its width; None: all.

    The process says something where there is more than one.
    """
    one = len({(row.source, row.process) for row in rows}) <= 1
    needed = {column.title: max(cell_len(column.title), *(cell_len(column.text(row)) for row in rows), 0)
              for column in columns if not (one and column.title == "process")
              and (column.rank == 0 or any(column.text(row) for row in rows))}  # fmt: skip
    useful = [column for column in columns if column.title in needed]
    if room is None:
        return [(column, needed[column.title]) for column in useful]
    widths: dict[str, int] = {}
    left = room + _GAP
    ranked = sorted(useful, key=lambda column: column.rank)
    for ranks, most in ((range(_LESSER), _READABLE), (range(_LESSER, 100), room)):
        for column in ranked:
            width = min(column.width, needed[column.title])
            if column.rank in ranks and (width + _GAP <= left or column.rank <= 1):
                widths[column.title] = width
                left -= width + _GAP
        for column in ranked:  # what is left goes to those that are cut
            if column.title in widths:
                more = max(0, min(left, needed[column.title] - widths[column.title], most - widths[column.title]))
                widths[column.title] += more
                left -= more
    return [(column, widths[column.title]) for column in useful if column.title in widths]


def executor_table(rows: Sequence[Row], width: int | None = None) -> Table:
    """The executors, in the given order."""
    return _table(EXECUTOR_COLUMNS, rows, width)


def task_table(tasks: Sequence[TaskRow], width: int | None = None) -> Table:
    """The tasks, in the given order."""
    return _table(TASK_COLUMNS, tasks, width)


def _table(columns: Sequence[Column[R]], rows: Sequence[R], room: int | None) -> Table:
    chosen = layout(columns, rows, room)
    return Table(
        tuple(column.title for column, _ in chosen),
        tuple(tuple(cut(column.text(row), width) for column, width in chosen) for row in rows),
        tuple(column.right for column, _ in chosen),
    )  # fmt: skip
