"""All dashboards, and the places of the adjustable thresholds in each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dashboards.generator.boards import Board, Lines, build_board
from dashboards.generator.drilldown import drilldown
from dashboards.generator.overview import overview
from dashboards.generator.runtime import runtime

__all__ = ["boards", "places"]


def boards(lines: Lines) -> tuple[Board, ...]:
    """All three, in the order in which an on-call engineer opens them."""
    return overview(lines), drilldown(lines), runtime(lines)


def places(lines: Lines) -> dict[str, dict[str, list[list[str | int]]]]:
    """Maps a dashboard's uid and a threshold's name to its path in the JSON, which is found by changing the
    threshold."""
    found: dict[str, dict[str, list[list[str | int]]]] = {}
    before = {board.uid: json.loads(build_board(board)) for board in boards(lines)}
    for name, value in lines.items():
        for board in boards({**lines, name: value * 2 + 1}):
            ways = list(_differences(before[board.uid], json.loads(build_board(board))))
            if ways:
                found.setdefault(board.uid, {})[name] = ways
    return found


def _differences(one: Any, other: Any) -> Iterator[list[str | int]]:
    if isinstance(one, (dict, list)):
        for key in one if isinstance(one, dict) else range(len(one)):
            yield from ([key, *way] for way in _differences(one[key], other[key]))
    elif one != other:
        yield []
