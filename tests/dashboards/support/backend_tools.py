"""Finds the real back ends, and says how to get them where they are missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "prometheus": "Debian package `prometheus`",
    "promtool": "Debian package `prometheus`, which contains it",
    "victoria-metrics": "Debian package `victoria-metrics`",
    "vmalert": "Debian package `victoria-metrics`, which contains it",
    "otelcol": "the OpenTelemetry Collector's core distribution",
}


def find(program: str) -> str | None:
    """Path of a back end: below $GLASSPOOL_BACKENDS, else on $PATH."""
    root = os.environ.get("GLASSPOOL_BACKENDS")
    if root:
        for place in ("bin", "debian/root/usr/bin"):
            path = Path(root, place, program)
            if path.exists():
                return str(path)
    return shutil.which(program)


def need(program: str) -> str:
    """The path, or a skipped test that says what is missing; a failed one with GLASSPOOL_REQUIRE_BACKENDS=1."""
    path = find(program)
    if path:
        return path
    message = f"{program} is missing: install {PACKAGES[program]}, or point GLASSPOOL_BACKENDS at a directory with bin/"
    if os.environ.get("GLASSPOOL_REQUIRE_BACKENDS") == "1":
        pytest.fail(message)
    pytest.skip(message)
