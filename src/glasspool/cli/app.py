"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from glasspool import __version__

from .dashboards import dashboards_app, rules_app
from .demo import demo
from .doctor import doctor
from .top import tasks, top

__all__ = ["app"]

app = typer.Typer(
    help="See into concurrent Python work: what runs, a doctor, a demo, and dashboards and alert rules.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(top)
app.command()(tasks)
app.command()(doctor)
app.add_typer(dashboards_app, name="dashboards")
app.add_typer(rules_app, name="rules")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"glasspool {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""
