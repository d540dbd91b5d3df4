"""Draws dashboard panels from real query results, as Grafana would lay them out, where no Grafana is at hand.

Used by `prove_dashboards.py`; needs matplotlib. It reads the shipped dashboards, so what is drawn is what is shipped:
expressions, legends, units, thresholds and titles.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["Source", "draw"]

BACKGROUND, TEXT, GRID = "#181b1f", "#ccccdc", "#33363b"
STEP = 1
"""Seconds between two points of a line."""
CALCULATIONS: dict[str, tuple[str, Callable[[list[float]], float]]] = {
    "lastNotNull": ("last", lambda values: values[-1]),
    "max": ("max", max),
}
"""What the panels' legends show of a line: Grafana's name of it, its head and how it is worked out."""
COLOURS = {"transparent": BACKGROUND, "green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}


class Source(Protocol):
    """What answers queries."""

    def query(self, expr: str, at: float) -> Any: ...
    def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]: ...


def draw(panel: dict[str, Any], expressions: list[str], source: Source, start: float, end: float, path: Path) -> None:
    """Draw one panel over a range of time into a PNG file."""
    figure, axes = plt.subplots(figsize=(8.4, 3.3), dpi=90, facecolor=BACKGROUND)
    axes.set_facecolor(BACKGROUND)
    axes.set_title(panel["title"], color=TEXT, loc="left", fontsize=11, fontweight="bold")
    {"timeseries": _lines, "heatmap": _heatmap, "table": _table}[panel["type"]](
        axes, panel, expressions, source, start, end
    )
    axes.tick_params(colors=TEXT, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(GRID)
    figure.tight_layout()
    figure.savefig(path, facecolor=BACKGROUND)
    plt.close(figure)


def _legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern).strip()


def _format(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value:.3g}" + ("/s" if unit == "ops" else "")


def _lines(axes: Any, panel: dict[str, Any], expressions: list[str], source: Source, start: float, end: float) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    stacked = "stacking" in defaults.get("custom", {})
    lines: list[tuple[str, list[float], list[float]]] = []
    for target, expr in zip(panel["targets"], expressions, strict=True):
        for series in source.query_range(expr, start, end, STEP):
            values = [(float(t) - start, float(v)) for t, v in series["values"]]
            lines.append((_legend(target["legendFormat"], series["metric"]), *map(list, zip(*values, strict=True))))
    lines.sort(key=lambda line: -line[2][-1])
    width = max((len(name) for name, _, _ in lines), default=0)
    labels = [_row(name.ljust(width), panel, ys) for name, _, ys in lines]
    if stacked:
        times = sorted({t for _, xs, _ in lines for t in xs})
        table = [dict(zip(xs, ys, strict=True)) for _, xs, ys in lines]
        axes.stackplot(times, [[known.get(t, 0) for t in times] for known in table], alpha=0.55, labels=labels)
    for (_, xs, ys), label in zip(lines, labels, strict=True) if not stacked else ():
        axes.plot(*_with_gaps(xs, ys), linewidth=1.4, label=label)
    for step in defaults["thresholds"]["steps"][1:]:
        if axes.get_ylim()[1] > step["value"] * 0.4:
            axes.axhline(step["value"], color=COLOURS[step["color"]], linewidth=1, linestyle="--")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: _format(value, defaults["unit"]))
    axes.set_xlabel("seconds", color=TEXT, fontsize=8)
    axes.grid(color=GRID, linewidth=0.6)
    head = " " * width + "".join(CALCULATIONS[name][0].rjust(9) for name in panel["options"]["legend"]["calcs"])
    legend = axes.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), labelcolor=TEXT, frameon=False, title=head,
        prop={"family": "monospace", "size": 7}, title_fontproperties={"family": "monospace", "size": 7},
        alignment="right",
    )  # fmt: skip
    legend.get_title().set_color(TEXT)


def _row(name: str, panel: dict[str, Any], values: list[float]) -> str:
    """A line of the legend with the figures that the panel asks for: one alone would be taken for another."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    figures = (CALCULATIONS[each][1](values) for each in panel["options"]["legend"]["calcs"])
    return name + "".join(_format(figure, unit).rjust(9) for figure in figures)


def _with_gaps(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    """The line broken where the store has no answer, as Grafana breaks it."""
    times, values = [], []
    for x, y in zip(xs, ys, strict=True):
        if times and x - times[-1] > 1.5 * STEP:
            times.append(x)
            values.append(float("nan"))
        times.append(x)
        values.append(y)
    return times, values


def _heatmap(
    axes: Any, panel: dict[str, Any], expressions: list[str], source: Source, start: float, end: float
) -> None:
    rows = sorted(
        (
            (float(series["metric"]["le"]), dict(series["values"]))
            for series in source.query_range(expressions[0], start, end, 2)
        ),
        key=lambda row: row[0],
    )
    times = sorted({t for _, values in rows for t in values})
    cumulative = [[float(values.get(t, 0)) for t in times] for _, values in rows]
    counts = [cumulative[0], *([max(0.0, b - a) for a, b in zip(low, high, strict=True)]
                               for low, high in pairwise(cumulative))]  # fmt: skip
    # An empty cell is no colour at all, as in Grafana.
    shades = [[count**0.5 if count > 0.5 else float("nan") for count in row] for row in counts]
    axes.pcolormesh([float(t) - start for t in times], range(len(rows)), shades,
                    cmap="Oranges", shading="nearest")  # fmt: skip
    axes.set_yticks(range(0, len(rows), 2), [_format(bound, "s") for bound, _ in rows][::2])
    axes.set_xlabel("seconds", color=TEXT, fontsize=8)


def _table(axes: Any, panel: dict[str, Any], expressions: list[str], source: Source, start: float, end: float) -> None:
    every = panel["fieldConfig"]["overrides"]
    columns = [column for column in every if any(entry["id"] == "unit" for entry in column["properties"])]
    cells: dict[str, dict[int, float]] = {}
    for index, expr in enumerate(expressions):
        for sample in source.query(expr, end):
            cells.setdefault(_legend(panel["targets"][index]["legendFormat"], sample.labels), {})[index] = sample.value
    names = sorted(cells, key=lambda name: -cells[name].get(0, 0))
    text, colours = [], []
    for name in names:
        row, shades = [name], [BACKGROUND]
        for index, column in enumerate(columns):
            properties = {entry["id"]: entry["value"] for entry in column["properties"]}
            value = cells[name].get(index)
            row.append("" if value is None else _format(value, properties["unit"]))
            shade = BACKGROUND
            for step in properties.get("thresholds", {"steps": []})["steps"] if value is not None else ():
                if step["value"] is None or value >= step["value"]:
                    shade = COLOURS[step["color"]]
            shades.append(shade)
        text.append(row)
        colours.append(shades)
    axes.axis("off")
    titles = ["Executor", *(column["matcher"]["options"].replace(" ", "\n", 1) for column in columns)]
    drawn = axes.table(cellText=text, colLabels=titles, cellColours=colours, loc="upper center", cellLoc="center",
                       colColours=[GRID] * len(titles), colWidths=[0.26, *([0.105] * len(columns))])  # fmt: skip
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)
    drawn.scale(1, 1.25)
    for (row, column), cell in drawn.get_celld().items():
        cell.set_edgecolor(GRID)
        dark = row == 0 or colours[row - 1][column] == BACKGROUND
        cell.get_text().set_color(TEXT if dark else BACKGROUND)
        if row == 0:
            cell.set_height(cell.get_height() * 1.5)
