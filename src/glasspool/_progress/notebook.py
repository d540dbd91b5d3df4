"""Notebook: a bar in the output of a Jupyter cell, in plain HTML. It needs no widgets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from html import escape
from importlib import import_module
from typing import Any
from uuid import uuid4

from .bar import Bar, Figures
from .words import sentence, spoken

__all__ = ["Notebook", "in_notebook"]


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this program: IPython is there then, and its shell has a kernel."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class Notebook:
    """One output for each bar, which is updated in place. See Display."""

    every = 0.5  # each drawing is a message to the browser, and is kept by some front ends

    def __init__(self) -> None:
        self._shown: dict[Bar, str] = {}  # the identity of its output

    @cached_property
    def _ipython(self) -> Any:
        return import_module("IPython.display")  # it is there in a notebook, and no dependency of ours

    def begin(self, bars: Sequence[Bar]) -> None:
        """See Display."""
        bar = bars[-1]
        self._shown[bar] = f"glasspool-{uuid4().hex}"
        self._ipython.display(_bundle(bar.read()), raw=True, display_id=self._shown[bar])

    def draw(self, bars: Sequence[Bar]) -> None:
        """See Display."""
        for bar in bars:
            self._ipython.update_display(_bundle(bar.read()), raw=True, display_id=self._shown[bar])

    def hide(self, bar: Bar, others: Sequence[Bar]) -> None:
        """See Display. What was displayed stays."""

    def end(self, bar: Bar, others: Sequence[Bar]) -> None:
        """See Display."""
        self.draw([bar])
        del self._shown[bar]

    def close(self) -> None:
        """See Display."""

    def abandon(self) -> None:
        """See Display."""


def _bundle(figures: Figures) -> dict[str, str]:
    """The figures as front ends show them: HTML, or text where there is no HTML."""
    meter = ""
    if figures.total:
        meter = f'<progress value="{figures.done}" max="{figures.total}" style="width: 16em"></progress> '
    text = escape(" · ".join(spoken(figures).values()))
    description = f"<b>{escape(figures.description)}</b> " if figures.description else ""
    return {
        "text/html": f'<div style="font-variant-numeric: tabular-nums">{description}{meter}{text}</div>',
        "text/plain": sentence(figures),
    }
