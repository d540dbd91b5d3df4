"""TableView: a table on the screen that keeps its cursor and place while its rows change; and what colours it has."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Generic, TypeVar

from rich.segment import Segment
from rich.text import Text
from textual.color import Color
from textual.events import Resize
from textual.filter import LineFilter
from textual.widgets import DataTable

from .rows import Row, TaskRow, Warned
from .tables import Column, cut, layout

__all__ = ["TableView", "WithoutColours", "style_of"]

R = TypeVar("R", Row, TaskRow)


class TableView(DataTable[Text], Generic[R]):
    """The rows, in as many columns as there is room for."""

    def __init__(self, columns: Sequence[Column[R]]) -> None:
        super().__init__(cursor_type="row", zebra_stripes=True)
        self._all: Sequence[Column[R]] = columns
        self._given: tuple[Sequence[R], Sequence[Hashable], Collection[str]] = ((), (), ())
        self._keys: list[Hashable] = []
        self.shown: list[Column[R]] = []
        """The columns that are shown."""

    @property
    def current(self) -> R | None:
        """The row under the cursor; None if there is none."""
        rows = self._given[0]
        return rows[self.cursor_row] if 0 <= self.cursor_row < len(rows) else None

    def show(self, rows: Sequence[R], keys: Sequence[Hashable], *, hidden: Collection[str] = ()) -> None:
        """Show these rows, each told from the others by its key, without the columns of these titles."""
        self._given = rows, keys, hidden
        # It has no size before it is laid out. A cell has a space on each side; a scroll bar takes two columns.
        room = self.size.width - 4 if self.size.width else None
        chosen = layout([column for column in self._all if column.title not in hidden], rows, room)
        columns = [column for column, _ in chosen]
        made = [[_cell(column, row, width) for column, width in chosen] for row in rows]
        if columns == self.shown and list(keys) == self._keys:
            for number, cells in enumerate(made):
                for place, cell in enumerate(cells):
                    if self.get_cell_at((number, place)) != cell:  # type: ignore[arg-type]
                        self.update_cell_at((number, place), cell, update_width=True)  # type: ignore[arg-type]
            return
        self._rebuild(columns, made, keys)

    def _rebuild(self, columns: list[Column[R]], cells: list[list[Text]], keys: Sequence[Hashable]) -> None:
        before = self._keys[self.cursor_row] if 0 <= self.cursor_row < len(self._keys) else None
        scrolled = self.scroll_y
        self.clear(columns=True)
        for column in columns:
            self.add_column(Text(column.title, justify="right" if column.right else "left"))
        for row in cells:
            self.add_row(*row)
        self.shown, self._keys = columns, list(keys)
        if before in self._keys:
            self.move_cursor(row=self._keys.index(before), animate=False)
            self.scroll_to(y=scrolled, animate=False)

    def on_resize(self, _: Resize) -> None:
        """See Textual."""
        rows, keys, hidden = self._given
        self.show(rows, keys, hidden=hidden)


class WithoutColours(LineFilter):
    """Leaves of what is written to the screen what is bold, underlined or reversed, and no colours."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """See Textual."""
        return list(Segment.remove_color(segments))


def style_of(warnings: Sequence[Warned]) -> str:
    """How what is wrong is written: notes otherwise than the rest."""
    return "" if not warnings else "bold red" if any(warned.bad for warned in warnings) else "yellow"


def _cell(column: Column[R], row: R, width: int) -> Text:
    style = style_of(row.warnings) if isinstance(row, Row) and column.title == "what is wrong" else ""
    return Text(cut(column.text(row), width), style, justify="right" if column.right else "left")
