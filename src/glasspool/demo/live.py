"""The live view. It is drawn by a thread of its own that only reads: a blocked event loop can still be watched."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
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

WIDTH = 24
SPARKS = " ▁▂▃▄▅▆▇█"
OUTCOMES = (
    ("succeeded", "green"), ("failed", "red"), ("timed_out", "yellow"), ("cancelled", "blue"), ("rejected", "magenta")
)  # fmt: skip


def live_view(console: Console) -> View:
    """A view on this terminal, drawn four times a second."""

    @contextmanager
    def view(scene: Scene) -> Iterator[None]:
        with Live(get_renderable=Picture(scene).draw, console=console, refresh_per_second=4):
            yield

    return view


class Picture:
    """Draws one scene, again and again. Remembers a few queue sizes, for the line of their history."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._history: dict[str, deque[int]] = {executor.name: deque(maxlen=WIDTH) for executor in scene.executors}

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
        rows.add_row("in flight", _bar(stats.slots_used, stats.slots_limit, "green"))
        rows.add_row("queue", _bar(stats.queued, capacity, "yellow"))
        rows.add_row("queue was", Text("".join(_spark(size, capacity) for size in history), style="yellow"))
        rows.add_row("blocked", _blocked(stats))
        rows.add_row("at limit", f"{figures.saturated:.0%} of the time · slots {figures.utilisation:.0%} used")
        rows.add_row("wait", _quantiles(figures.wait))
        rows.add_row("run", _quantiles(figures.run))
        rows.add_row("", "")
        for name, style in OUTCOMES:
            rows.add_row(name.replace("_", " "), _outcome(getattr(stats, name), style, figures))
        rows.add_row("abandoned", f"{stats.abandoned:>7,}  threads still busy")
        return Panel(rows, title=f"[bold]{executor.name}[/]", border_style="dim")

    def _foot(self) -> RenderableType:
        scene = self._scene
        service, client = scene.service, scene.client
        otlp = "exporting" if scene.otlp else "off"
        return Text.assemble(
            (" service ", "dim"), f"{service.received:,} requests · {service.answered[503]:,} answered 503 · ",
            f"{client.gave_up:,} given up by their callers", ("   Ctrl-C ", "dim"), "drains\n",
            (" metrics ", "dim"), scene.metrics_url or "none", ("   OTLP ", "dim"), otlp,
        )  # fmt: skip


def _bar(value: int, limit: int, style: str) -> Text:
    filled = min(WIDTH, round(WIDTH * value / limit)) if limit else 0
    full = value >= limit
    return Text.assemble(
        ("█" * filled, "red" if full else style), ("░" * (WIDTH - filled), "dim"), f" {value:>2} of {limit}"
    )


def _blocked(stats: ExecutorStats) -> str:
    who = "1 producer" if stats.pending == 1 else f"{stats.pending} producers"
    return f"{who}, for {_time(stats.oldest_pending_age)}" if stats.pending else who


def _spark(value: int, limit: int) -> str:
    return SPARKS[min(len(SPARKS) - 1, -(-value * (len(SPARKS) - 1) // limit))]


def _quantiles(found: Quantiles) -> Text:
    return Text.assemble(
        ("p50 ", "dim"), f"{_time(found.p50):<9}", ("p95 ", "dim"), f"{_time(found.p95):<9}",
        ("p99 ", "dim"), _time(found.p99),
    )  # fmt: skip


def _outcome(count: int, style: str, figures: Figures) -> Text:
    stats = figures.stats
    calls = stats.submitted + stats.rejected
    share = count / calls if calls else 0.0
    return Text.assemble(
        (f"{count:>7,}  ", style if count else "dim"), ("▆" * round(share * (WIDTH - 10)), style), f" {share:.1%}"
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
