"""Pools that nobody observes, and other instrumentations that observe the same calls."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

from glasspool._foreign.otel_sdk import is_instrumenting

from .finding import Finding, ok, warning
from .variables import listed
from .versions import installed
from .words import plain

__all__ = ["check_installed_rivals", "check_pools", "check_rivals"]

_RIVALS = {
    "threading": ("opentelemetry.instrumentation.threading", "ThreadingInstrumentor"),
    "asyncio": ("opentelemetry.instrumentation.asyncio", "AsyncioInstrumentor"),
}
_MOST = 10  # pools that are named


def check_pools() -> Iterator[Finding]:
    """The pools of this process that are not seen, or were made before ``instrument()``."""
    # By name: glasspool itself is below the instrumentation.
    examination: Any = importlib.import_module("glasspool_instrumentation.examination")
    on: list[str] = examination.instrumentors_on()
    unseen, early = examination.unseen_pools(), examination.early_pools()
    for name in unseen[:_MOST]:
        yield warning(
            "pools", f"The pool {plain(name)} is not observed.", "Its calls have no metrics and no spans.",
            "Call glasspool_instrumentation.instrument(), or wrap_executor(pool, 'name') where it is made.",
        )  # fmt: skip
    for name in early[:_MOST]:
        yield warning(
            "pools", f"The pool {plain(name)} was made before instrument(), which has not seen a call of it since.",
            "Calls that it has already are not counted, and its name will be that of the module that uses it.",
            "Call glasspool_instrumentation.instrument() first, before the imports that make pools.",
        )  # fmt: skip
    left = len(unseen[_MOST:]) + len(early[_MOST:])
    if left:
        yield warning("pools", f"The same is so for {left} more pools.", "See above.", "See above.")
    if on and not unseen and not early:
        yield ok("pools", f"On: {', '.join(on)}. Every pool of this process is observed.")


def check_rivals() -> Iterator[Finding]:
    """OpenTelemetry's own instrumentations of threads and asyncio that are on in this process."""
    for name, (module, cls) in _RIVALS.items():
        if is_instrumenting(getattr(sys.modules.get(module), cls, None)):
            yield _rival(name, f"OpenTelemetry's {name} instrumentation is on")


def check_installed_rivals() -> Iterator[Finding]:
    """The same that ``opentelemetry-instrument`` would turn on."""
    disabled = listed("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS")
    for name in _RIVALS:
        here = installed(f"opentelemetry-instrumentation-{name}")
        if here and name not in disabled and "*" not in disabled:
            yield _rival(
                name, f"OpenTelemetry's {name} instrumentation is installed; opentelemetry-instrument turns it on"
            )


def _rival(name: str, found: str) -> Finding:
    why = "No call is counted twice, but each costs twice"
    why += ", and the same tasks appear under other names (asyncio.process.*)." if name == "asyncio" else "."
    return warning("rivals", f"{found} beside glasspool's.", why, f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={name}")
