"""``glasspool dashboards`` and ``glasspool rules``: write the shipped files, or push dashboards to Grafana."""

from __future__ import annotations

import enum
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from glasspool._monitoring import provisioning

from .choices import chosen, takes_rule_options

__all__ = ["dashboards_app", "rules_app"]

dashboards_app = typer.Typer(help="Grafana dashboards for every glasspool metric.", no_args_is_help=True)
rules_app = typer.Typer(help="Recording rules and alerts for Prometheus.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Dashboards; all when none is given.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Made if missing.")]


class Traces(str, enum.Enum):
    """Kinds of trace data source."""

    tempo = "tempo"
    jaeger = "jaeger"


@contextmanager
def _said_plainly() -> Generator[None, None, None]:
    try:
        yield
    except provisioning.ProvisioningError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


@dashboards_app.command("list")
def list_dashboards() -> None:
    """List the dashboards."""
    for dashboard in provisioning.dashboards():
        typer.echo(f"{dashboard.uid:<20} {dashboard.title}: {dashboard.description}")


@dashboards_app.command("export")
@takes_rule_options
def export_dashboards(
    directory: Directory,
    names: Names = None,
    traces: Annotated[Traces, typer.Option(help="Kind of the trace data source that panels lead to.")] = Traces.tempo,
    **given: Any,
) -> None:
    """Write dashboards as JSON, for Grafana's file provisioning or its import dialog.

    The options are those of `glasspool rules export`. With the same options the lines in the panels are the thresholds
    of the alerts.
    """
    options = chosen(given)
    with _said_plainly():
        wanted = [provisioning.adapted(each, options, traces.value) for each in provisioning.choose(names or ())]
        for path in provisioning.export({each.file_name: each.text for each in wanted}, directory):
            typer.echo(str(path))


@dashboards_app.command("push")
def push_dashboards(
    grafana: Annotated[str, typer.Option(help="Address of Grafana, path prefix included.")],
    names: Names = None,
    folder: Annotated[str, typer.Option(help="Folder, made if missing.")] = "Glasspool",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for each request.")] = 10.0,
) -> None:
    """Create or update dashboards in a running Grafana; the token is read from GRAFANA_TOKEN."""
    with _said_plainly():
        chosen = provisioning.choose(names or ())
        token = os.environ.get("GRAFANA_TOKEN")
        for address in provisioning.push(chosen, grafana, token, folder=folder, timeout=timeout):
            typer.echo(address)


@rules_app.command("export")
@takes_rule_options
def export_rules(directory: Directory, **given: Any) -> None:
    """Write recording rules and alerts as YAML, for Prometheus' rule_files.

    Executors that declare a wait objective need no option; `--wait-objective` is for those that declare none.
    """
    options = chosen(given)
    with _said_plainly():
        for path in provisioning.export(provisioning.rules(options), directory):
            typer.echo(str(path))


@rules_app.callback()
def _rules() -> None:
    # With a callback Typer keeps `export` as a subcommand; without one it would be the whole app.
    pass
