"""The dashboards there are."""

from __future__ import annotations

from dashboards.boards import Board
from dashboards.drilldown import drilldown
from dashboards.overview import overview
from dashboards.runtime import runtime

__all__ = ["boards"]


def boards() -> tuple[Board, ...]:
    """All three, in the order in which an on-call engineer opens them."""
    return overview(), drilldown(), runtime()
