"""Where OpenTelemetry's API keeps the providers that were set, so that asking costs no call.

The public getters search the environment each time that no provider was set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics_internal

__all__ = ["KNOWN", "METER_PROVIDER", "METRICS", "TRACE", "TRACER_PROVIDER"]

METRICS: Mapping[str, Any] = vars(metrics_internal)
METER_PROVIDER = "_METER_PROVIDER"
"""The key in ``METRICS``."""

TRACE: Mapping[str, Any] = vars(trace)
TRACER_PROVIDER = "_TRACER_PROVIDER"
"""The key in ``TRACE``."""

KNOWN = METER_PROVIDER in METRICS and TRACER_PROVIDER in TRACE
"""False in an API that keeps them elsewhere: ask its getters."""
