"""The ``glasspool`` command. It needs rich and typer, which ``pip install 'glasspool[cli]'`` installs."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the ``glasspool`` command."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("rich", "typer", "click"):
            raise
        sys.exit(f"the glasspool command needs {missing}, which is not installed: pip install 'glasspool[cli]'")
    app(prog_name="glasspool")
