"""Imports OpenTelemetry's propagators in a way that an invalid name in ``OTEL_PROPAGATORS`` does no harm.

The API loads the propagators when ``opentelemetry.propagate`` is imported, and fails permanently if one of them is
missing. The default ones always exist, and are imported when the first call leaves the process.
"""

from __future__ import annotations

import importlib
import logging
import os
from functools import cache
from types import ModuleType

__all__ = ["propagate"]

logger = logging.getLogger("glasspool")

_VARIABLE = "OTEL_PROPAGATORS"


@cache
def propagate() -> ModuleType:
    """The module ``opentelemetry.propagate``."""
    try:
        return importlib.import_module("opentelemetry.propagate")
    except Exception:
        given = os.environ.get(_VARIABLE)
        if given is None:
            raise
    names = [name.strip() for name in given.split(",")]
    kept = [name for name in names if _can_be_had(name)]
    try:
        if kept:
            os.environ[_VARIABLE] = ",".join(kept)
        else:
            del os.environ[_VARIABLE]
        found = importlib.import_module("opentelemetry.propagate")
    finally:
        os.environ[_VARIABLE] = given
    if given.strip():  # an empty value means none, which older versions do not support
        logger.warning(
            "OTEL_PROPAGATORS=%r: %s cannot be loaded, and is ignored; trace context travels by %s",
            given[:100],
            ", ".join(repr(name) for name in names if name not in kept)[:100],
            ", ".join(kept) or "tracecontext, baggage (the default)",
        )
    return found


def _can_be_had(name: str) -> bool:
    from importlib.metadata import entry_points  # here, because it is slow to import

    try:
        return any(found.load()() is not None for found in entry_points(group="opentelemetry_propagator", name=name))
    except Exception:  # noqa: BLE001 - what a propagator raises when it is imported or made
        return False


if _VARIABLE in os.environ:  # at once, so that the application's own import of the propagators does not fail either
    propagate()
