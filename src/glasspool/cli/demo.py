"""``glasspool demo``: runs a pipeline on real input and shows it live."""

from __future__ import annotations

import enum
import importlib
import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from glasspool.demo import Options, Summary, run
from glasspool.demo.live import live_view
from glasspool.demo.plain import plain_lines, say

__all__ = ["demo"]


class Backend(str, enum.Enum):
    """What the event loop is."""

    asyncio = "asyncio"
    trio = "trio"


def demo(
    backend: Annotated[Backend, typer.Option(help="Event loop to run on.")] = Backend.asyncio,
    seconds: Annotated[float, typer.Option(help="How long to take new work; at least 0.1.")] = 20.0,
    live: Annotated[bool, typer.Option("--live/--no-live", help="Live view; off when this is no terminal.")] = True,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the live page, on 127.0.0.1; 0: any.")] = 9464,
    summary_json: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the summary there, too.")
    ] = None,
    linger: Annotated[
        float, typer.Option(min=0.0, help="Seconds to go on serving /metrics after the end, for a last scrape.")
    ] = 0.0,
) -> None:
    """Parse the standard library's source files in threads, deliver each result over HTTP, and show this live.

    The service that receives the results is sometimes slow and sometimes fails; there are timeouts, cancellations, a
    full queue and bursts. A browser shows all of it on the live page, at the address that is printed. Metrics are
    served on /metrics, and exported by OTLP if OTEL_EXPORTER_OTLP_ENDPOINT is set.

    After Ctrl-C the demo takes no more work, drains and reports; a second Ctrl-C cancels the rest. Exit status: 0 after
    a full run, 130 after Ctrl-C (143 after SIGTERM), 1 if the counts do not agree.
    """
    if not 0.1 <= seconds < float("inf"):
        raise typer.BadParameter(f"{seconds:g} is no length for a run; at least 0.1 seconds", param_hint="--seconds")
    _check_installed(backend)
    if summary_json is not None:
        _check_writable(summary_json)
    console = Console()
    view = live_view(console) if live and console.is_terminal else plain_lines
    try:
        summary = run(Options(backend.value, seconds, port), view)
    except FileNotFoundError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    for line in summary.lines():
        say(line)
    if summary_json is not None:
        summary_json.write_text(json.dumps(summary.as_dict(), indent=2) + "\n", encoding="utf-8")
    if linger:
        try:
            say(f"Serving {summary.metrics_url} for {linger:g} s more; Ctrl-C ends it.")
            time.sleep(linger)
        except KeyboardInterrupt:  # the run has been reported; nothing remains to be interrupted
            say("not lingering")
    raise typer.Exit(_status(summary))


def _status(summary: Summary) -> int:
    if not summary.adds_up:
        return 1
    return 0 if summary.signal is None else 128 + summary.signal


def _check_installed(backend: Backend) -> None:
    try:
        importlib.import_module(backend.value)
    except ImportError:
        raise typer.BadParameter(
            f"{backend.value} is not installed: pip install {backend.value}", param_hint="--backend"
        ) from None


def _check_writable(path: Path) -> None:
    # Before the run, so that a failure is seen early.
    directory = path.absolute().parent
    if not directory.is_dir():
        raise typer.BadParameter(f"{directory} is no directory; make it first", param_hint="--summary-json")
    if not os.access(path if path.exists() else directory, os.W_OK):
        raise typer.BadParameter(f"{path} cannot be written", param_hint="--summary-json")
