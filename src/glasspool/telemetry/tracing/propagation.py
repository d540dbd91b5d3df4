"""Carries OpenTelemetry contexts as plain strings, and imports its propagators so that an invalid name does no harm.

The API loads the propagators when ``opentelemetry.propagate`` is imported, and fails permanently if one of them is
missing. The default ones always exist, and are imported when the first call leaves the process.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import NamedTuple
from weakref import ref

from opentelemetry.context import Context

from glasspool._foreign.otel_context import current_context

__all__ = ["extract", "inject", "propagate"]

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


class _Injected(NamedTuple):
    """What ``inject`` has made last. Calls of one request have one context, unless each has a span."""

    context: ref[Context]
    propagator: object
    carrier: dict[str, str]


_injected: _Injected | None = None
_extracted: tuple[object, Mapping[str, str], Context] | None = None


def inject(context: Context | None = None) -> dict[str, str]:
    """The context (default: the current one) as a carrier of plain strings, which must not be changed: by the global
    propagators, W3C traceparent and baggage by default."""
    global _injected
    if context is None:
        context = current_context()
    last, propagator = _injected, propagate().get_global_textmap()
    if last is not None and last.context() is context and last.propagator is propagator:
        return last.carrier
    carrier: dict[str, str] = {}
    propagator.inject(carrier, context)
    _injected = _Injected(ref(context), propagator, carrier)
    return carrier


def extract(carrier: Mapping[str, str]) -> Context:
    """The context of a carrier only; the current or inherited context is not used."""
    global _extracted
    last, propagator = _extracted, propagate().get_global_textmap()
    if last is not None and last[0] is propagator and last[1] == carrier:
        return last[2]
    found: Context = propagator.extract(carrier, Context())
    _extracted = propagator, dict(carrier), found
    return found


def _can_be_had(name: str) -> bool:
    from importlib.metadata import entry_points  # here, because it is slow to import

    try:
        return any(found.load()() is not None for found in entry_points(group="opentelemetry_propagator", name=name))
    except Exception:  # noqa: BLE001 - what a propagator raises when it is imported or made
        return False


if _VARIABLE in os.environ:  # at once, so that the application's own import of the propagators does not fail either
    propagate()
