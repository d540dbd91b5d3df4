"""Processes that ``opentelemetry-instrument`` has started, and whether its set-up has worked in them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

from .finding import Finding, problem
from .variables import listed

__all__ = ["check_launch", "is_launched"]

_LAUNCHER = "opentelemetry.instrumentation.auto_instrumentation"
_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def is_launched() -> bool:
    """Whether the launcher has set this process up, or has tried to, glasspool's instrumentations included."""
    disabled = listed("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS")
    return _LAUNCHER in sys.modules and not any(each == "*" or each.startswith("glasspool") for each in disabled) \
        and not _is_helper()  # fmt: skip


def _is_helper() -> bool:
    """Whether it is a process of multiprocessing's own, which runs nothing of the program."""
    return any(name in each for name in _HELPERS for each in sys.orig_argv)


def check_launch() -> Iterator[Finding]:
    """A set-up that has failed: OpenTelemetry only logs that, and the program goes on without it."""
    if not is_launched():
        return
    # By name: glasspool itself is below the instrumentation.
    examination: Any = importlib.import_module("glasspool_instrumentation.examination")
    if not examination.instrumentors_on():
        yield problem(
            "launch", "opentelemetry-instrument has started this process, but turned on none of glasspool's "
            "instrumentations.", "Nothing of its pools is recorded.",
            "See the error that it wrote: one part of its set-up that fails, such as an exporter whose port is taken, "
            "stops the others.",
        )  # fmt: skip
