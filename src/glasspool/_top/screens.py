"""``glasspool top`` on a terminal: all executors; one executor; tasks and where they are."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import ClassVar, cast

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input, Static

from glasspool.telemetry.live.words import number

from .report import by_age, by_pressure, limited, loop_line, stacks
from .rows import Row, TaskRow
from .source import Look, Source, Tasks
from .table_view import TableView, WithoutColours, style_of
from .tables import EXECUTOR_COLUMNS, TASK_COLUMNS, bars, count, of, seconds

__all__ = ["TopApp"]

_SPARK = 60
"""Points of the line of slots in use."""


class Overview(Screen[None]):
    """All executors, in an order that is chosen, as far as they match the filter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("enter", "open", "Open", show=True),
        Binding("t", "tasks", "Tasks"),
        Binding("p", "pause", "Pause"),
        Binding("q", "app.quit", "Quit"),
        Binding("escape", "clear", "Clear the filter", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._looks: Sequence[Look] = ()
        self._sorted = len(EXECUTOR_COLUMNS) - 1  # by pressure
        self._reversed = False
        self._filter = ""
        self._view: TableView[Row] = TableView(EXECUTOR_COLUMNS)

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield Static(id="head", markup=False)
        yield Input(placeholder="part of a name, type or process", id="filter")
        yield self._view
        yield Static(id="below", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """See Textual."""
        self.query_one("#filter").display = False
        self._view.focus()
        self._show()

    def show(self, looks: Sequence[Look]) -> None:
        """Show what the addresses have shown."""
        self._looks = looks
        if self.is_mounted:
            self._show()

    def _show(self) -> None:
        rows = [row for row in by_pressure(self._looks) if self._filter in " ".join(row.key).lower()]
        column = EXECUTOR_COLUMNS[self._sorted]
        if column.by is not None:
            rows.sort(key=column.by, reverse=column.right or self._sorted == len(EXECUTOR_COLUMNS) - 1)
        if self._reversed:
            rows.reverse()
        self._view.show(rows, [row.key for row in rows])
        parts = [time.strftime("%H:%M:%S"), number(len(rows), "executor"), f"by {column.title}"]
        parts += [f"filter {self._filter!r}"] if self._filter else []
        parts += ["paused"] if _top(self).paused else []
        self.query_one("#head", Static).update(Text("  ".join(("glasspool top", *parts))))
        self.query_one("#below", Static).update(_below(self._looks))

    def action_sort(self) -> None:
        """Sort by the next column that is shown."""
        shown = [EXECUTOR_COLUMNS.index(column) for column in self._view.shown]
        self._sorted = next((index for index in shown if index > self._sorted), shown[0] if shown else 0)
        self._show()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._reversed = not self._reversed
        self._show()

    def action_filter(self) -> None:
        """Ask for a filter."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_clear(self) -> None:
        """Show everything again."""
        self._filter = self.query_one("#filter", Input).value = ""  # the event that the input is empty comes later
        self._leave_filter()

    def action_pause(self) -> None:
        """Look no more, or again."""
        _top(self).paused = not _top(self).paused
        self._show()

    def action_open(self) -> None:
        """Open the executor under the cursor."""
        row = self._view.current
        if row is not None:
            _top(self).push_screen(Detail(row))

    def action_tasks(self) -> None:
        """Show the oldest tasks of all executors."""
        _top(self).push_screen(Detail(None))

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        """See Textual."""
        self.action_open()

    def on_input_changed(self, event: Input.Changed) -> None:
        """See Textual."""
        self._filter = event.value.lower()
        self._show()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """See Textual."""
        self._leave_filter()

    def _leave_filter(self) -> None:
        self.query_one("#filter").display = bool(self._filter)
        self._view.focus()


class Detail(Screen[None]):
    """One executor, or all, with the oldest tasks; below them where the task under the cursor is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back"),
        Binding("p", "pause", "Pause"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, row: Row | None) -> None:
        super().__init__()
        self._row = row
        self.executor = None if row is None else row.name
        self._view: TableView[TaskRow] = TableView(TASK_COLUMNS)

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield Static(id="head", markup=False)
        yield self._view
        yield VerticalScroll(Static(id="stack", markup=False), id="where")
        yield Footer()

    def on_mount(self) -> None:
        """See Textual."""
        self._view.focus()
        self._show_row("")
        _top(self).look(anew=True)

    def show(self, looks: Sequence[Look], found: Sequence[Tasks]) -> None:
        """Show what the addresses have shown."""
        if not self.is_mounted:
            return
        if self._row is not None:
            self._row = next((row for look in looks for row in look.rows if row.key == self._row.key), self._row)
        self._show_row("".join(f"\n{each.said}" for each in limited(found) if not each.trouble and each.note))
        own = [task for task in by_age(found) if self._row is None or _is_of(task, self._row)]
        # What has no id is told from the others by its place.
        keys = [(task.source, task.process, task.state, task.id or (task.name, n)) for n, task in enumerate(own)]
        self._view.show(own, keys, hidden=() if self._row is None else ("executor",))
        self._show_stack("\n".join(each.said for each in found if each.trouble))

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """See Textual."""
        self._show_stack("")

    def action_pause(self) -> None:
        """Look no more, or again."""
        _top(self).paused = not _top(self).paused

    def _show_stack(self, trouble: str) -> None:
        task = self._view.current
        text = trouble if task is None else "\n".join(stacks([task]))
        self.query_one("#stack", Static).update(Text(text or "no task"))

    def _show_row(self, notes: str) -> None:
        row = self._row
        about = Text("the oldest tasks of all executors") if row is None else _about(row)
        about.append(notes, "dim")
        self.query_one("#head", Static).update(about)


class TopApp(App[None]):
    """The program.

    :param sources: the addresses.
    :param interval: seconds between two looks.
    """

    CSS = """
    #head, #below { height: auto; padding: 0 1; }
    #below { max-height: 40%; }
    #filter { height: 3; }
    TableView { height: 1fr; }
    TableView:nocolor > .datatable--cursor, Input:nocolor > .input--cursor { text-style: reverse; }
    #where { height: 1fr; border-top: solid $primary; padding: 0 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    # It comes before the bindings by which what is selected or written in a field is copied.
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "quit", show=False, priority=True)]

    def __init__(self, sources: Sequence[Source], interval: float) -> None:
        # With NO_COLOR, Textual turns all colours into greys, unless they are the terminal's own: then it drops them.
        super().__init__(ansi_color="NO_COLOR" in os.environ or None)
        self._sources = sources
        self._interval = interval
        self._pool = ThreadPoolExecutor(len(sources), thread_name_prefix="glasspool-top")
        self._overview = Overview()
        self._looking = self._again = False
        self.paused = False
        self._unshown = {source.shown: Look(source.shown, trouble="it has not answered yet") for source in sources}

    @property
    def unshown(self) -> list[Look]:
        """The last answers of the addresses that have shown nothing from beginning to end."""
        return list(self._unshown.values())

    def on_load(self) -> None:
        """See Textual. From here on signals that end a program give the terminal back first."""
        end = partial(self._signalled, asyncio.get_running_loop())
        for name in ("SIGTERM", "SIGHUP"):  # there is no SIGHUP on Windows
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, end)

    def _signalled(self, loop: asyncio.AbstractEventLoop, number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        try:
            os.get_terminal_size(1)
            loop.call_soon_threadsafe(self.exit)
        except (OSError, RuntimeError):  # there is no terminal any more, or it has been given back
            os.kill(os.getpid(), number)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """See Textual. Its own filter writes the codes of the terminal's default colours."""
        filters = super().get_line_filters()
        return [*filters, WithoutColours()] if self.no_color else filters

    def on_mount(self) -> None:
        """See Textual."""
        self.push_screen(self._overview)
        self.set_interval(self._interval, self.look)
        self.look()

    def look(self, *, anew: bool = False) -> None:
        """Ask all addresses, unless they are being asked; ``anew``: then once more, also if it is paused."""
        if self._looking:
            self._again = self._again or anew
        elif anew or not self.paused:
            self._looking = True
            detail = self.screen if isinstance(self.screen, Detail) else None
            self.run_worker(lambda: self._ask(detail), thread=True)

    def _ask(self, detail: Detail | None) -> None:
        looks = list(self._pool.map(Source.look, self._sources))
        tasks: list[Tasks] = []
        if detail is not None:
            tasks = list(self._pool.map(partial(Source.tasks, executor=detail.executor), self._sources))
        self.call_from_thread(self._show, looks, tasks, detail)

    def _show(self, looks: Sequence[Look], tasks: Sequence[Tasks], detail: Detail | None) -> None:
        again, self._looking, self._again = self._again, False, False
        for look in looks:
            if not look.trouble:
                self._unshown.pop(look.source, None)
            elif look.source in self._unshown:
                self._unshown[look.source] = look
        self._overview.show(looks)
        if detail is not None and detail is self.screen:
            detail.show(looks, tasks)
        if again:
            self.look(anew=True)


def _top(screen: Screen[None]) -> TopApp:
    return cast("TopApp", screen.app)  # pyright: ignore[reportUnknownMemberType]


def _is_of(task: TaskRow, row: Row) -> bool:
    return (task.source, task.process, task.type, task.executor) == row.key


def _below(looks: Sequence[Look]) -> Text:
    """Addresses that show nothing, notes, and the event loops."""
    text = Text()
    for look in looks:
        if look.said:
            text.append(f"{look.said}\n", "bold red" if look.trouble else "dim")
        for loop in look.loops:
            text.append(loop_line(loop))
            for warned in loop.warnings:
                text.append(f"  {warned.text}", style_of([warned]))
            text.append("\n")
    text.rstrip()
    return text


def _about(row: Row) -> Text:
    """One executor in words."""
    text = Text(f"{row.name}", "bold")
    text.append(f"  {row.type}  {row.source} {row.process}\n", "dim")
    span = "since it began" if row.window is None else f"in the last {seconds(row.window)}"
    ends = [f"{count(row.count(key))} {word}" for key, word in (
        ("succeeded", "succeeded"), ("errors", "failed"), ("timeouts", "timed out"), ("cancellations", "cancelled"),
        ("rejected", "rejected"), ("retries", "retry" if row.count("retries") == 1 else "retries"),
    ) if row.count(key)]  # fmt: skip
    lines = [
        f"slots {of(row.slots) or count(row.active)}  queue {of(row.queue) or '-'}  running {count(row.active)}, "
        f"the oldest for {seconds(row.oldest)}",
        "  ".join(f"{what} " + "/".join(seconds(found[key]) or "-" for key in ("p50", "p95", "p99"))
                  for what, found in (("wait p50/p95/p99", row.wait), ("run p50/p95/p99", row.run))),
        f"{span}: {', '.join(ends) or 'nothing ended'}",
    ]  # fmt: skip
    if row.slots is not None and len(row.spark) > 1:
        lines.append(f"slots in use, up to now {bars(row.spark[-_SPARK:], row.slots.most)}")
    held = [f"{count(value)} by {reason}" for reason, value in row.held.items()]
    lines += [f"held: {', '.join(held)}"] if held else []
    text.append("\n".join(lines))
    for warned in row.warnings:
        text.append(f"\n{warned.text}", style_of([warned]))
        text.append(f"  {warned.runbook}", "dim")
    return text
