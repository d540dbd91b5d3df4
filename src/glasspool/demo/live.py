"""The live view. A separate thread draws it and only reads, so it works while the event loop is blocked."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from glasspool import ExecutorStats, HybridExecutor

from .figures import Figures, Quantiles, read
from .program import Scene, View

__all__ = ["Picture", "live_view"]

WIDE = 104  # columns of a terminal that has room for everything
SPARKS = " ▁▂▃▄▅▆▇█"
OUTCOMES = (
    ("succeeded", "green"), ("failed", "red"), ("timed_out", "yellow"), ("cancelled", "blue"), ("rejected", "magenta")
)  # fmt: skip


def live_view(console: Console) -> View:
    """A view on this terminal, drawn four times a second."""

    @contextmanager
    def view(scene: Scene) -> Generator[None, None, None]:
        with Live(get_renderable=Picture(scene, console.width).draw, console=console, refresh_per_second=4):
            yield

    return view


class Picture:
    """Draws one scene repeatedly, for a terminal with so many columns.

    It keeps a few queue sizes for the line of their history.
    """

    def __init__(self, scene: Scene, columns: int) -> None:
        self._scene = scene
        self._wide = columns >= WIDE
        self._bar_width = 24 if self._wide else 10
        self._history: dict[str, deque[int]] = {
            executor.name: deque(maxlen=self._bar_width) for executor in scene.executors
        }

    def draw(self) -> RenderableType:
        """The picture of this moment."""
        scene = self._scene
        columns = Table.grid(expand=True, padding=(0, 1))
        for _ in scene.executors:
            columns.add_column(ratio=1)
        columns.add_row(*(self._executor(executor) for executor in scene.executors))
        title = f"glasspool demo · {scene.options.backend} · {scene.elapsed:.0f} of {scene.options.seconds:g} s"
        return Panel(
            Group(columns, self._foot()), title=f"[bold]{title}[/] · {scene.state}", border_style="cyan", padding=(0, 1)
        )

    def _executor(self, executor: HybridExecutor) -> RenderableType:
        figures = read(executor)
        stats, history = figures.stats, self._history[executor.name]
        capacity = self._scene.capacities[executor.name]
        history.append(stats.queued)
        rows = Table.grid(padding=(0, 1))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(no_wrap=True)
        rows.add_row("in flight", self._bar(stats.slots_used, stats.slots_limit, "green"))
        rows.add_row("queue", self._bar(stats.queued, capacity, "yellow"))
        rows.add_row("queue was", Text("".join(_spark(size, capacity) for size in history), style="yellow"))
        rows.add_row("blocked", _blocked(stats))
        rows.add_row("at limit", _limit(figures, self._wide))
        rows.add_row("wait", _quantiles(figures.wait, self._wide))
        rows.add_row("run", _quantiles(figures.run, self._wide))
        rows.add_row("", "")
        for name, style in OUTCOMES:
            rows.add_row(name.replace("_", " "), self._outcome(getattr(stats, name), style, stats))
        rows.add_row("abandoned", f"{stats.abandoned:>7,}" + "  threads still busy" * self._wide)
        return Panel(rows, title=f"[bold]{executor.name}[/]", border_style="dim")

    def _bar(self, value: int, limit: int, style: str) -> Text:
        width = self._bar_width
        filled = min(width, round(width * value / limit)) if limit else 0
        return Text.assemble(
            ("█" * filled, "red" if value >= limit else style), ("░" * (width - filled), "dim"),
            f" {value:>2} of {limit}",
        )  # fmt: skip

    def _outcome(self, count: int, style: str, stats: ExecutorStats) -> Text:
        calls = stats.submitted + stats.rejected
        share = count / calls if calls else 0.0
        bar = "▆" * round(share * (self._bar_width - 8))
        return Text.assemble((f"{count:>7,}  ", style if count else "dim"), (bar, style), f" {share:.1%}")

    def _foot(self) -> RenderableType:
        scene = self._scene
        service, client = scene.service, scene.client
        otlp = "exporting" if scene.otlp else "off"
        return Text.assemble(
            (" service ", "dim"), f"{service.received:,} requests · {service.answered[503]:,} answered 503 · ",
            f"{client.gave_up:,} given up by their callers", ("   Ctrl-C ", "dim"), "drains\n",
            (" live page ", "dim"), scene.page_url or "none", ("   metrics ", "dim"), "/metrics",
            ("   OTLP ", "dim"), otlp,
        )  # fmt: skip


def _blocked(stats: ExecutorStats) -> str:
    who = "1 producer" if stats.pending == 1 else f"{stats.pending} producers"
    return f"{who}, for {_time(stats.oldest_pending_age)}" if stats.pending else who


def _spark(value: int, limit: int) -> str:
    return SPARKS[min(len(SPARKS) - 1, -(-value * (len(SPARKS) - 1) // limit))]


def _quantiles(found: Quantiles, wide: bool) -> Text:
    named = [("p50", found.p50), ("p95", found.p95), ("p99", found.p99)][: 3 if wide else 2]
    text = Text.assemble(*(part for name, value in named for part in ((f"{name} ", "dim"), f"{_time(value):<8}")))
    text.rstrip()
    return text


def _limit(figures: Figures, wide: bool) -> str:
    if wide:
        return f"{figures.saturated:.0%} of the time · slots {figures.utilisation:.0%} used"
    return f"{figures.saturated:.0%} · used {figures.utilisation:.0%}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
