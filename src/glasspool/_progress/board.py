"""Board: the bars that are shown at this moment in this process, and the thread that draws them."""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial

from glasspool._foreign.guarded import log

from .bar import Bar
from .display import Display, chosen
from .turn import Turn

__all__ = ["BOARD", "Board"]

logger = logging.getLogger("glasspool")

_SHARE = 0.05
"""Drawing takes at most this share of the time: a pile may have a million tasks, which are counted for each drawing."""


class Board:
    """All bars of the process share one display. Nothing here raises: work goes on when a display is broken.

    :param choose: the display for a turn; asked when there are bars and none is shown yet.
    """

    def __init__(self, choose: Callable[[Turn], Display] = chosen) -> None:
        self._choose = choose
        self._prepared = False
        # All mutable state; touched in turns only.
        self._turn = Turn()
        self._bars: list[Bar] = []
        self._display: Display | None = None
        self._over = threading.Event()  # of the thread that draws

    def show(self, bar: Bar) -> None:
        """Show the bar from now on."""
        self._act(partial(self._show, bar))

    def hide(self, bar: Bar) -> None:
        """Show it no more for now, and leave no trace of it in a terminal."""
        self._act(partial(self._remove, bar, ended=False))

    def end(self, bar: Bar) -> None:
        """Show its last figures, unless that was done."""
        self._act(partial(self._remove, bar, ended=True))

    def close(self) -> None:
        """End all bars: the process exits."""
        for bar in tuple(self._bars):
            self.end(bar)

    def forget(self) -> None:
        """This is a child process that has inherited a display, but not the thread that draws on it."""
        display, self._display = self._display, None
        self._turn, self._bars, self._over = Turn(), [], threading.Event()
        if display is not None:
            display.abandon()

    # -- in turns --------------------------------------------------------------------------------------------------

    def _act(self, act: Callable[[], None]) -> None:
        self._turn.take(partial(self._guarded, act))

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:  # noqa: BLE001 - whatever a display raises: what it shows must go on
            display, self._display, self._bars = self._display, None, []
            self._over.set()
            log(logger.warning, "the display of progress failed and is not shown any more", exc_info=True)
            if display is not None:
                display.abandon()

    def _show(self, bar: Bar) -> None:
        if bar in self._bars:
            return
        self._prepare()
        bar.begin()
        self._bars.append(bar)
        if self._display is None:
            self._display = self._choose(self._turn)
            self._start(self._display.every)
        self._display.begin(self._bars)

    def _remove(self, bar: Bar, *, ended: bool) -> None:
        if bar.ended or (bar not in self._bars and not ended):
            return
        if bar not in self._bars:  # it was hidden
            self._show(bar)
        self._bars.remove(bar)
        display = self._display
        if display is None:
            return
        if ended:
            bar.ended = True
            display.end(bar, self._bars)
        else:
            display.hide(bar, self._bars)
        if not self._bars:
            self._over.set()
            self._display = None
            display.close()

    def _draw(self, over: threading.Event) -> None:
        if self._display is not None and not over.is_set():
            self._display.draw(self._bars)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _start(self, every: float) -> None:
        self._over = threading.Event()
        # In the consumer's context: a notebook finds the cell by it.
        run = partial(contextvars.copy_context().run, self._run, self._over, every)
        try:
            threading.Thread(target=run, name="glasspool-progress", daemon=True).start()
        except RuntimeError:  # no more threads, or none at all in this Python: bars move when they begin and end
            pass

    def _run(self, over: threading.Event, every: float) -> None:
        pause = every
        while not over.wait(pause):
            began = time.perf_counter()
            self._act(partial(self._draw, over))
            pause = max(every, (time.perf_counter() - began) / _SHARE)

    def _prepare(self) -> None:
        if not self._prepared:
            self._prepared = True
            atexit.register(self.close)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self.forget)


BOARD = Board()
