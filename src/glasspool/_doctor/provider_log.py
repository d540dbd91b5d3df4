"""Who has set OpenTelemetry's providers, in order: noted in programs that ``glasspool doctor -- COMMAND`` starts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

from glasspool._foreign.frames import getframe

__all__ = ["MODULES", "Entry", "entries", "watch"]

MODULES = ("opentelemetry.trace", "opentelemetry.metrics")
"""The modules to be given to ``watch`` when they have been imported."""

_SETTERS = {"opentelemetry.trace": "set_tracer_provider", "opentelemetry.metrics": "set_meter_provider"}
_GETTERS = {"opentelemetry.trace": "get_tracer_provider", "opentelemetry.metrics": "get_meter_provider"}
_SIGNALS = {"opentelemetry.trace": "traces", "opentelemetry.metrics": "metrics"}


@dataclass(frozen=True)
class Entry:
    """One call that set a provider."""

    signal: str
    caller: str
    accepted: bool
    """False if another provider was set already."""


entries: list[Entry] = []
"""All calls so far, in order."""


def watch(module: ModuleType) -> None:
    """Note who calls the function of this module that sets its provider."""
    name = _SETTERS[module.__name__]
    setattr(module, name, _noting(module, getattr(module, name)))


def _noting(module: ModuleType, original: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(original)
    def setting(provider: Any) -> None:
        original(provider)
        accepted = getattr(module, _GETTERS[module.__name__])() is provider
        entries.append(Entry(_SIGNALS[module.__name__], _caller(getframe(1)), accepted))

    return setting


def _caller(frame: FrameType | None) -> str:
    """glasspool or opentelemetry-instrument, else the line of the application."""
    name = ""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name == "opentelemetry.instrumentation.auto_instrumentation":
            return "opentelemetry-instrument"
        if name == "glasspool.telemetry.configuration":
            return "glasspool.telemetry.configure()"
        if not name.startswith("opentelemetry") and not name.startswith("glasspool"):
            return f"{frame.f_code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return name or "unknown code"
