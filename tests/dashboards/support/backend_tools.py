"""Finds the real back ends, and explains how to install missing ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PROGRAMS = ("prometheus", "promtool", "victoria-metrics", "vmalert", "otelcol")
"""What `tools/install_backends.sh` installs."""


def find(program: str) -> str | None:
    """Path of a back end: below $GLASSPOOL_BACKENDS, else on $PATH."""
    root = os.environ.get("GLASSPOOL_BACKENDS")
    if root:
        path = Path(root, "bin", program)
        if path.exists():
            return str(path)
    return shutil.which(program)


def need(program: str) -> str:
    """The path, or a skipped test that says what is missing; a failed one with GLASSPOOL_REQUIRE_BACKENDS=1."""
    path = find(program)
    if path:
        return path
    message = f"{program} is missing: run `tools/install_backends.sh DIR` and set GLASSPOOL_BACKENDS=DIR"
    if os.environ.get("GLASSPOOL_REQUIRE_BACKENDS") == "1":
        pytest.fail(message)
    pytest.skip(message)
