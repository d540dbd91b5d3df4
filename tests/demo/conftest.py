"""Each test begins with an empty registry: the caps on names and series are per process, and other tests fill them."""

from __future__ import annotations

import pytest

from glasspool.telemetry.recording.registry import REGISTRY


@pytest.fixture(autouse=True)
def empty_registry() -> None:
    """What a fresh process has."""
    REGISTRY.reset()
